"""A FLAVA checkpoint ready to compute: pictures and texts to unimodal states, pairs of them to fused states, in fp32.

Works in chunks: each takes its turn on the device, and one that does not fit the device's memory is done again in halves.
The maths is transformers' own modules, called one by one (objectives.py), because a call encodes each picture and text once
and fuses many pairs of them.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import torch
from PIL import Image
from torch import Tensor
from transformers import FlavaForPreTraining, FlavaImageConfig, FlavaTextConfig
from transformers.utils.logging import disable_progress_bar

from flava_gpu.checkpoint_parts import read_tokenizer
from flava_gpu.checkpoint_reader import CheckpointReader
from flava_gpu.made_up_texts import PAIR_LENGTH
from flava_gpu.objectives import fused_states
from flava_gpu.preprocess import to_pixel_values
from flava_gpu.worker.job import JobError
from flava_gpu.worker.tasks.texts import TextReader, Tokens

logger = logging.getLogger(__name__)

FIRST_CHUNK = 32
"""Pictures, texts or pairs at once: about 0.5 GB at FLAVA's full geometry."""
PAD_ID = 0  # any id would do: padding is masked
Result = TypeVar("Result")
Turn = Callable[[], AbstractContextManager[None]]
"""Entered for each chunk on the device; how the lanes of a worker share it."""


@dataclass
class FlavaRuntime:
    model: FlavaForPreTraining
    texts: TextReader
    heads: frozenset[str]
    folder: Path
    """The checkpoint, for what else lies in it."""
    image_size: int
    grid: int
    """Patches along one side."""
    bytes: int
    weights_sha256: str
    """Of model.safetensors, as CheckpointReader.sha256 has it."""
    chunk: int = FIRST_CHUNK
    extras: dict[str, Any] = field(default_factory=dict)
    """A fine-tuned head beside the model, loaded when it is first used."""

    @property
    def device(self) -> torch.device:
        return self.model.device

    def require(self, *heads: str) -> None:
        """Raises JobError head_not_trained unless one of `heads` is trained: an untrained head's answer is noise."""
        if not self.heads.intersection(heads):
            needed = " or ".join(heads)
            raise JobError("head_not_trained", f"the model was not trained for this: it needs {needed}")

    def image_states(
        self, pictures: Sequence[Image.Image], masked: Sequence[Sequence[int]] | None = None, turn: Turn = nullcontext
    ) -> Tensor:
        """States before the final layer norm, f32 [n, 1 + patches, hidden_size]; `masked` patches replaced by the mask token."""

        def encode(start: int, stop: int) -> list[Tensor]:
            pixel_values = to_pixel_values(list(pictures[start:stop]), self.image_size).to(self.device)
            mask = None if masked is None else self._patch_mask(masked[start:stop])
            image_model = self.model.flava.image_model
            embedded = image_model.embeddings(pixel_values, bool_masked_pos=mask)
            return list(image_model.encoder(embedded).last_hidden_state)

        return torch.stack(self.chunked(len(pictures), encode, turn))

    def text_states(self, texts: Sequence[Tokens], turn: Turn = nullcontext) -> list[Tensor]:
        """States before the final layer norm, each f32 [seq_len, hidden_size] of its own length."""
        order = sorted(range(len(texts)), key=lambda index: len(texts[index].input_ids))
        states: list[Tensor] = [torch.empty(0)] * len(texts)

        def encode(start: int, stop: int) -> list[None]:
            rows = [texts[index] for index in order[start:stop]]
            width = max(len(row.input_ids) for row in rows)
            output = self.model.flava.text_model(
                self._padded([row.input_ids for row in rows], width, PAD_ID),
                token_type_ids=self._padded([row.token_type_ids for row in rows], width, 0),
                attention_mask=self._padded([(1,) * len(row.input_ids) for row in rows], width, 0),
                output_hidden_states=True,
            )
            for index, row, hidden in zip(order[start:stop], rows, output.hidden_states[-1], strict=True):
                states[index] = hidden[: len(row.input_ids)]
            return [None] * len(rows)

        self.chunked(len(texts), encode, turn)
        return states

    def fuse(
        self,
        pairs: Sequence[tuple[Tensor, Tensor]],
        pick: Callable[[Tensor, range], list[Result]],
        turn: Turn = nullcontext,
    ) -> list[Result]:
        """`pick(states, positions)` for chunks of `pairs`, each the picture's and the text's states.

        `states` f32 [chunk, 1 + image tokens + longest seq_len, hidden_size] after the final layer norm: token 0 is the
        multimodal CLS; what lies behind a pair's own text is padding.
        """

        def fuse_chunk(start: int, stop: int) -> list[Result]:
            chunk = pairs[start:stop]
            image = torch.stack([image for image, _ in chunk])
            text = torch.nn.utils.rnn.pad_sequence([text for _, text in chunk], batch_first=True)
            mask = self._padded([(1,) * len(text) for _, text in chunk], text.shape[1], 0)
            return pick(fused_states(self.model, image, text, mask), range(start, stop))

        return self.chunked(len(pairs), fuse_chunk, turn)

    def chunked(self, count: int, work: Callable[[int, int], list[Result]], turn: Turn) -> list[Result]:
        """`work(start, stop)` over 0 to `count`, smaller after the device ran out of memory."""
        results: list[Result] = []
        while (start := len(results)) < count:
            stop = min(count, start + self.chunk)
            try:
                with turn(), torch.inference_mode():
                    results += work(start, stop)
                continue
            except torch.OutOfMemoryError as error:
                if stop - start == 1:
                    raise JobError(
                        "out_of_memory", "the device's memory does not take one item", retryable=True
                    ) from error
            # Outside of the except block: the exception holds the frames, and they the tensors.
            self.chunk = max(1, (stop - start) // 2)
            logger.warning("out of memory: going on with %d at once", self.chunk)
            if self.device.type == "cuda":
                torch.cuda.empty_cache()
        return results

    def _patch_mask(self, masked: Sequence[Sequence[int]]) -> Tensor:
        mask = torch.zeros(len(masked), self.grid**2, dtype=torch.bool)
        for row, patches in enumerate(masked):
            mask[row, list(patches)] = True
        return mask.to(self.device)

    def _padded(self, rows: Sequence[Sequence[int]], width: int, value: int) -> Tensor:
        return torch.tensor([[*row, *[value] * (width - len(row))] for row in rows], device=self.device)


def load_runtime(folder: Path, heads: Sequence[str], device: str, *, allow_pickle: bool = False) -> FlavaRuntime:
    """Reads a checkpoint folder in fp32. The caller has checked that its weights are not a pickle, or may be one."""
    disable_progress_bar()  # a worker's output is a log
    use_safetensors = None if allow_pickle else True
    model = FlavaForPreTraining.from_pretrained(
        folder, dtype=torch.float32, use_safetensors=use_safetensors, local_files_only=True
    )
    model = model.eval().requires_grad_(False).to(device)  # type: ignore[arg-type]
    text_config, image_config = model.config.text_config, model.config.image_config
    assert isinstance(text_config, FlavaTextConfig)
    assert isinstance(image_config, FlavaImageConfig)
    image_size, patch_size = image_config.image_size, image_config.patch_size
    assert isinstance(image_size, int)
    assert isinstance(patch_size, int)
    max_length = min(PAIR_LENGTH, text_config.max_position_embeddings)  # what export.py gives the edge's package
    return FlavaRuntime(
        model=model,
        texts=TextReader(read_tokenizer(folder, text_config.vocab_size), max_length, text_config.vocab_size),
        heads=frozenset(heads),
        folder=folder,
        image_size=image_size,
        grid=image_size // patch_size,
        weights_sha256=CheckpointReader(folder).sha256(),
        bytes=sum(tensor.numel() * tensor.element_size() for tensor in model.state_dict().values()),
    )
