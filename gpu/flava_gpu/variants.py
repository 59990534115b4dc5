"""The packages that are made of a checkpoint: which scheme each variant stores its tensors in."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from flava_gpu.package_layout import Config, Encoder, LinearSpec, encoder_config
from flava_gpu.schemes import EmbeddingScheme, LinearScheme, is_embedding_packable, is_linear_packable

MIB = 1 << 20
VARIANTS = ("default", "small", "w7", "w8")


@dataclass(frozen=True)
class EncoderRecipe:
    """Every Linear in one scheme, or schemes chosen among `choices` so that they take `bits` a weight on average."""

    choices: tuple[LinearScheme, ...]
    bits: float | None = None


@dataclass(frozen=True)
class Recipe:
    text: EncoderRecipe
    image: EncoderRecipe
    embedding: EmbeddingScheme

    def encoder(self, encoder: Encoder) -> EncoderRecipe:
        return self.text if encoder == "text" else self.image


ALLOCATED: tuple[LinearScheme, ...] = ("w4g64", "w4g32", "w5g64", "w6g64", "w7")
BUDGETED: dict[Encoder, tuple[LinearScheme, ...]] = {"text": ALLOCATED, "image": (*ALLOCATED, "w8")}
"""What a given budget may buy. A picture encoder has 7 bits in the default variant already, so only 8 are more."""
RECIPES: dict[str, Recipe] = {
    "default": Recipe(EncoderRecipe(("w6g64",)), EncoderRecipe(("w7",)), "e8"),
    "small": Recipe(EncoderRecipe(ALLOCATED, 4.5), EncoderRecipe(ALLOCATED, 4.5), "e6"),
    "w7": Recipe(EncoderRecipe(("w7",)), EncoderRecipe(("w7",)), "e8"),
    "w8": Recipe(EncoderRecipe(("w8",)), EncoderRecipe(("w8",)), "e8"),
}

EDGE_FILE_LIMIT = 92 * MIB
"""Bytes of one encoder's file that leave the activations room in the 96 MiB of a Worker's WASM memory."""

EMBEDDING_FALLBACKS: tuple[EmbeddingScheme, ...] = ("e6", "e8")


PROJECTION_SCHEME: LinearScheme = "w8"
"""Of the projection in every variant. It runs on one row an input and takes 1 % of the bytes, but its error goes into the
vector undiminished: on the stand-in 7 bits cost 0.0004 of the cosine and 6 bits 0.0017, 8 bits 0.0001."""


def packable_choices(linear: LinearSpec, choices: Iterable[LinearScheme]) -> tuple[LinearScheme, ...]:
    """The choices this weight has whole groups for; w7, which only wants whole steps, when there are none."""
    if linear.part == "projection":
        return (PROJECTION_SCHEME,)
    fitting: tuple[LinearScheme, ...] = tuple(
        scheme for scheme in choices if is_linear_packable(scheme, linear.n, linear.k)
    )
    return fitting or ("w7",)


def packable_embedding(config: Config, wanted: EmbeddingScheme) -> EmbeddingScheme:
    """The wanted scheme, or the next wider one whose groups divide the hidden size."""
    hidden_size = encoder_config(config, "text")["hidden_size"]
    for scheme in (wanted, *EMBEDDING_FALLBACKS):
        if is_embedding_packable(scheme, hidden_size):
            return scheme
    raise ValueError(f"hidden_size {hidden_size}: expected a multiple of 8")
