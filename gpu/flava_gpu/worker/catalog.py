"""The base models that this worker brings: folders `<models>/<name>/checkpoint`, and which of their heads are trained.

Reads configs and tensor names only; loading is model_store.py's. A head that is in the file may still be noise: our own
checkpoints say in training.json what was trained. Imports no torch.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path

from flava_gpu.checkpoint_errors import CheckpointError
from flava_gpu.checkpoint_reader import CheckpointReader, find_weight_files, read_json

logger = logging.getLogger(__name__)

HEADS = ("contrastive", "itm", "mmm_text", "mmm_image", "mlm", "mim", "classification", "regression")
HEAD_TENSORS = {
    "itm": "itm_head.seq_relationship.weight",
    "mmm_text": "mmm_text_head.decoder.weight",
    "mmm_image": "mmm_image_head.decoder.weight",
    "mlm": "mlm_head.decoder.weight",
    "mim": "mim_head.decoder.weight",
}
CONTRASTIVE_TENSORS = ("image_projection.weight", "text_projection.weight")
FUSION_HEADS = ("itm", "mmm_text", "mmm_image", "classification", "regression")
"""Each is trained through the multimodal encoder, which without any of them is as it was initialized."""
HEAD_FILE = "head.json"


class PickleRefusedError(CheckpointError):
    """The weights are a pickle and the operator did not allow it."""

    code = "checkpoint_pickle_refused"


@dataclass(frozen=True)
class BaseModel:
    id: str
    folder: Path
    heads: tuple[str, ...]
    weight_bytes: int


class ModelCatalog:
    """What lies in a models folder, read once."""

    def __init__(self, models: Path, *, allow_pickle: bool = False) -> None:
        self.allow_pickle = allow_pickle
        self._models: dict[str, BaseModel] = {}
        for config in sorted(models.glob("*/checkpoint/config.json")):
            folder = config.parent
            name = folder.parent.name
            try:
                self._models[name] = read_base_model(name, folder, allow_pickle=allow_pickle)
            except CheckpointError as error:
                logger.warning("%s is left out: %s", name, error)

    def models(self) -> list[BaseModel]:
        return list(self._models.values())

    def find(self, model_id: str) -> BaseModel | None:
        return self._models.get(model_id)


def read_base_model(name: str, folder: Path, *, allow_pickle: bool) -> BaseModel:
    check_weight_files(folder, allow_pickle=allow_pickle)
    return BaseModel(
        name, folder, trained_heads(folder), sum(path.stat().st_size for path in find_weight_files(folder))
    )


def check_weight_files(folder: Path, *, allow_pickle: bool) -> None:
    """A pickle can run code when it is read; PyTorch's weights-only reader is the second lock, not the first."""
    pickles = [path.name for path in find_weight_files(folder) if path.suffix != ".safetensors"]
    if pickles and not allow_pickle:
        raise PickleRefusedError(f"{folder}: {pickles[0]} is a pickle, which needs --allow-pickle")


def trained_heads(folder: Path) -> tuple[str, ...]:
    """Of a checkpoint folder, in the order of HEADS."""
    found = declared_heads(folder)
    if found is None:
        found = heads_by_tensors(folder)
    if (folder / HEAD_FILE).is_file():
        task = read_json(folder / HEAD_FILE).get("task")
        if (folder / f"{task}_head.safetensors").is_file():
            found = found | {task}
    return tuple(head for head in HEADS if head in found)


def declared_heads(folder: Path) -> set[str] | None:
    """What training.json says was trained; None when it says nothing."""
    if not (folder / "training.json").is_file():
        return None
    heads = read_json(folder / "training.json").get("heads")
    return set(heads) if isinstance(heads, list) else None


def heads_by_tensors(folder: Path) -> set[str]:
    """Of a plain Hugging Face checkpoint: whoever published it had trained what it holds."""
    reader = CheckpointReader(folder)
    names = set(reader.names()) | set(reader.other_names())
    heads = {head for head, tensor in HEAD_TENSORS.items() if tensor in names}
    if all(tensor in names for tensor in CONTRASTIVE_TENSORS):
        heads.add("contrastive")
    return heads
