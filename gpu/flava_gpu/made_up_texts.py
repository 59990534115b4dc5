"""Texts that need no data set: captions out of word lists, oddities, pairs and one far too long, tokenized.

The pictures to go with them are drawn by procedural_pictures.py.
"""

from __future__ import annotations

import json
import random
from dataclasses import dataclass
from pathlib import Path

from tokenizers import Tokenizer

PAIR_LENGTH = 77
"""Tokens per text that FLAVA's pairs were trained with, whatever the position table could hold."""
TEXT_COUNT = 224

Text = tuple[str, str | None]
"""A text, and the second one of a pair."""

ADJECTIVES = "red blue green yellow small big smiling crying angry sleepy old new flying broken shiny dark".split()
NOUNS = (
    "face cat dog house car tree flower heart star moon sun cloud book key clock phone fish bird apple pizza "
    "ball flag hand eye boat train airplane guitar umbrella snowman"
).split()
PLACES = "on a table,in the rain,at night,with a hat,under water,beside the road,in space,on white".split(",")
ODD_TEXTS = (
    "!", "?", "...", "#", "123456789", "3.14159", "e=mc²", "naïve café", "ÅNGSTRÖM", "привет мир", "猫と犬",
    "مرحبا", "🙂", "a", "I", "o'clock", "rock-and-roll", "http://example.org/?q=1", "    spaced    out    ",
    "supercalifragilisticexpialidocious", "x" * 120, "UPPER lower MiXeD",
)  # fmt: skip
PAIRS = (("a red heart", "love"), ("what is this?", "a small dog in the rain"), ("🙂", "smiling face"))


@dataclass(frozen=True)
class TokenizedText:
    text: str
    input_ids: list[int]
    token_type_ids: list[int]


def made_up_texts(seed: int) -> list[Text]:
    """The same oddities for every seed, other captions; the longest text comes last."""
    chooser = random.Random(seed)
    texts: list[Text] = [(text, None) for text in ODD_TEXTS]
    texts += [*PAIRS, (" ".join(chooser.choices(NOUNS, k=200)), None)]
    while len(texts) < TEXT_COUNT:
        words = [chooser.choice(ADJECTIVES), chooser.choice(NOUNS)]
        if chooser.random() < 0.5:
            words = ["a", *words, chooser.choice(PLACES)]
        if chooser.random() < 0.2:
            words += ["and", *chooser.choices(NOUNS, k=chooser.randrange(1, 30))]
        texts.append((" ".join(words), None))
    return sorted(texts, key=lambda pair: len(pair[0].split()))


def tokenize_texts(checkpoint: Path, texts: list[Text]) -> list[TokenizedText]:
    """Ids as the service makes them: truncated to what the model takes, with [CLS] and [SEP]."""
    tokenizer = Tokenizer.from_file(str(checkpoint / "tokenizer.json"))
    config = json.loads((checkpoint / "config.json").read_text())
    tokenizer.enable_truncation(min(PAIR_LENGTH, config["text_config"]["max_position_embeddings"]))
    encodings = [tokenizer.encode(text, pair) for text, pair in texts]
    return [
        TokenizedText(text if pair is None else f"{text} | {pair}", encoding.ids, encoding.type_ids)
        for (text, pair), encoding in zip(texts, encodings, strict=True)
    ]
