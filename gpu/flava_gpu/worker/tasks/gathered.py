"""The pictures and texts of several jobs together, each encoded once however often it is named.

A job that holds something wrong is answered with its own error and leaves the others alone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

import torch
from PIL import Image
from torch import Tensor

from flava_gpu.worker.job import JobError
from flava_gpu.worker.tasks.pictures import decode_picture
from flava_gpu.worker.tasks.runtime import FlavaRuntime, Turn
from flava_gpu.worker.tasks.texts import Tokens

Input = TypeVar("Input")
Plan = TypeVar("Plan")


@dataclass
class Gathered:
    """What to encode; `image` and `text` give the place of one, adding it when it is new."""

    runtime: FlavaRuntime
    pictures: list[Image.Image] = field(default_factory=list)
    masked: list[tuple[int, ...]] = field(default_factory=list)
    tokens: list[Tokens] = field(default_factory=list)
    _images: dict[tuple[str, tuple[int, ...]], int] = field(default_factory=dict)
    _texts: dict[Tokens, int] = field(default_factory=dict)

    def image(self, encoded: str, param: str, masked: tuple[int, ...] = ()) -> int:
        key = (encoded, masked)
        if key not in self._images:
            self.pictures.append(decode_picture(encoded, param))
            self.masked.append(masked)
            self._images[key] = len(self.pictures) - 1
        return self._images[key]

    def text(self, tokens: Tokens) -> int:
        if tokens not in self._texts:
            self.tokens.append(tokens)
            self._texts[tokens] = len(self.tokens) - 1
        return self._texts[tokens]

    def image_states(self, turn: Turn) -> Tensor:
        """f32 [pictures, 1 + patches, hidden_size] before the final layer norm."""
        if not self.pictures:
            return torch.empty(0)
        return self.runtime.image_states(self.pictures, self.masked if any(self.masked) else None, turn)

    def text_states(self, turn: Turn) -> list[Tensor]:
        return self.runtime.text_states(self.tokens, turn)

    @property
    def image_tokens(self) -> int:
        return 1 + self.runtime.grid**2


@dataclass
class Planned(Generic[Plan]):
    """A job's plan, or why there is none."""

    plan: Plan | None
    error: JobError | None


def plan_each(inputs: Sequence[Input], plan: Callable[[Input], Plan]) -> list[Planned[Plan]]:
    planned: list[Planned[Plan]] = []
    for one in inputs:
        try:
            planned.append(Planned(plan(one), None))
        except JobError as error:
            planned.append(Planned(None, error))
    return planned
