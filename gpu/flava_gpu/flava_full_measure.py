"""Runs transformers' FLAVA on the inputs of its own slow tests and measures what those tests fix.

The picture is COCO val2017 000000039769 (two cats), used twice; texts, padding, seeds and labels are the tests'. Whether
the multimodal encoder attends the texts' padding changed in transformers' PR #29446, so both ways are measured.
Knows no expected values: flava_full_goldens.json holds them.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from tokenizers import Tokenizer
from torch import Tensor
from transformers import FlavaConfig, FlavaForPreTraining, FlavaModel
from transformers.models.flava.image_processing_pil_flava import FlavaImageProcessorPil

from flava_gpu.checkpoint_errors import CheckpointConfigError
from flava_gpu.checkpoint_parts import complete_config, read_tokenizer
from flava_gpu.checkpoint_reader import CheckpointReader
from flava_gpu.flava_tensors import CODEBOOK, require_tensors

TEXTS = ("a photo of a cat", "a photo of a dog")
PAD_LENGTH = 77
MASKED = slice(4, 6)
"""The tokens "a" and "cat" of the first text."""
SEED = 1
ATTENDED = ", padding attended"

Inputs = dict[str, Any]


@dataclass(frozen=True)
class Measured:
    """Values by golden's name, why others could not be had, and the vectors that a package is compared with."""

    values: dict[str, float]
    missing: str | None
    vectors: dict[str, NDArray[Any]] = field(default_factory=dict[str, NDArray[Any]])
    input_ids: list[list[int]] = field(default_factory=list[list[int]])


def measure(folder: Path, image_path: Path) -> Measured:
    """All goldens that the checkpoint in `folder` can give for this picture. Raises CheckpointError, OSError."""
    reader = CheckpointReader(folder)
    config = complete_config(reader.config)
    tokenizer = read_tokenizer(folder, config["text_config"]["vocab_size"])
    reader.config = config
    require_tensors(reader)
    with Image.open(image_path) as file:
        picture = file.convert("RGB")

    missing = missing_for_losses(reader)
    model_class = FlavaForPreTraining if missing is None else FlavaModel
    model = model_class.from_pretrained(folder, config=FlavaConfig.from_dict(config), dtype=torch.float32).eval()
    flava: FlavaModel = model.flava if isinstance(model, FlavaForPreTraining) else model
    inputs = make_inputs(config, tokenizer, picture)
    with torch.inference_mode():
        values, vectors = measure_model(flava, inputs)
        if isinstance(model, FlavaForPreTraining):
            values |= measure_losses(model, inputs, token_id(tokenizer, "[MASK]"))
    side = config["image_config"]["image_size"]
    vectors["pictures"] = np.asarray(picture.resize((side, side), Image.Resampling.BICUBIC))[None]
    lengths = inputs["attention_mask"].sum(dim=1).tolist()
    ids = [row[:length] for row, length in zip(inputs["input_ids"].tolist(), lengths, strict=True)]
    return Measured(values, missing, vectors, ids)


def missing_for_losses(reader: CheckpointReader) -> str | None:
    """Why the losses cannot be computed, or None when they can."""
    if not reader.is_pretraining:
        return "needs a FlavaForPreTraining checkpoint"
    if not any(name.startswith(CODEBOOK) for name in reader.other_names()):
        return "needs the image codebook, which this checkpoint lacks"
    return None


def make_inputs(config: Inputs, tokenizer: Tokenizer, picture: Image.Image) -> Inputs:
    """The processor's output for both texts and the picture twice, PIL's resize; draws the masks from `random`."""
    torch.manual_seed(SEED)
    random.seed(SEED)
    side, patch = config["image_config"]["image_size"], config["image_config"]["patch_size"]
    size = {"height": side, "width": side}
    processor = FlavaImageProcessorPil(
        size=size,
        crop_size=size,
        input_size_patches=side // patch,
        do_convert_rgb=True,
        return_codebook_pixels=True,
        return_image_mask=True,
    )
    images = processor(images=[picture, picture], return_tensors="pt")
    length = min(PAD_LENGTH, config["text_config"]["max_position_embeddings"])
    tokenizer.enable_padding(length=length, pad_id=token_id(tokenizer, "[PAD]"))
    encodings = tokenizer.encode_batch(list(TEXTS))
    return {
        "input_ids": torch.tensor([encoding.ids for encoding in encodings]),  # [2, length]
        "token_type_ids": torch.tensor([encoding.type_ids for encoding in encodings]),
        "attention_mask": torch.tensor([encoding.attention_mask for encoding in encodings]),
        **{name: images[name] for name in ("pixel_values", "codebook_pixel_values", "bool_masked_pos")},
    }


def token_id(tokenizer: Tokenizer, token: str) -> int:
    """Id of a special token; read_tokenizer has made sure that it is there."""
    found = tokenizer.token_to_id(token)
    if found is None:
        raise CheckpointConfigError(f"tokenizer: expected the special token {token}, it has none")
    return found


def measure_model(flava: FlavaModel, inputs: Inputs) -> tuple[dict[str, float], dict[str, NDArray[Any]]]:
    """What FlavaModel alone gives: sums of hidden states and the contrastive logits."""
    given = {name: inputs[name] for name in ("input_ids", "token_type_ids", "attention_mask", "pixel_values")}
    output = flava(**given)
    with padding_attended(flava):
        attended = flava(**given)
    text = flava.text_projection(output.text_embeddings[:, 0])  # [2, projection_dim]
    image = flava.image_projection(output.image_embeddings[:1, 0])  # [1, projection_dim]
    cosines = torch.nn.functional.normalize(image) @ torch.nn.functional.normalize(text).T  # [1, 2]
    cat, dog = (cosines[0] * flava.logit_scale.exp()).tolist()
    values = {
        "sum of image_embeddings": total(output.image_embeddings),
        "sum of text_embeddings": total(output.text_embeddings),
        "sum of multimodal_embeddings": total(output.multimodal_embeddings),
        f"sum of multimodal_embeddings{ATTENDED}": total(attended.multimodal_embeddings),
        "contrastive logit of the cat": cat,
        "contrastive logit of the dog": dog,
        "contrastive logits, cat minus dog": cat - dog,
    }
    return values, {"text.projected": text.numpy(), "image.projected": image.numpy()}


def measure_losses(model: FlavaForPreTraining, inputs: Inputs, mask_id: int) -> dict[str, float]:
    values: dict[str, float] = {}
    for labels_name, itm_labels in (("", None), (" with itm labels", torch.tensor([1, 0]))):
        values |= losses(model, inputs, mask_id, itm_labels, labels_name)
        with padding_attended(model.flava):
            values |= losses(model, inputs, mask_id, itm_labels, f"{labels_name}{ATTENDED}")
    return values


def losses(
    model: FlavaForPreTraining, inputs: Inputs, mask_id: int, itm_labels: Tensor | None, suffix: str
) -> dict[str, float]:
    """New label tensors for every call: the model writes into the ones it is given."""
    input_ids: Tensor = inputs["input_ids"]
    masked, labels = input_ids.clone(), torch.full_like(input_ids, -100)
    masked[0, MASKED] = mask_id
    labels[0, MASKED] = input_ids[0, MASKED]
    given = {name: value.clone() for name, value in inputs.items()}
    output = model(**given, input_ids_masked=masked, mlm_labels=labels, itm_labels=itm_labels, return_loss=True)
    return {
        f"mmm_text loss{suffix}": output.loss_info.mmm_text.item(),
        f"mmm_image loss{suffix}": output.loss_info.mmm_image.item(),
        f"total loss{suffix}": output.loss.item(),
    }


@contextmanager
def padding_attended(flava: FlavaModel) -> Iterator[None]:
    """Run the multimodal encoder without the texts' padding mask, as transformers did before March 2024."""
    encoder = flava.multimodal_model

    def drop_mask(_module: object, args: Any, kwargs: Inputs) -> tuple[Any, Inputs]:
        return args, {**kwargs, "attention_mask": None}

    hook = encoder.register_forward_pre_hook(drop_mask, with_kwargs=True)
    try:
        yield
    finally:
        hook.remove()


def total(tensor: Tensor) -> float:
    """Summed in float64: the goldens' own rounding is what the tolerance is for."""
    return tensor.double().sum().item()
