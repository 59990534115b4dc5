"""Writes what the TypeScript tokenizer is tested against, from Python's `tokenizers` (0.23.3).

    .venv/bin/python gpu/scripts/make_tokenizer_fixtures.py                   # after every training: both fixtures
    .venv/bin/python gpu/scripts/make_tokenizer_fixtures.py --unicode-ranges  # after a new `tokenizers`: the code point sets

model.json.gz holds ids of the embedded model's vocabulary. probe.json.gz holds the same strings under a vocabulary of single
characters, in which every normalized character has an id of its own: there a wrongly kept, dropped or split character always shows.
"""

import argparse
import gzip
import hashlib
import json
import random
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import tokenizers
from tokenizers import Tokenizer
from tokenizers.models import WordPiece
from tokenizers.normalizers import BertNormalizer
from tokenizers.pre_tokenizers import BertPreTokenizer
from tokenizers.processors import TemplateProcessing

ROOT = Path(__file__).resolve().parents[2]
FIXTURES = ROOT / "test/fixtures/tokenize"
RANGES_FILE = ROOT / "src/tokenize/unicode-ranges.ts"
MODEL_TOKENIZER = ROOT / "models/flava-emoji/tokenizer.json"
SEED = 20261123
MAX_LENGTH = 77
SPECIAL_TOKENS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]

# First and last code point of blocks that differ in how BERT treats them: cased, accented, joined, right-to-left, without spaces,
# ideographs in and beyond the basic plane, and marks and punctuation younger than the tables inside `tokenizers`.
BLOCKS = {
    "basic latin": (0x20, 0x7E), "latin-1": (0xA0, 0xFF), "latin extended": (0x100, 0x24F), "ipa": (0x250, 0x2FF),
    "combining": (0x300, 0x36F), "greek": (0x370, 0x3FF), "cyrillic": (0x400, 0x52F), "armenian": (0x530, 0x58F),
    "hebrew": (0x590, 0x5FF), "arabic": (0x600, 0x6FF), "syriac": (0x700, 0x74F), "thaana, nko": (0x780, 0x7FF),
    "arabic b, a": (0x860, 0x8FF), "devanagari": (0x900, 0x97F), "bengali": (0x980, 0x9FF), "gurmukhi": (0xA00, 0xA7F),
    "gujarati": (0xA80, 0xAFF), "tamil": (0xB80, 0xBFF), "telugu": (0xC00, 0xC7F), "kannada": (0xC80, 0xCFF),
    "malayalam": (0xD00, 0xD7F), "sinhala": (0xD80, 0xDFF), "thai": (0xE00, 0xE7F), "lao": (0xE80, 0xEFF),
    "tibetan": (0xF00, 0xFFF), "myanmar": (0x1000, 0x109F), "georgian": (0x10A0, 0x10FF), "jamo": (0x1100, 0x11FF),
    "ethiopic": (0x1200, 0x137F), "cherokee": (0x13A0, 0x13FF), "khmer": (0x1780, 0x17FF), "mongolian": (0x1800, 0x18AF),
    "balinese": (0x1B00, 0x1B7F), "georgian capitals": (0x1C90, 0x1CBF), "combining extended": (0x1AB0, 0x1AFF),
    "phonetic": (0x1D00, 0x1DBF), "latin additional": (0x1E00, 0x1EFF), "greek extended": (0x1F00, 0x1FFF),
    "general punctuation": (0x2000, 0x206F), "letterlike": (0x2100, 0x218F), "symbols": (0x2190, 0x27BF),
    "glagolitic, coptic": (0x2C00, 0x2CFF), "supplemental punctuation": (0x2E00, 0x2E7F), "kana": (0x3000, 0x30FF),
    "bopomofo": (0x3100, 0x318F), "ideographs a": (0x3400, 0x4DBF), "ideographs": (0x4E00, 0x9FFF), "yi": (0xA000, 0xA48F),
    "cyrillic b": (0xA640, 0xA69F), "latin d": (0xA720, 0xA7FF), "hangul": (0xAC00, 0xD7A3), "private": (0xE000, 0xE0FF),
    "compatibility ideographs": (0xF900, 0xFAFF), "presentation forms": (0xFB00, 0xFDFF), "halves, specials": (0xFE00, 0xFFFF),
    "gothic": (0x10330, 0x1034F), "deseret": (0x10400, 0x1044F), "todhri": (0x105C0, 0x105FF), "chorasmian": (0x10E80, 0x10FFF),
    "brahmi": (0x11000, 0x1107F), "grantha, tulu": (0x11300, 0x113FF), "newa": (0x11400, 0x1147F), "dives akuru": (0x11900, 0x1195F),
    "cuneiform": (0x12000, 0x123FF), "hieroglyph controls": (0x13430, 0x1345F), "gurung": (0x16100, 0x1613F), "kirat": (0x16D40, 0x16D7F),
    "mathematical": (0x1D400, 0x1D7FF), "adlam": (0x1E900, 0x1E95F), "emoji": (0x1F300, 0x1FAFF), "ideographs b": (0x20000, 0x2A6DF),
    "ideographs c to f": (0x2A700, 0x2EBEF), "compatibility supplement": (0x2F800, 0x2FA1F), "ideographs g": (0x30000, 0x3134A),
    "tags": (0xE0020, 0xE007F), "variation selectors": (0xE0100, 0xE01EF), "private plane": (0x10FF00, 0x10FFFD),
}  # fmt: skip

WHITESPACE = "\t\n\v\f\r \x85\xa0\u1680\u2000\u2003\u2009\u200a\u2028\u2029\u202f\u205f\u3000"
INVISIBLE = (
    "\0\x01\x08\x0e\x1b\x1f\x7f\x80\x9f\xad\u061c\u180e\u200b\u200c\u200d\u200e\u202a\u202e\u2060\u2066\ufeff\ufffd"
)

PHRASES = [
    "", " ", "\t\r\n", "\0", "\ufffd", "a", "A man with a beard, smiling.", "don't stop-believing (really?!)", "C++ & C# ~ $5.00 + 7% = ^_^",
    "ΟΔΥΣΣΕΥΣ Ὀδυσσεύς Σ ΣΣ ΑΣ. ΑΣΑ", "İstanbul ISPARTA ılık", "STRASSE ẞ straße", "ﬁne ﬂour ﬃ", "Å Å Å ÅÅ", "e\u0301 é \u0301 e\u0301\u0301\u0323",
    "Việt Nam tiếng Việt", "naïve café résumé Zürich", "НАЙТИ ёлку и йод", "中文字符和English混在一起", "日本語のテキスト、カタカナとひらがな。ガギグ",
    "한국어 텍스트", "\u1112\u1161\u11ab\u1100\u1173\u11af", "هَذَا نَصٌّ عَرَبِيٌّ", "עִבְרִית", "ภาษาไทยไม่มีเว้นวรรค", "हिन्दी में लिखा हुआ",
    "𐐀𐐁 𐐨", "𝐁𝐨𝐥𝐝 𝕊", "½ ² ① Ⅷ ™ ℃", "a\u200bb a\u200db a\xadb a\ufeffb", "x\u3000y\xa0z\u2028w", "🙂", "🥺🫠🪿", "👨‍👩‍👧‍👦 family",
    "🏳️‍🌈🏴󠁧󠁢󠁥󠁮󠁧󠁿", "👍🏽 ok 👌🏿", "1️⃣ #️⃣ *️⃣", "🇫🇷🇩🇪", "❤️ vs ❤", "cat🐱dog", "a𠀀b𪜀c𫠝d", "\U0002b81f\U0002b820\U0002b91f\U0002b920",
    "[MASK]", "[mask]", "[ MASK ]", "[[MASK]]", "a[SEP]b", "[CLS] hello [SEP]", "[PAD][PAD]", "[UNK]", "[MASK]s of [MASK]-ing", "x [MASK", "MASK]",
    "[MA\u200bSK]", "[ＭＡＳＫ]", "##ing ## #", "[unused0]", "<s></s>", "[SEP][SEP][SEP]", "[MASK] " * 60,
]  # fmt: skip


def random_text(rng: random.Random, pool: list[str], words: int, longest: int) -> str:
    parts = ["".join(rng.choices(pool, k=rng.randint(1, longest))) for _ in range(words)]
    return "".join(part + rng.choice([" ", " ", " ", ", ", "", "\n"]) for part in parts)


def block_characters(name: str) -> list[str]:
    first, last = BLOCKS[name]
    return [chr(code) for code in range(first, last + 1)]


def emoji_sequence(rng: random.Random) -> str:
    parts = [
        chr(rng.choice([rng.randint(0x1F300, 0x1FAFF), rng.randint(0x2600, 0x27BF)])) for _ in range(rng.randint(1, 4))
    ]
    joined = rng.choice(["\u200d", "", "\ufe0f", "\ufe0f\u200d"]).join(parts)
    return joined + rng.choice(["", "", "\ufe0f", chr(rng.randint(0x1F3FB, 0x1F3FF)), "\u20e3"])


def strings(rng: random.Random, vocabulary: list[str]) -> Iterator[str]:
    """At least 2,000 strings; every generator below is one way in which real or hostile text differs from plain words."""
    yield from PHRASES
    words = [word.removeprefix("##") for word in vocabulary if not word.startswith("[")]
    yield from (" ".join(rng.choices(words, k=rng.randint(1, 12))) for _ in range(350))
    yield from ("".join(rng.choices(words, k=rng.randint(2, 6))).title() for _ in range(150))
    for name in BLOCKS:
        yield from (random_text(rng, block_characters(name), rng.randint(1, 5), 7) for _ in range(12))
        yield random_text(rng, block_characters(name) + list("aeB .") * 40, 6, 9)
    yield from (
        "".join(emoji_sequence(rng) + rng.choice(["", " ", "x"]) for _ in range(rng.randint(1, 6))) for _ in range(250)
    )
    marks = block_characters("combining") + list(
        "\u0654\u093c\u0e34\u20dd\u302e\ua66f\U0001d165\U0001e944\u0897\u1acf\u1df9"
    )
    yield from (
        "".join(rng.choice("aeoñИやא") + "".join(rng.choices(marks, k=rng.randint(0, 4))) for _ in range(8))
        for _ in range(120)
    )
    yield from (random_text(rng, list(WHITESPACE + INVISIBLE + "abc."), rng.randint(1, 8), 6) for _ in range(150))
    yield from ("a" + character + "B" for character in WHITESPACE + INVISIBLE)
    tokens = [*SPECIAL_TOKENS, "[mask]", "[MASK", "SEP]", "[", "]", " ", "word", "#", "##s", "\u0301", "é", "中"]
    yield from ("".join(rng.choices(tokens, k=rng.randint(1, 9))) for _ in range(150))
    for length in (99, 100, 101, 102, 1000):
        for unit in ("a", "é", "e\u0301", "𐐨", "🙂", "a\u200d", "\u0301", "中", "[", "ab"):
            yield "x " + unit * length + " y"
    yield from (random_text(rng, [chr(rng.choice(PLANES)) for _ in range(40)], 4, 6) for _ in range(120))


PLANES = [code for code in range(0x30000) if not 0xD800 <= code < 0xE000] + list(range(0xE0000, 0xE01F0))


def pairs(rng: random.Random, texts: list[str]) -> Iterator[tuple[str, str | None, int]]:
    """(text, text_pair, max_length): both sides short, one long, both long, empty, and every small limit."""
    for limit in range(3, 20):
        yield rng.choice(texts) + " one two three four five six", "a b c d e f g h i j"[: limit + 3], limit
        yield "a b c d e f g h", None, limit
    yield from [("", "", MAX_LENGTH), ("a", "", MAX_LENGTH), ("", "b", MAX_LENGTH)]
    for _ in range(180):
        sides = [" ".join(rng.choices(texts, k=rng.choice([1, 1, 2, 8]))) for _ in range(2)]
        yield sides[0], sides[1], rng.choice([MAX_LENGTH, MAX_LENGTH, 8, 16, 33, 64])


def probe_tokenizer(texts: list[str]) -> Tokenizer:
    """Every character that survives BertNormalizer, alone and as a continuation: ids then spell the normalized text."""
    normalizer = BertNormalizer()
    characters = sorted(set("".join(normalizer.normalize_str(text) for text in texts)) - {" "})
    vocabulary = SPECIAL_TOKENS + characters + ["##" + character for character in characters]
    probe = Tokenizer(WordPiece({token: index for index, token in enumerate(vocabulary)}, unk_token="[UNK]"))
    probe.add_special_tokens(SPECIAL_TOKENS)
    probe.normalizer = normalizer
    probe.pre_tokenizer = BertPreTokenizer()
    probe.post_processor = TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    return probe


def encode(tokenizer: Tokenizer, text: str, text_pair: str | None, max_length: int) -> dict[str, object]:
    tokenizer.no_truncation()
    tokenizer.no_padding()
    token_count = len(tokenizer.encode(text, text_pair).ids)
    tokenizer.enable_truncation(max_length)  # its default strategy is longest_first
    encoding = tokenizer.encode(text, text_pair)
    return {
        "text": text, "text_pair": text_pair, "max_length": max_length,
        "input_ids": encoding.ids, "token_type_ids": encoding.type_ids, "token_count": token_count,
    }  # fmt: skip


def write_fixture(name: str, content: dict[str, object]) -> None:
    FIXTURES.mkdir(parents=True, exist_ok=True)
    data = json.dumps(content, ensure_ascii=True, separators=(",", ":")).encode()
    path = FIXTURES / name
    path.write_bytes(gzip.compress(data, 9, mtime=0))  # no time stamp: the same strings give the same bytes
    print(f"{path.relative_to(ROOT)}: {path.stat().st_size} bytes")


def write_fixtures(tokenizer_path: Path) -> None:
    model = Tokenizer.from_file(str(tokenizer_path))
    vocabulary = [token for token, _ in sorted(model.get_vocab().items(), key=lambda item: item[1])]
    rng = random.Random(SEED)
    texts = list(strings(rng, vocabulary))
    cases = [(text, None, MAX_LENGTH) for text in texts] + list(pairs(rng, texts))
    probe = probe_tokenizer([text for text, _, _ in cases] + [pair for _, pair, _ in cases if pair])
    about = {"tokenizers": tokenizers.__version__, "seed": SEED, "strings": len(texts)}
    digest = hashlib.sha256(tokenizer_path.read_bytes()).hexdigest()
    write_fixture(
        "model.json.gz", {**about, "tokenizer_sha256": digest, "cases": [encode(model, *case) for case in cases]}
    )
    tokenizer_json = json.loads(probe.to_str())
    write_fixture(
        "probe.json.gz", {**about, "tokenizer": tokenizer_json, "cases": [encode(probe, *case) for case in cases]}
    )
    print(f"{len(texts)} strings, {len(cases) - len(texts)} pairs and short limits")


def code_points(keeps: Callable[[str], bool], codes: Iterable[int]) -> str:
    """Code points that satisfy `keeps`, as 'first-last first-last …' in hexadecimal."""
    ranges: list[list[int]] = []
    for code in codes:
        if not keeps(chr(code)):
            continue
        if ranges and ranges[-1][1] == code - 1:
            ranges[-1][1] = code
        else:
            ranges.append([code, code])
    return " ".join(f"{first:x}" if first == last else f"{first:x}-{last:x}" for first, last in ranges)


def write_unicode_ranges() -> None:
    """Asks `tokenizers` about every code point, one normalization step at a time."""
    off = {"clean_text": False, "handle_chinese_chars": False, "strip_accents": False, "lowercase": False}
    clean = BertNormalizer(**{**off, "clean_text": True})
    chinese = BertNormalizer(**{**off, "handle_chinese_chars": True})
    strip = BertNormalizer(**{**off, "strip_accents": True})
    pre_tokenizer = BertPreTokenizer()
    sets: dict[str, tuple[str, Callable[[str], bool]]] = {
        "DROPPED": ("what clean_text removes", lambda c: clean.normalize_str(f"a{c}b") == "ab"),
        "SPACES": ("what clean_text turns into a space", lambda c: clean.normalize_str(f"a{c}b") == "a b"),
        "IDEOGRAPHS": ("what handle_chinese_chars puts spaces around", lambda c: chinese.normalize_str(c) == f" {c} "),
        "MARKS": ("what strip_accents removes after decomposition", lambda c: strip.normalize_str(c) == ""),
        "PUNCTUATION": ("what BertPreTokenizer isolates", lambda c: len(pre_tokenizer.pre_tokenize_str(f"a{c}b")) == 3),
    }
    lines = [
        "// Code point sets of the BERT normalizer and pre-tokenizer, as ranges in hexadecimal. They are those of Python's `tokenizers`",
        f"// {tokenizers.__version__}, whose Unicode tables are older than the JavaScript engine's: properties such as \\p{{Mn}} would differ.",
        "// Generated by `gpu/scripts/make_tokenizer_fixtures.py --unicode-ranges`; do not edit.",
    ]
    every = [code for code in range(0x110000) if not 0xD800 <= code < 0xE000]
    for name, (what, keeps) in sets.items():
        lines += constant(name, what, code_points(keeps, every))
    RANGES_FILE.write_text("\n".join([*lines, *undecomposed(strip, every)]) + "\n")
    print(f"{RANGES_FILE.relative_to(ROOT)}: {RANGES_FILE.stat().st_size} bytes")


# A mark of combining class 224 that strip_accents keeps (it is Mc): beside it, any mark of another class that the table knows moves.
TONE_MARK = "\u302e"
LIST_CHANGED_BY_NFD = """
for (let code = 0; code < 0x110000; code++) {
  const character = String.fromCodePoint(code)
  const texts = [character, '\\u302e' + character, character + '\\u302e']
  if (texts.some((text) => text.normalize('NFD') !== text)) console.log(code)
}"""


def undecomposed(strip: BertNormalizer, every: list[int]) -> list[str]:
    """Characters that today's Unicode decomposes or reorders and `tokenizers` leaves alone; Node says what today's Unicode is."""
    node = subprocess.run(
        [ROOT / "node_modules/.bin/node", "-e", LIST_CHANGED_BY_NFD], check=True, capture_output=True, text=True
    )
    changed = set(map(int, node.stdout.split()))

    def is_left_alone(character: str) -> bool:
        texts = [character, TONE_MARK + character, character + TONE_MARK]
        return all(strip.normalize_str(text) == text for text in texts)

    kept = code_points(is_left_alone, (code for code in every if code in changed and chr(code) != TONE_MARK))
    return constant("UNDECOMPOSED", "what NFD decomposes or reorders today and strip_accents leaves in place", kept)


def constant(name: str, what: str, ranges: str) -> list[str]:
    return ["", f"/** {what} */", f"export const {name} = `", *textwrap.wrap(ranges, 120, break_on_hyphens=False), "`"]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tokenizer", type=Path, default=MODEL_TOKENIZER)
    parser.add_argument("--unicode-ranges", action="store_true")
    options = parser.parse_args()
    if options.unicode_ranges:
        write_unicode_ranges()
    elif options.tokenizer.exists():
        write_fixtures(options.tokenizer)
    else:
        sys.exit(f"{options.tokenizer} is missing: run `npm run train` and `npm run export` first")
