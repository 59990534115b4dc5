"""Texts and picture files to vectors: through the quantized edge engine, or PyTorch in fp32 from the checkpoint.

Both give the same four outputs, so that a suite does not know which engine it scores.
"""

from __future__ import annotations

import json
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from tokenizers import Tokenizer
from transformers import FlavaForPreTraining, FlavaImageConfig, FlavaTextConfig

from flava_gpu.batching import encode_texts
from flava_gpu.evaluation.errors import EngineFailedError
from flava_gpu.evaluation.progress import bar
from flava_gpu.finetune.batches import max_text_length
from flava_gpu.objectives import image_states, text_states
from flava_gpu.preprocess import to_pixel_values

Output = Literal["projected", "cls", "pre_norm"]
"""`projected`: projection of token 0 after the final layer norm. `cls`: token 0 after the final layer norm. `pre_norm`: all
tokens before it, which is what the multimodal encoder takes."""
Kind = Literal["texts", "images"]
EDGE_OUTPUTS: dict[Output, str] = {"projected": "projected", "cls": "cls", "pre_norm": "preNorm"}
"""As src/flava/encoder-output.ts names them."""
BATCH = 64
Item = TypeVar("Item")


@dataclass(frozen=True)
class Encoded:
    values: NDArray[np.float32]
    """[rows, width], the items one after the other."""
    rows: NDArray[np.int64]
    """[items]: 1 for vectors, the number of tokens for states."""

    def __post_init__(self) -> None:
        if self.values.ndim != 2 or int(self.rows.sum()) != len(self.values):
            raise EngineFailedError(f"expected {int(self.rows.sum())} rows, got an array of {self.values.shape}")

    def states(self) -> list[NDArray[np.float32]]:
        """[rows of the item, width] for each item."""
        return np.split(self.values, np.cumsum(self.rows)[:-1])


class Encoder(Protocol):
    name: str

    def texts(self, texts: Sequence[str], output: Output) -> Encoded: ...

    def images(self, images: Sequence[Path], output: Output) -> Encoded: ...


class TorchEncoder:
    """The reference: transformers' own modules in fp32, pictures through PIL."""

    name = "torch"

    def __init__(self, model: FlavaForPreTraining, tokenizer: Tokenizer, max_length: int | None = None) -> None:
        """`max_length` None: 77 tokens as FLAVA's pairs, or what the model has places for; a package has the same."""
        self.model = model
        self.tokenizer = tokenizer
        self.max_length = max_length or pair_length(model)
        self.image_size, _ = image_geometry(model)

    @torch.no_grad()
    def texts(self, texts: Sequence[str], output: Output) -> Encoded:
        flava, parts, rows = self.model.flava, [], []
        for batch in _batches(texts, "texts, fp32"):
            encoded = encode_texts(self.tokenizer, list(batch), self.max_length)
            states = text_states(self.model, encoded.input_ids, encoded.attention_mask)  # [batch, seq_len, hidden]
            if output == "pre_norm":
                parts.append(states[encoded.attention_mask.bool()])
                rows += encoded.attention_mask.sum(dim=1).tolist()
            else:
                token0 = flava.text_model.layernorm(states[:, 0])
                parts.append(token0 if output == "cls" else flava.text_projection(token0))
                rows += [1] * len(batch)
        return _encoded(parts, rows, self.model.config.hidden_size)

    @torch.no_grad()
    def images(self, images: Sequence[Path], output: Output) -> Encoded:
        flava, parts, rows = self.model.flava, [], []
        for batch in _batches(images, "pictures, fp32"):
            pixel_values = to_pixel_values([Image.open(path) for path in batch], self.image_size)
            states = image_states(self.model, pixel_values)  # [batch, 1 + patches, hidden]
            if output == "pre_norm":
                parts.append(states.flatten(0, 1))
                rows += [states.shape[1]] * len(batch)
            else:
                token0 = flava.image_model.layernorm(states[:, 0])
                parts.append(token0 if output == "cls" else flava.image_projection(token0))
                rows += [1] * len(batch)
        return _encoded(parts, rows, self.model.config.hidden_size)


class EdgeEncoder:
    """The code that runs in the Workers, in a process of its own; `command` starts it (tools/eval/encode.ts).

    The process is given `--request` (JSON: kind, output, items) and writes f32 rows, little-endian, to `--vectors` and
    {"width", "rows"} to standard output.
    """

    name = "edge"

    def __init__(self, command: Sequence[str]) -> None:
        self.command = list(command)

    def texts(self, texts: Sequence[str], output: Output) -> Encoded:
        return self._run("texts", list(texts), output)

    def images(self, images: Sequence[Path], output: Output) -> Encoded:
        return self._run("images", [str(path) for path in images], output)

    def _run(self, kind: Kind, items: list[str], output: Output) -> Encoded:
        with tempfile.TemporaryDirectory(prefix="flava-eval-") as folder:
            request, vectors = Path(folder, "request.json"), Path(folder, "vectors.f32")
            asked = {"kind": kind, "output": EDGE_OUTPUTS[output], "items": items}
            request.write_text(json.dumps(asked), encoding="utf-8")
            flags = ["--request", str(request), "--vectors", str(vectors)]
            process = subprocess.run([*self.command, *flags], stdout=subprocess.PIPE, check=False)
            if process.returncode:
                raise EngineFailedError(f"the edge engine ended with {process.returncode}, see its output above")
            told = json.loads(process.stdout)
            rows = np.array(told["rows"], dtype=np.int64)
            if len(rows) != len(items):
                raise EngineFailedError(f"{kind}: expected {len(items)} items, got {len(rows)}")
            return Encoded(np.fromfile(vectors, dtype="<f4").reshape(-1, told["width"]), rows)


def pair_length(model: FlavaForPreTraining) -> int:
    """Tokens that a text beside a picture may have."""
    text = model.config.text_config
    assert isinstance(text, FlavaTextConfig)
    return max_text_length(text.max_position_embeddings, "pair")


def image_geometry(model: FlavaForPreTraining) -> tuple[int, int]:
    """Side of a picture in pixels, and in patches."""
    image = model.config.image_config
    assert isinstance(image, FlavaImageConfig)
    assert isinstance(image.image_size, int)
    assert isinstance(image.patch_size, int)
    return image.image_size, image.image_size // image.patch_size


def unit(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """Rows of length 1; a row of zeros stays one and is equally far from everything."""
    lengths = np.linalg.norm(vectors.astype(np.float64), axis=1, keepdims=True)
    return (vectors / np.where(lengths == 0, 1, lengths)).astype(np.float32)


def _encoded(parts: list[torch.Tensor], rows: list[int], width: int) -> Encoded:
    values = torch.cat(parts).numpy() if parts else np.empty((0, width), np.float32)
    return Encoded(values, np.array(rows, dtype=np.int64))


def _batches(items: Sequence[Item], label: str) -> Iterator[Sequence[Item]]:
    with bar(len(items), label, "item") as progress:
        for start in range(0, len(items), BATCH):
            yield (batch := items[start : start + BATCH])
            progress.update(len(batch))
