"""Both encoders in fp32 through transformers' own Flava classes, one layer's weights in memory at a time.

The oracle that packages are measured against: nothing of the exporter's own forward pass is in it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TypeVar

import torch
from torch import Tensor, nn
from tqdm import tqdm
from transformers import FlavaImageConfig, FlavaTextConfig
from transformers.models.flava.modeling_flava import FlavaImageEmbeddings, FlavaLayer, FlavaTextEmbeddings

from flava_gpu.checkpoint_reader import CheckpointReader
from flava_gpu.made_up_texts import TokenizedText
from flava_gpu.package_layout import Encoder, block_name
from flava_gpu.parity_inputs import normalize_pictures
from flava_gpu.procedural_pictures import Picture

ModuleT = TypeVar("ModuleT", bound=nn.Module)
PICTURE_BATCH = 16
"""Pictures per call: bounds what a layer makes beside its result, 16 * 197 * 3072 floats."""


@dataclass
class Reference:
    """What an encoder gives for each input, each f32; seq_len is the input's own."""

    pre_norm: list[Tensor]  # [seq_len, hidden_size]
    hidden: list[Tensor] = field(default_factory=list)  # [seq_len, hidden_size], after the final LayerNorm
    projected: list[Tensor] = field(default_factory=list)  # [projection_dim], of token 0
    cls_layers: list[Tensor] = field(default_factory=list)
    """[inputs, hidden_size] of token 0: the embedding output, then after each block, before the final LayerNorm."""


@torch.inference_mode()
def encode_texts(reader: CheckpointReader, texts: list[TokenizedText], *, show_progress: bool = False) -> Reference:
    """Each text alone, at its true length: padding would only have to be masked away again."""
    config = FlavaTextConfig(**reader.config["text_config"])
    embed = _module(reader, FlavaTextEmbeddings(config), "text_model.embeddings")
    batches = [
        embed(torch.tensor([text.input_ids]), token_type_ids=torch.tensor([text.token_type_ids])) for text in texts
    ]
    del embed
    return _encode(reader, "text", config, batches, show_progress)


@torch.inference_mode()
def encode_pictures(reader: CheckpointReader, pictures: Picture, *, show_progress: bool = False) -> Reference:
    """pictures: uint8 [n, size, size, 3]."""
    config = FlavaImageConfig(**reader.config["image_config"])
    embed = _module(reader, FlavaImageEmbeddings(config), "image_model.embeddings")
    starts = range(0, len(pictures), PICTURE_BATCH)
    batches = [embed(normalize_pictures(pictures[start : start + PICTURE_BATCH])) for start in starts]
    del embed
    return _encode(reader, "image", config, batches, show_progress)


def _encode(
    reader: CheckpointReader,
    encoder: Encoder,
    config: FlavaTextConfig | FlavaImageConfig,
    batches: list[Tensor],
    show_progress: bool,
) -> Reference:
    """batches: embedding outputs, each [inputs, seq_len, hidden_size]."""
    config._attn_implementation = "eager"  # the only one FLAVA has
    cls_layers = [_token_0(batches)]
    for layer in tqdm(range(config.num_hidden_layers), f"{encoder} reference", disable=not show_progress):
        block = _module(reader, FlavaLayer(config), block_name(encoder, layer))
        for index, batch in enumerate(batches):
            batches[index] = block(batch)[0]
        cls_layers.append(_token_0(batches))
    norm = _module(reader, nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps), f"{encoder}_model.layernorm")
    projection = _module(
        reader, nn.Linear(config.hidden_size, reader.config["projection_dim"]), f"{encoder}_projection"
    )
    reference = Reference([item for batch in batches for item in batch], cls_layers=cls_layers)
    for batch in batches:
        hidden = norm(batch)
        reference.hidden += list(hidden)
        reference.projected += list(projection(hidden[:, 0]))
    return reference


def _token_0(batches: list[Tensor]) -> Tensor:
    return torch.cat([batch[:, 0] for batch in batches])


def _module(reader: CheckpointReader, module: ModuleT, name: str) -> ModuleT:
    """The module with the checkpoint's tensors of that name, ready for inference."""
    state = {key: torch.from_numpy(reader.tensor(f"{name}.{key}")) for key in module.state_dict()}
    module.load_state_dict(state, assign=True)
    return module.eval()
