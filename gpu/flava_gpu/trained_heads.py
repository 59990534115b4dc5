"""Which heads of a checkpoint folder were trained: a head that is in the file may still be noise.

Our own checkpoints say so in training.json; one from elsewhere is judged by its tensors. Reads JSON and tensor names only;
imports no torch.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path

from flava_gpu.checkpoint_reader import CheckpointReader, read_json

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
RECORD_FILE, HEAD_FILE = "training.json", "head.json"
"""How a checkpoint was made, and the head that fine-tuning put on it."""
ENCODERS = ("flava.text_model.", "flava.image_model.")
FUSION = (*ENCODERS, "flava.image_to_mm_projection.", "flava.text_to_mm_projection.", "flava.multimodal_model.")
HEAD_RESTS_ON: dict[str, tuple[str, ...]] = {
    "contrastive": (*ENCODERS, "flava.text_projection.", "flava.image_projection.", "flava.logit_scale"),
    "itm": (*FUSION, "itm_head."),
    "mmm_text": (*FUSION, "mmm_text_head."),
    "mmm_image": (*FUSION, "mmm_image_head."),
    "mim": ("flava.image_model.", "mim_head."),
    "mlm": ("flava.text_model.", "mlm_head."),
}
"""Parts of the model that each pretraining head answers from: once they have moved on alone, it answers noise."""


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
    if not (folder / RECORD_FILE).is_file():
        return None
    heads = read_json(folder / RECORD_FILE).get("heads")
    return set(heads) if isinstance(heads, list) else None


def heads_by_tensors(folder: Path) -> set[str]:
    """Of a plain Hugging Face checkpoint: whoever published it had trained what it holds."""
    reader = CheckpointReader(folder)
    names = set(reader.names()) | set(reader.other_names())
    heads = {head for head, tensor in HEAD_TENSORS.items() if tensor in names}
    if all(tensor in names for tensor in CONTRASTIVE_TENSORS):
        heads.add("contrastive")
    return heads


def heads_after(
    base_heads: Sequence[str], trained_by_method: Sequence[str], trained_names: Collection[str]
) -> list[str]:
    """The method's own heads, and those of the starting model whose ground has not moved."""
    kept = [
        head
        for head in base_heads
        if (rests_on := HEAD_RESTS_ON.get(head)) is not None
        and not any(name.startswith(rests_on) for name in trained_names)
    ]
    return list(dict.fromkeys([*kept, *trained_by_method]))
