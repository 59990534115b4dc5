"""A checkpoint's config, tokenizer and preprocessor, read in the forms that years of Hugging Face folders have them in.

Each is completed with FLAVA's defaults and refused, by field, where the engine does something else.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer
from transformers import FlavaConfig

from flava_gpu.augment import IMAGE_MEAN, IMAGE_STD
from flava_gpu.bert_tokenizer import SPECIAL_TOKENS, bert_tokenizer
from flava_gpu.checkpoint_errors import CheckpointConfigError, CheckpointFileMissingError
from flava_gpu.checkpoint_reader import read_json

Json = dict[str, Any]
PIL_BICUBIC = 3
LOWER_CASING = {"do_lower_case": True, "strip_accents": None, "tokenize_chinese_chars": True}
"""bert-base-uncased's choices in tokenizer_config.json, which are also the defaults."""


def complete_config(raw: Json) -> Json:
    """config.json with every field that it leaves to FlavaConfig's defaults; refuses what the encoders do not do."""
    if raw.get("model_type") != "flava":
        raise CheckpointConfigError(f"config.json: model_type: expected flava, got {raw.get('model_type')}")
    try:
        config: Json = FlavaConfig.from_dict(raw).to_dict()
    except (TypeError, ValueError) as error:
        raise CheckpointConfigError(f"config.json: not a FLAVA config: {error}") from error
    findings: list[str] = []
    for part in ("text_config", "image_config"):
        sizes = config[part]
        expected: Json = {"hidden_act": "gelu", "qkv_bias": True}
        if part == "image_config":
            expected["num_channels"] = 3
        findings += differences(sizes, expected, f"{part}.")
        if sizes["hidden_size"] % sizes["num_attention_heads"] != 0:
            heads = sizes["num_attention_heads"]
            findings.append(f"{part}.hidden_size: expected a multiple of {heads} heads, got {sizes['hidden_size']}")
    refuse(findings, "config.json")
    return config


def read_preprocessor(folder: Path, image_size: int) -> Json:
    """preprocessor_config.json when there is one; refused unless it does what FlavaImageProcessor's defaults do."""
    path = folder / "preprocessor_config.json"
    given = read_json(path) if path.is_file() else {}
    expected: Json = {
        "do_resize": True,
        "size": image_size,
        "resample": PIL_BICUBIC,
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "image_mean": list(IMAGE_MEAN),
        "image_std": list(IMAGE_STD),
    }
    if given.get("do_center_crop", True):
        expected["crop_size"] = image_size  # a crop of the whole picture
    found = {**expected, **{name: given[name] for name in expected if name in given}}
    for name in ("size", "crop_size"):
        found[name] = square_side(found.get(name))
    refuse(differences(found, expected, ""), path.name)
    return expected


def square_side(size: object) -> object:
    """224 of {"height": 224, "width": 224}; anything else as it is."""
    if isinstance(size, dict) and size.keys() == {"height", "width"} and size["height"] == size["width"]:
        return size["height"]
    return size


def read_tokenizer(folder: Path, vocab_size: int) -> Tokenizer:
    """tokenizer.json, or the lower-casing BERT tokenizer of a vocab.txt. Every id must have a row in the embeddings."""
    if (folder / "tokenizer.json").is_file():
        try:
            tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        except Exception as error:  # tokenizers raises Exception itself
            raise CheckpointConfigError(f"tokenizer.json: {error}") from error
        tokenizer.no_truncation()
        tokenizer.no_padding()
    elif (folder / "vocab.txt").is_file():
        tokenizer = tokenizer_of_vocab(folder)
    else:
        raise CheckpointFileMissingError(f"{folder}: expected tokenizer.json or vocab.txt, found neither")
    missing = [token for token in SPECIAL_TOKENS if tokenizer.token_to_id(token) is None]
    refuse([f"expected the special token {token}, it has none" for token in missing], "tokenizer")
    largest = max(tokenizer.get_vocab().values())
    if largest >= vocab_size:
        raise CheckpointConfigError(f"tokenizer: expected ids below the vocab_size of {vocab_size}, got {largest}")
    return tokenizer


def tokenizer_of_vocab(folder: Path) -> Tokenizer:
    settings = folder / "tokenizer_config.json"
    found = {**LOWER_CASING, **(read_json(settings) if settings.is_file() else {})}
    refuse(differences(found, LOWER_CASING, ""), settings.name)
    pieces = (folder / "vocab.txt").read_text(encoding="utf-8").splitlines()
    missing = [token for token in SPECIAL_TOKENS if token not in pieces]
    refuse([f"expected the special token {token}, it has none" for token in missing], "vocab.txt")
    return bert_tokenizer(pieces)


def license_of(folder: Path) -> str | None:
    """The `license:` of the front matter of README.md, Hugging Face's model card."""
    card = folder / "README.md"
    if not card.is_file():
        return None
    lines = card.read_text(encoding="utf-8", errors="replace").splitlines()
    if not lines or lines[0].strip() != "---":
        return None
    for line in lines[1:]:
        if line.strip() == "---":
            return None
        key, _, value = line.partition(":")
        if key.strip() == "license" and value.strip():
            return value.strip().strip("'\"")
    return None


def differences(found: Json, expected: Json, prefix: str) -> list[str]:
    """`<field>: expected <value>, got <value>` for every field of `expected` that is something else."""
    return [
        f"{prefix}{name}: expected {value}, got {found.get(name)}"
        for name, value in expected.items()
        if not is_same(found.get(name), value)
    ]


def is_same(found: object, expected: object) -> bool:
    if isinstance(expected, list):
        return (
            isinstance(found, list)
            and len(found) == len(expected)
            and all(is_same(one, other) for one, other in zip(found, expected, strict=True))
        )
    if isinstance(expected, float):
        return isinstance(found, int | float) and math.isclose(found, expected, rel_tol=1e-6)
    return found == expected


def refuse(findings: list[str], name: str) -> None:
    if findings:
        raise CheckpointConfigError(f"{name}: " + "; ".join(findings))
