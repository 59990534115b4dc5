"""The discrete VAE of DALL-E (arXiv 2102.12092, appendix A) at any width: FlavaImageCodebook and the decoder that mirrors it.

Only training knows the decoder; FLAVA keeps the encoder, whose argmax over the vocabulary is a picture's tokens.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from dataclasses import dataclass
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import FlavaImageCodebook, FlavaImageCodebookConfig


@dataclass(frozen=True)
class CodebookConfig:
    hidden_size: int
    vocab_size: int
    decoder_input_size: int
    """Width of the vectors that tokens are looked up as, before the decoder's first group; 128 in DALL-E."""

    def to_flava(self) -> FlavaImageCodebookConfig:
        """Not frozen: a frozen one is what from_pretrained makes of the saved folder."""
        return FlavaImageCodebookConfig(hidden_size=self.hidden_size, vocab_size=self.vocab_size, freeze=False)


class DecoderBlock(nn.Module):
    """id_path(x) + gain * res_path(x), the 3 x 3 convolutions after the 1 x 1 one: the encoder's block read backwards."""

    def __init__(self, in_size: int, out_size: int, num_layers: int) -> None:
        super().__init__()
        hidden = out_size // 4
        self.post_gain = 1 / num_layers**2
        self.id_path = nn.Conv2d(in_size, out_size, 1) if in_size != out_size else nn.Identity()
        self.res_path = nn.Sequential(
            OrderedDict(
                relu_1=nn.ReLU(),
                conv_1=nn.Conv2d(in_size, hidden, 1),
                relu_2=nn.ReLU(),
                conv_2=nn.Conv2d(hidden, hidden, 3, padding=1),
                relu_3=nn.ReLU(),
                conv_3=nn.Conv2d(hidden, hidden, 3, padding=1),
                relu_4=nn.ReLU(),
                conv_4=nn.Conv2d(hidden, out_size, 3, padding=1),
            )
        )

    def forward(self, hidden_states: Tensor) -> Tensor:
        return self.id_path(hidden_states) + self.post_gain * self.res_path(hidden_states)


class Decoder(nn.Module):
    """Codes [batch, vocab_size, rows, columns] (one-hot or relaxed) to [batch, out_channels, 8 rows, 8 columns]."""

    def __init__(self, config: CodebookConfig, num_groups: int, blocks_per_group: int, out_channels: int) -> None:
        super().__init__()
        num_layers = num_groups * blocks_per_group
        blocks: OrderedDict[str, nn.Module] = OrderedDict()
        # A 1 x 1 convolution over one-hot codes is the lookup of each token's vector.
        blocks["input"] = nn.Conv2d(config.vocab_size, config.decoder_input_size, 1)
        size = config.decoder_input_size
        for group in range(num_groups):
            out_size = config.hidden_size * 2 ** (num_groups - 1 - group)  # 8, 4, 2, 1 times the width
            for block in range(blocks_per_group):
                blocks[f"group_{group + 1}_block_{block + 1}"] = DecoderBlock(size, out_size, num_layers)
                size = out_size
            if group < num_groups - 1:
                blocks[f"group_{group + 1}_upsample"] = nn.Upsample(scale_factor=2, mode="nearest")
        blocks["relu"] = nn.ReLU()
        blocks["output"] = nn.Conv2d(size, out_channels, 1)
        self.blocks = nn.Sequential(blocks)

    def forward(self, codes: Tensor) -> Tensor:
        return self.blocks(codes)


class DiscreteVae(nn.Module):
    """`encoder` is what is kept; `decoder` gives `out_channels` maps at the pixels' resolution."""

    def __init__(self, config: CodebookConfig, out_channels: int) -> None:
        super().__init__()
        flava = config.to_flava()
        self.encoder = FlavaImageCodebook(flava)
        self.decoder = Decoder(config, flava.num_groups, flava.num_blocks_per_group, out_channels)
        initialize(self)
        # Twice the pictures a second of the default layout, on a CPU.
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # no stub with a memory format alone

    def forward(self, pixels: Tensor, temperature: float, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Relaxed reconstruction: maps [batch, out_channels, h, w] and logits f32 [batch, vocab_size, h / 8, w / 8].

        `pixels` f32 [batch, 3, h, w], mapped to [0.1, 0.9].
        """
        logits = self.encoder(pixels.contiguous(memory_format=torch.channels_last)).float()
        codes = relaxed_codes(logits, temperature, generator)
        return self.decoder(codes), logits

    def reconstruct(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """The same from the tokens alone, as they are used: maps, and token ids int64 [batch, h / 8, w / 8]."""
        logits = self.encoder(pixels.contiguous(memory_format=torch.channels_last))
        tokens = logits.argmax(dim=1)
        codes = F.one_hot(tokens, logits.shape[1]).permute(0, 3, 1, 2).to(pixels.dtype)
        return self.decoder(codes), tokens


def relaxed_codes(logits: Tensor, temperature: float, generator: torch.Generator) -> Tensor:
    """Gumbel-softmax over dim 1 (arXiv 1611.01144): a sample of the categorical distribution as the temperature goes to 0."""
    uniform = torch.rand(logits.shape, generator=generator).clamp_(1e-9, 1 - 1e-7)
    gumbel = -torch.log(-torch.log(uniform))
    return F.softmax((logits + gumbel) / temperature, dim=1)


RESIDUAL_START = 8.0
"""How much further the residual paths' last convolutions start: their gain of 1/64 is meant for millions of updates."""


@torch.no_grad()
def initialize(module: nn.Module) -> None:
    """DALL-E's: weights normal(1 / sqrt(fan in)), biases zero; residual paths start at an eighth rather than at 1/64.

    FlavaImageCodebook comes with normal(0.02), which lets a narrow encoder's signal fade to nothing within four groups.
    """
    for name, layer in module.named_modules():
        if isinstance(layer, nn.Conv2d):
            fan_in = layer.in_channels * math.prod(layer.kernel_size)
            start = RESIDUAL_START if name.endswith("conv_4") else 1.0
            nn.init.normal_(layer.weight, std=start * fan_in**-0.5)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)


@torch.no_grad()
def spread_codes(codebook: FlavaImageCodebook, pixels: Tensor) -> None:
    """Shifts and scales the untrained output layer so that each code's logit over `pixels` has mean 0 and deviation 1.

    Data-dependent initialization (arXiv 1602.07868): else what all pictures share, a white ground, makes one code the winner
    everywhere before the decoder has learned anything. `pixels` f32 [n, 3, h, w], mapped to [0.1, 0.9].
    """
    logits = codebook(pixels.contiguous(memory_format=torch.channels_last)).float()
    deviation, mean = torch.std_mean(logits, dim=(0, 2, 3))  # [vocab_size]
    output = cast(nn.Conv2d, codebook.get_submodule("blocks.output.conv"))
    output.weight.div_(deviation.view(-1, 1, 1, 1))
    bias = cast(Tensor, output.bias)
    bias.copy_((bias - mean) / deviation)
