"""Writes a stand-in for a FLAVA checkpoint: its geometry, files and kinds of weights, none of its knowledge.

    PYTHONPATH=gpu .venv/bin/python -m flava_gpu.standin --geometry flava-full --seed 0 --out build/standin-full

Nothing that reads it can tell, or is told, that it is one. What the weights are: standin_weights.py.
"""

from __future__ import annotations

import argparse
import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from flava_gpu.checkpoint_reader import CheckpointReader
from flava_gpu.flava_tensors import CODEBOOK, Shapes, model_shapes, pretraining_shapes
from flava_gpu.standin_geometry import Geometry, geometry_config, preprocessor_config
from flava_gpu.standin_tokenizer import standin_tokenizer
from flava_gpu.standin_weights import RECIPE, StandinWeights

logger = logging.getLogger(__name__)

Kind = Literal["model", "pretraining"]
Layout = Literal["safetensors", "sharded", "bin", "sharded-bin"]
Json = dict[str, Any]
SHARD_BYTES = 256 * 1024 * 1024
LICENSE = "apache-2.0"


def write_standin(
    out: Path, geometry: Geometry, seed: int, kind: Kind = "model", layout: Layout = "safetensors"
) -> str:
    """Write a whole checkpoint folder, tensor by tensor, and return the sha256 that stands for its weights."""
    out.mkdir(parents=True, exist_ok=True)
    for old in (*out.glob("*.safetensors"), *out.glob("*.bin"), *out.glob("*.index.json")):
        old.unlink()
    config = geometry_config(geometry, kind)
    write_json(out / "config.json", config)
    write_json(out / "preprocessor_config.json", preprocessor_config(config["image_config"]))
    standin_tokenizer(config["text_config"]["vocab_size"]).save(str(out / "tokenizer.json"))

    shapes = standin_shapes(config, kind)
    weights = StandinWeights(seed)
    is_sharded = layout in ("sharded", "sharded-bin")
    shards = split_shapes(shapes, SHARD_BYTES) if is_sharded else [shapes]
    total_bytes = sum(size_bytes(shape) for shape in shapes.values())
    with tqdm(total=total_bytes, unit="B", unit_scale=True, unit_divisor=1024, desc="weights") as progress:
        for index, shard in enumerate(shards, start=1):
            name = f"model-{index:05}-of-{len(shards):05}.safetensors" if is_sharded else "model.safetensors"
            write_safetensors(out / name, shard, weights, progress)
    if is_sharded:
        write_index(out, shards, total_bytes)
    if layout in ("bin", "sharded-bin"):
        convert_to_bin(out)
    sha256 = CheckpointReader(out).sha256()
    describe(out, geometry, seed, sha256)
    return sha256


def describe(out: Path, geometry: Geometry, seed: int, sha256: str) -> None:
    """README.md and provenance.json, so that whoever meets the folder, or a package made of it, can tell what it is."""
    summary = (
        f"A stand-in for a FLAVA checkpoint of geometry {geometry}: random weights of the recipe {RECIPE}, seed {seed}, "
        "and a made-up vocabulary. It has learnt nothing. Made by `npm run make-standin`."
    )
    (out / "README.md").write_text(f"---\nlicense: {LICENSE}\n---\n{summary}\n", encoding="utf-8")
    write_json(out / "provenance.json", {"checkpoint": sha256, "summary": [summary]})


def standin_shapes(config: Json, kind: Kind) -> Shapes:
    """All of FlavaModel, or FlavaForPreTraining as it is saved: without the tied names, and without the frozen codebook."""
    if kind == "model":
        return model_shapes(config)
    return {
        name: shape
        for name, shape in pretraining_shapes(config).items()
        if not name.startswith(CODEBOOK) and not name.endswith("_head.bias")
    }


def split_shapes(shapes: Shapes, limit_bytes: int) -> list[Shapes]:
    """Runs of tensors of at most `limit_bytes`, or of one that is larger."""
    shards: list[Shapes] = [{}]
    filled = 0
    for name, shape in shapes.items():
        if shards[-1] and filled + size_bytes(shape) > limit_bytes:
            shards.append({})
            filled = 0
        shards[-1][name] = shape
        filled += size_bytes(shape)
    return shards


def size_bytes(shape: tuple[int, ...]) -> int:
    return 4 * int(np.prod(shape, dtype=np.int64))


def write_safetensors(path: Path, shapes: Shapes, weights: StandinWeights, progress: Any) -> None:
    """Header first, since all sizes are known, then one tensor after the other."""
    header: Json = {"__metadata__": {"format": "pt"}}
    offset = 0
    for name, shape in shapes.items():
        end = offset + size_bytes(shape)
        header[name] = {"dtype": "F32", "shape": list(shape), "data_offsets": [offset, end]}
        offset = end
    encoded = json.dumps(header, separators=(",", ":")).encode()
    encoded += b" " * (-len(encoded) % 8)
    with path.open("wb") as file:
        file.write(len(encoded).to_bytes(8, "little") + encoded)
        for tensor in tensors(shapes, weights):
            file.write(tensor.data)
            progress.update(tensor.nbytes)


def tensors(shapes: Shapes, weights: StandinWeights) -> Iterator[NDArray[np.float32]]:
    for name, shape in shapes.items():
        tensor = weights.tensor(name, shape)
        if tensor.shape != shape or tensor.dtype != np.float32:
            raise ValueError(f"{name}: expected float32 {list(shape)}, got {tensor.dtype} {list(tensor.shape)}")
        yield np.ascontiguousarray(tensor) if shape else tensor


def write_index(out: Path, shards: list[Shapes], total_bytes: int) -> None:
    names = [f"model-{index:05}-of-{len(shards):05}.safetensors" for index in range(1, len(shards) + 1)]
    weight_map = {tensor: name for name, shard in zip(names, shards, strict=True) for tensor in shard}
    write_json(
        out / "model.safetensors.index.json", {"metadata": {"total_size": total_bytes}, "weight_map": weight_map}
    )


def convert_to_bin(out: Path) -> None:
    """model*.safetensors to pytorch_model*.bin, the index too; files are mapped, so that none is held whole."""
    import torch  # here, since no other layout needs it
    from safetensors.torch import load_file

    for source in sorted(out.glob("model*.safetensors")):
        torch.save(load_file(source), source.with_name(bin_name(source.name)))
        source.unlink()
    index = out / "model.safetensors.index.json"
    if index.is_file():
        names = json.loads(index.read_text(encoding="utf-8"))
        weight_map = {tensor: bin_name(shard) for tensor, shard in names["weight_map"].items()}
        write_json(out / "pytorch_model.bin.index.json", {**names, "weight_map": weight_map})
        index.unlink()


def bin_name(safetensors_name: str) -> str:
    """`model-00001-of-00002.safetensors` to `pytorch_model-00001-of-00002.bin`, as transformers names them."""
    return f"pytorch_{safetensors_name.removesuffix('.safetensors')}.bin"


def write_json(path: Path, value: Json) -> None:
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(prog="make-standin", description="Write a stand-in for a FLAVA checkpoint.")
    parser.add_argument("--geometry", choices=get_args(Geometry), default="flava-full")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, help="folder to write; build/standin-<geometry> unless told")
    parser.add_argument("--kind", choices=get_args(Kind), default="model")
    parser.add_argument("--sharded", action="store_true", help="several files and an index")
    parser.add_argument("--bin", action="store_true", help="pytorch_model.bin instead of model.safetensors")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")

    out: Path = arguments.out or Path("build") / f"standin-{arguments.geometry}"
    layouts: dict[tuple[bool, bool], Layout] = {
        (False, False): "safetensors",
        (True, False): "sharded",
        (False, True): "bin",
        (True, True): "sharded-bin",
    }
    layout = layouts[arguments.sharded, arguments.bin]
    sha256 = write_standin(out, arguments.geometry, arguments.seed, arguments.kind, layout)
    logger.info("%s: %s, recipe %s, seed %d, sha256 %s", out, arguments.geometry, RECIPE, arguments.seed, sha256)


if __name__ == "__main__":
    main()
