"""A made-up vocabulary for a stand-in, laid out as bert-base-uncased's: [PAD]=0, [UNK]=100, [CLS]=101, [SEP]=102, [MASK]=103.

Characters first, then common English words, then words of made-up syllables up to the size asked for.
"""

from __future__ import annotations

import string
from collections.abc import Iterator
from itertools import product

from tokenizers import Tokenizer

from flava_gpu.bert_tokenizer import bert_tokenizer

FIRST_SPECIAL = 100
OTHER_LETTERS = "²абвгдежзийклмнопрстуфхцчшщыьэюяαβγδεπσωمرحباאבגדהו"
IDEOGRAPHS = "猫と犬人日本中国大小山水火木"
WORDS = (
    "the of and in to a is was for on with as by at from his it an he that be are this which or had not have her "
    "photo picture painting drawing what who where two three one red blue green yellow small big smiling crying angry "
    "sleepy old new flying broken shiny dark face cat cats dog house car tree flower heart star moon sun cloud book key "
    "clock phone fish bird apple pizza ball flag hand eye boat train airplane guitar umbrella snowman table rain night "
    "hat under water beside road space white love smiling upper lower mixed clock spaced out http example org cafe "
    "##s ##ed ##ing ##er ##ly ##est ##ness ##tion ##ment"
).split()
ONSETS = "b br c ch cl d dr f fl g gl h j k l m n p pl qu r s sh sl st t th tr v w z".split()
VOWELS = "a ai e ea i o oo ou u".split()
CODAS = ["", *"ck d l m n nd r rt s st t x".split()]


def standin_tokenizer(vocab_size: int) -> Tokenizer:
    return bert_tokenizer(standin_pieces(vocab_size))


def standin_pieces(vocab_size: int) -> list[str]:
    """`vocab_size` distinct pieces, the same every time."""
    pieces: dict[str, None] = {}
    for piece in _endless_pieces():
        pieces.setdefault(piece)
        if len(pieces) == vocab_size:
            return list(pieces)
    raise ValueError(f"vocab_size: expected at most {len(pieces)}, got {vocab_size}")


def _endless_pieces() -> Iterator[str]:
    yield "[PAD]"
    yield from (f"[unused{index}]" for index in range(FIRST_SPECIAL - 1))
    yield from ("[UNK]", "[CLS]", "[SEP]", "[MASK]")
    yield from string.punctuation
    for characters in (string.digits + string.ascii_lowercase, OTHER_LETTERS):
        yield from characters
        yield from (f"##{character}" for character in characters)
    yield from IDEOGRAPHS
    yield from WORDS
    syllables = ["".join(parts) for parts in product(ONSETS, VOWELS, CODAS)]
    yield from syllables
    yield from (f"##{syllable}" for syllable in syllables)
    for shift in range(1, len(syllables)):
        yield from (
            syllable + syllables[(index * 7 + shift) % len(syllables)] for index, syllable in enumerate(syllables)
        )
