"""A data set, configurations and runs small enough to train inside a test."""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from PIL import Image
from tokenizers import Tokenizer
from transformers import FlavaImageCodebook, FlavaImageCodebookConfig

from flava_gpu.distributed import Ranks
from flava_gpu.joint_batches import JointBatches
from flava_gpu.joint_config import JointConfig, make_batches
from flava_gpu.pairs import caption_texts, held_out_names, load_glosses, load_training_pairs
from flava_gpu.training.config import OptimizationConfig

GPU = Path(__file__).parents[1]
CONFIGS = GPU / "configs" / "emoji"
PLAN = OptimizationConfig(
    updates=100,
    batch_size=256,
    learning_rate=1e-3,
    warmup_updates=10,
    weight_decay=0.1,
    betas=(0.9, 0.99),
    gradient_clip=1.0,
    precision="f32",
    threads=1,
)
SHAPES = ["disc", "bar", "square", "cross", "ring", "corner", "stripe", "dot", "grid", "wedge"]


def write_data(folder: Path) -> Path:
    """Ten concepts in two train styles and one dev style, two held-out concepts, outlines of one style and five icons, one of
    which bears a concept's name; 16 px pictures of noise."""
    rows: list[dict[str, Any]] = []
    for index, name in enumerate([*SHAPES, "held", "kept"]):
        split = "dev" if index == len(SHAPES) else "test" if index > len(SHAPES) else "train"
        for style, role in (("ink", "train-style"), ("oil", "train-style"), ("clay", "dev-style")):
            rows.append(row(_draw(folder, f"{style}/{index:02}.png"), name, f"{index:02}", style, role, split))
    write_lines(folder / "pairs.jsonl", rows)
    outlines = [
        {
            "image": _draw(folder, f"ink-{variant}/{index:02}.png"),
            "style": "ink",
            "variant": variant,
            "key": f"{index:02}",
        }
        for index in range(len(SHAPES))
        for variant in ("outlined", "line")
    ]
    write_lines(folder / "outlines.jsonl", outlines)
    icons = [
        {"image": _draw(folder, f"icons/{name}.png"), "set": "icons", "name": name, "captions": [name, f"{name} sign"]}
        for name in ("disc", "arrow", "bolt", "plug", "lamp")
    ]
    write_lines(folder / "icons.jsonl", icons)
    glosses = [{"lemma": f"{a} {b}", "gloss": f"a {a} near a {b} and some {a}"} for a in SHAPES for b in SHAPES]
    write_lines(folder / "glosses.jsonl", glosses)
    (folder / "manifest.json").write_text(json.dumps({"training_hash": "tiny"}))
    return folder


def write_lines(path: Path, rows: list[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(item) + "\n" for item in rows))


def _draw(folder: Path, image: str) -> str:
    path = folder / "images" / image
    path.parent.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(int.from_bytes(image.encode()[-8:], "big"))
    Image.fromarray(random.integers(0, 255, (16, 16, 4), dtype=np.uint8), "RGBA").save(path)
    return image


def row(image: str, name: str, key: str, style: str, role: str, split: str) -> dict[str, Any]:
    return {
        "image": image,
        "style": style,
        "style_role": role,
        "key": key,
        "base": key,
        "family": key,
        "concept_split": split,
        "name": name,
        "group": "curves" if name in ("disc", "ring", "dot") else "lines",
        "subgroup": "round" if name in ("disc", "ring", "dot") else "angular",
        "skin": False,
        "kind": "concept",
        "captions": {"en": [name, f"{name} thing", "shape"]},
    }


def shipped(stage: str) -> dict[str, Any]:
    """A shipped configuration shrunk to 16 px, one layer and two threads' worth of nothing."""
    raw = yaml.safe_load((CONFIGS / f"{stage}.yaml").read_text())
    raw["model"] |= {"image_size": 16, "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    raw["model"] |= {"intermediate_size": 32, "multimodal_layers": 1, "vocab_size": 64, "image_vocab_size": 8}
    raw["model"] |= {"codebook_hidden_size": 4}
    raw["optimization"] |= {"batch_size": 8, "warmup_updates": 3, "threads": 1}
    raw["logging"] |= {"curve_every": 2, "evaluate_every": 6, "checkpoint_every": 4}
    return raw


def text_config(data: Path, updates: int = 6) -> dict[str, Any]:
    raw = shipped("text") | {"name": "text", "data": str(data), "max_length": 16}
    raw["optimization"] |= {"updates": updates}
    return raw


def joint_config(data: Path, text_run: Path, codebook: Path, updates: int = 12) -> dict[str, Any]:
    raw = shipped("joint") | {
        "name": "joint",
        "data": str(data),
        "tokenizer": str(text_run / "tokenizer.json"),
        "codebook": str(codebook),
        "init": [{"from": str(text_run), "include": ["flava.text_model.", "mlm_head."]}],
    }
    raw["optimization"] |= {"updates": updates}
    raw["batches"] |= {"multimodal_every": 2, "multimodal": 4, "images": 4, "texts": 4, "texts_max_length": 16}
    raw["datasets"] = {"pairs": 0.5, "images": 0.25, "texts": 0.25}
    return raw


def codebook_config(data: Path, updates: int = 8) -> dict[str, Any]:
    raw = yaml.safe_load((CONFIGS / "codebook.yaml").read_text())
    raw |= {"name": "codebook", "data": str(data), "image_size": 16}
    raw["codebook"] = {"hidden_size": 4, "vocab_size": 8, "decoder_input_size": 4}
    raw["optimization"] |= {"updates": updates, "batch_size": 8, "warmup_updates": 2, "threads": 1}
    raw["logging"] |= {"curve_every": 2, "evaluate_every": 4, "checkpoint_every": 4}
    return raw


def image_config(stage: str, data: Path, codebook: Path, updates: int = 8) -> dict[str, Any]:
    """`stage`: image or image-dino."""
    raw: dict[str, Any] = shipped(stage) | {"name": stage, "data": str(data)}
    raw["optimization"] |= {"updates": updates}
    if stage == "image":
        raw["mim"]["codebook"] = str(codebook)
    else:
        raw["dino"]["global_crops"]["size"], raw["dino"]["local_crops"]["size"] = 16, 8
        raw["dino"]["head"] = {"hidden_size": 16, "bottleneck_size": 8, "prototypes": 12, "frozen_updates": 2}
    return raw


def training_texts(data: Path) -> list[str]:
    return [*load_glosses(data, held_out_names(data)), *caption_texts(data)]


def joint_batches(config: JointConfig, tokenizer: Tokenizer, ranks: Ranks | None = None) -> JointBatches:
    pairs, texts = load_training_pairs(config.data), training_texts(config.data)
    return make_batches(config, pairs, texts, tokenizer, ranks or Ranks())


def write_codebook(folder: Path) -> Path:
    torch.manual_seed(3)
    FlavaImageCodebook(FlavaImageCodebookConfig(hidden_size=4, vocab_size=8)).save_pretrained(folder)
    return folder


def write_config(path: Path, raw: dict[str, Any]) -> Path:
    path.write_text(yaml.safe_dump(raw))
    return path


def stage_command(stage: str, config: Path, runs: Path) -> list[str]:
    return [sys.executable, "-m", f"flava_gpu.stages.{stage}", "--config", str(config), "--runs", str(runs)]


def run_stage(stage: str, config: Path, runs: Path) -> None:
    """To the end, inside this process: a start of PyTorch costs more than the run."""
    main = importlib.import_module(f"flava_gpu.stages.{stage}").main
    threads = torch.get_num_threads()
    try:
        main(["--config", str(config), "--runs", str(runs)])
    finally:
        torch.set_num_threads(threads)
