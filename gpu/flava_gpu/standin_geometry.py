"""The sizes that stand-ins come in, as Hugging Face configs."""

from __future__ import annotations

from typing import Any, Literal

from transformers import FlavaConfig

from flava_gpu.augment import IMAGE_MEAN, IMAGE_STD

Geometry = Literal["flava-full", "emoji", "tiny"]
Json = dict[str, Any]
PIL_BICUBIC = 3

GEOMETRIES: dict[Geometry, dict[str, Json]] = {
    "flava-full": {"text": {}, "image": {}, "multimodal": {}, "whole": {}},
    "emoji": {
        "text": {"vocab_size": 8192, "max_position_embeddings": 77},
        "image": {"image_size": 64, "patch_size": 8, "vocab_size": 512},
        "multimodal": {"num_hidden_layers": 2},
        "whole": {"hidden_size": 192, "num_hidden_layers": 4, "num_attention_heads": 6, "intermediate_size": 768},
    },
    "tiny": {
        "text": {"vocab_size": 512, "max_position_embeddings": 40},
        "image": {"image_size": 32, "patch_size": 16, "vocab_size": 16},
        "multimodal": {"num_hidden_layers": 1},
        "whole": {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 128},
    },
}
"""What differs from FlavaConfig's defaults, which are facebook/flava-full; `whole` holds for every encoder."""


def geometry_config(geometry: Geometry, kind: Literal["model", "pretraining"]) -> Json:
    """config.json of a checkpoint of this geometry."""
    sizes = GEOMETRIES[geometry]
    parts: dict[str, Json] = {
        f"{part}_config": {**sizes["whole"], **sizes[part]} for part in ("text", "image", "multimodal")
    }
    whole: Json = {}
    if "hidden_size" in sizes["whole"]:
        whole = {"hidden_size": sizes["whole"]["hidden_size"], "projection_dim": sizes["whole"]["hidden_size"]}
        parts["image_codebook_config"] = {"vocab_size": sizes["image"]["vocab_size"]}
    config = FlavaConfig(**parts, **whole, init_codebook=kind == "model")
    config.architectures = ["FlavaModel" if kind == "model" else "FlavaForPreTraining"]
    config.dtype = "float32"
    return config.to_dict()


def preprocessor_config(image: Json) -> Json:
    """FlavaImageProcessor's fields, its defaults at 224 px."""
    size = {"height": image["image_size"], "width": image["image_size"]}
    return {
        "image_processor_type": "FlavaImageProcessor",
        "do_resize": True,
        "size": size,
        "resample": PIL_BICUBIC,
        "do_center_crop": True,
        "crop_size": size,
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "image_mean": list(IMAGE_MEAN),
        "image_std": list(IMAGE_STD),
    }
