"""What a package says about itself beside its tensors: config.json's `flava_edge`, the space, the preprocessing."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from flava_gpu.augment import IMAGE_MEAN, IMAGE_STD
from flava_gpu.file_hash import sha256_of_file
from flava_gpu.made_up_texts import PAIR_LENGTH
from flava_gpu.package_file import WrittenFile

FORMAT_VERSION = 2
POOLING = "cls-projected"
PIL_BICUBIC = 3
Json = dict[str, Any]


def space_id(checkpoint_sha256: str, config: Json, preprocessing: Json, text_processing: Json) -> str:
    """Vectors may be compared when, and only when, this is equal: 16 hex digits over all that decides their meaning."""
    identity = {
        "checkpoint": checkpoint_sha256,
        "pooling": POOLING,
        "projection": {"size": config["projection_dim"]},
        "preprocessing": {"image": preprocessing, "text": text_processing},
        # What the tensors' shapes do not say.
        "encoders": {
            part: {field: config[part][field] for field in ("num_attention_heads", "layer_norm_eps")}
            for part in ("text_config", "image_config")
        },
    }
    canonical = json.dumps(identity, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()[:16]


def max_text_length(config: Json) -> int:
    return min(PAIR_LENGTH, config["text_config"]["max_position_embeddings"])


def weights_id(text: WrittenFile, image: WrittenFile) -> str:
    """Identity of a package's tensors."""
    return hashlib.sha256(f"{text.sha256}\n{image.sha256}\n".encode("ascii")).hexdigest()


def preprocessor_config(config: Json) -> Json:
    """What a picture goes through before the encoder, as FlavaImageProcessor's fields."""
    size = config["image_config"]["image_size"]
    return {
        "image_processor_type": "FlavaImageProcessor",
        "do_convert_rgb": True,
        "do_resize": True,
        "size": {"height": size, "width": size},
        "resample": PIL_BICUBIC,
        "do_center_crop": False,
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "image_mean": list(IMAGE_MEAN),
        "image_std": list(IMAGE_STD),
    }


def file_entry(path: Path) -> Json:
    """How `flava_edge.files` names a file: name, hash and size."""
    return {"name": path.name, "sha256": sha256_of_file(path), "size_bytes": path.stat().st_size}


def tensor_file_metadata(variant: str) -> dict[str, str]:
    """`__metadata__` of both tensor files."""
    return {"format": "flava-edge", "format_version": str(FORMAT_VERSION), "variant": variant}


def tensor_file_entry(file: WrittenFile) -> Json:
    return {"name": file.name, "sha256": file.sha256, "size_bytes": file.size_bytes}


def write_json(path: Path, value: Json) -> None:
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n")
