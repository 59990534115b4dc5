"""The visual tokenizer: its dVAE, what it minimizes, what is measured of it, and how it is kept and read."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from safetensors import safe_open
from safetensors.torch import save_file
from torch.distributions import Laplace, SigmoidTransform, TransformedDistribution
from transformers import (
    FlavaConfig,
    FlavaForPreTraining,
    FlavaImageCodebook,
    FlavaImageProcessorPil,
)

from flava_gpu.codebook.dvae import CodebookConfig, DecoderBlock, DiscreteVae, relaxed_codes, spread_codes
from flava_gpu.codebook.folder import CodebookError, load_codebook, save_codebook
from flava_gpu.codebook.losses import annealed, decoded_pixels, prior_terms, reconstruction_loss
from flava_gpu.codebook.pictures import contact_sheet
from flava_gpu.codebook.pixels import codebook_pixels
from flava_gpu.codebook.token_cache import cached_tokens
from flava_gpu.codebook.tokens import map_pixels, tokenize
from flava_gpu.codebook.usage import Usage

SPECIFICATION = Path(__file__).with_name("fixtures") / "flava-full-tensors.txt"
WIDTHS = [32, 32, 16, 16, 8, 8, 4, 4]
TINY = CodebookConfig(hidden_size=4, vocab_size=8, decoder_input_size=4)


def flava_full_codebook() -> dict[str, tuple[int, ...]]:
    """Names, without their prefix, and shapes in facebook/flava-full."""
    lines = [line.split("\t") for line in SPECIFICATION.read_text().splitlines() if line.startswith("image_codebook.")]
    return {name.removeprefix("image_codebook."): tuple(json.loads(shape)) for name, shape in lines}


def tiny_vae(seed: int = 0) -> DiscreteVae:
    torch.manual_seed(seed)
    return DiscreteVae(TINY, out_channels=3)


def noise(count: int, side: int = 16, seed: int = 0) -> torch.Tensor:
    """uint8 RGBA [count, 4, side, side]."""
    return torch.randint(0, 256, (count, 4, side, side), generator=torch.Generator().manual_seed(seed)).byte()


def test_tokens_lie_eight_pixels_apart_and_the_decoder_mirrors_the_encoder() -> None:
    vae = tiny_vae()
    maps, logits = vae(torch.rand(2, 3, 32, 16), 1.0, torch.Generator().manual_seed(0))
    assert logits.shape == (2, 8, 4, 2)
    assert maps.shape == (2, 3, 32, 16)
    blocks = [block for block in vae.decoder.blocks if isinstance(block, DecoderBlock)]
    widths = [
        block.id_path(torch.zeros(1, width, 1, 1)).shape[1] for block, width in zip(blocks, [4, *WIDTHS], strict=False)
    ]
    assert widths == WIDTHS


def test_the_full_width_has_flava_s_tensors_and_53_8_million_parameters() -> None:
    with torch.device("meta"):
        codebook = FlavaImageCodebook(CodebookConfig(256, 8192, 128).to_flava())
    assert sum(parameter.numel() for parameter in codebook.parameters()) == 53_786_240
    assert {name: tuple(tensor.shape) for name, tensor in codebook.state_dict().items()} == flava_full_codebook()


def test_a_codebook_of_the_full_width_is_read_from_a_full_checkpoint(tmp_path: Path) -> None:
    tensors = {f"image_codebook.{name}": torch.full(shape, 0.5).half() for name, shape in flava_full_codebook().items()}
    save_file(tensors, tmp_path / "model.safetensors", metadata={"format": "pt"})
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "flava"}))
    codebook = load_codebook(tmp_path)
    assert all((parameter == 0.5).all() for parameter in codebook.parameters())


def test_a_code_looked_up_is_the_limit_of_a_relaxed_one() -> None:
    logits = torch.randn(2, 8, 3, 3, generator=torch.Generator().manual_seed(0)) * 100
    codes = relaxed_codes(logits, 0.01, torch.Generator().manual_seed(1))
    assert torch.allclose(codes, F.one_hot(logits.argmax(dim=1), 8).permute(0, 3, 1, 2).float(), atol=1e-6)


def test_relaxed_codes_sample_the_categorical_distribution_within_2_percent() -> None:
    logits = torch.tensor([0.0, 1.0, 2.0]).view(1, 3, 1, 1).expand(1, 3, 200, 200)
    chosen = relaxed_codes(logits, 0.1, torch.Generator().manual_seed(2)).argmax(dim=1)
    shares = torch.bincount(chosen.flatten(), minlength=3) / chosen.numel()
    assert torch.allclose(shares, torch.tensor([0.0, 1.0, 2.0]).softmax(0), atol=0.02)


def test_a_reconstruction_is_decoded_from_the_tokens_alone() -> None:
    vae = tiny_vae()
    pixels = map_pixels(torch.rand(2, 3, 16, 16))
    maps, tokens = vae.reconstruct(pixels)
    assert torch.equal(tokens, vae.encoder.get_codebook_indices(pixels))
    vectors = vae.decoder.blocks.get_submodule("input")
    assert isinstance(vectors, torch.nn.Conv2d)
    assert vectors.bias is not None
    looked_up = vectors.weight[:, :, 0, 0].T[tokens] + vectors.bias  # [n, rows, columns, decoder_input_size]
    hidden = looked_up.permute(0, 3, 1, 2)
    for name, block in vae.decoder.blocks.named_children():
        hidden = block(hidden) if name != "input" else hidden
    assert torch.allclose(maps, hidden, atol=1e-5)


def test_logit_laplace_is_the_density_of_a_sigmoid_of_laplace_noise() -> None:
    pixels = torch.rand(2, 3, 4, 4) * 0.8 + 0.1
    location, log_scale = torch.randn(2, 3, 4, 4), torch.randn(2, 3, 4, 4).clamp(min=-2)
    loss = reconstruction_loss(torch.cat([location, log_scale], dim=1), pixels, "logit-laplace")
    density = TransformedDistribution(Laplace(location, log_scale.exp()), SigmoidTransform())
    assert loss.item() == pytest.approx(-density.log_prob(pixels).mean().item(), rel=1e-4)


def test_errors_are_means_over_pixels_of_the_decoded_colours() -> None:
    maps = torch.logit(torch.full((1, 3, 8, 8), 0.5))
    pixels = torch.full((1, 3, 8, 8), 0.9)
    assert torch.allclose(decoded_pixels(maps), torch.tensor(0.5))
    assert reconstruction_loss(maps, pixels, "l1").item() == pytest.approx(0.4)
    assert reconstruction_loss(maps, pixels, "l2").item() == pytest.approx(0.16)


def test_the_two_prior_terms_add_up_to_the_kl_divergence_from_uniform() -> None:
    logits = torch.randn(3, 8, 4, 4, generator=torch.Generator().manual_seed(0)) * 3
    information, usage = prior_terms(logits)
    posterior = logits.softmax(dim=1)
    divergence = (posterior * (posterior * 8).log()).sum(dim=1).mean()
    assert (information + usage).item() == pytest.approx(divergence.item(), rel=1e-5)


@pytest.mark.parametrize(
    ("codes", "information", "usage"),
    [
        ("one for all", 0.0, math.log(8)),
        ("each its own", math.log(8), 0.0),
        ("no code at all", 0.0, 0.0),
    ],
)
def test_the_prior_terms_tell_collapse_use_and_noise_apart(codes: str, information: float, usage: float) -> None:
    logits = torch.zeros(1, 8, 2, 4)
    if codes == "one for all":
        logits[:, 3] = 100
    elif codes == "each its own":
        logits = torch.eye(8).mul(100).view(1, 8, 2, 4)
    terms = [term.item() for term in prior_terms(logits)]
    assert terms == pytest.approx([information, usage], abs=1e-5)


def test_coefficients_are_annealed_geometrically_or_to_zero() -> None:
    assert annealed(1.0, 0.01, 0.25, 0.5) == pytest.approx(0.1)
    assert annealed(1.0, 0.01, 0.9, 0.5) == pytest.approx(0.01)
    assert annealed(4.0, 0.0, 0.25, 0.5) == pytest.approx(2.0)


def test_spread_codes_makes_every_code_s_logit_alike_and_many_codes_win() -> None:
    vae = DiscreteVae(CodebookConfig(8, 64, 8), out_channels=3)
    pixels = map_pixels(torch.rand(16, 3, 1, 1).expand(-1, -1, 64, 64).clone())
    spread_codes(vae.encoder, pixels)
    logits = vae.encoder(pixels)
    assert logits.mean(dim=(0, 2, 3)).abs().max() < 1e-3
    assert (logits.std(dim=(0, 2, 3)) - 1).abs().max() < 1e-2
    assert Usage.of(logits.argmax(dim=1), 64).used > 0.3


def test_a_code_that_nothing_uses_leaves_gradients_finite() -> None:
    logits = torch.zeros(1, 8, 2, 2)
    logits[:, 3] = -1000  # a probability of exactly 0 in f32
    logits.requires_grad_(True)
    torch.stack(prior_terms(logits)).sum().backward()
    assert logits.grad is not None
    assert torch.isfinite(logits.grad).all()


def test_reconstruction_improves_and_codes_come_to_tell_colours_apart() -> None:
    torch.manual_seed(0)
    vae = DiscreteVae(CodebookConfig(hidden_size=8, vocab_size=8, decoder_input_size=8), out_channels=3)
    generator = torch.Generator().manual_seed(0)
    colours = map_pixels(torch.tensor([[0.0, 0, 0], [1, 0, 0], [0, 1, 0], [1, 1, 1]]))
    pixels = colours.repeat(4, 1)[:, :, None, None].expand(-1, -1, 8, 8)
    spread_codes(vae.encoder, pixels)
    optimizer = torch.optim.Adam(vae.parameters(), lr=5e-3)
    losses: list[float] = []
    for update in range(60):
        maps, logits = vae(pixels, annealed(1.0, 0.3, update / 60, 1.0), generator)
        loss = reconstruction_loss(maps, pixels, "l2")
        (loss + 0.01 * prior_terms(logits)[1]).backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    assert losses[-1] < losses[0] / 2
    assert Usage.of(vae.reconstruct(pixels)[1], 8).perplexity > 2


def test_usage_counts_codes_their_perplexity_and_the_most_frequent() -> None:
    usage = Usage.of(torch.tensor([[0, 0, 1, 1], [2, 2, 3, 3]]), 8)
    assert (usage.used, usage.most_frequent) == (0.5, 0.25)
    assert usage.perplexity == pytest.approx(4.0)


def test_a_codebook_of_which_under_a_tenth_is_used_is_warned_of(caplog: pytest.LogCaptureFixture) -> None:
    assert not Usage.of(torch.arange(2), 20).warn_if_collapsed("pictures")
    assert not caplog.text
    assert Usage.of(torch.arange(1), 20).warn_if_collapsed("pictures")
    assert "pictures: only 5.0 % of 20 codes are used" in caplog.text


def test_codebook_pixels_equal_transformers_codebook_branch() -> None:
    images = noise(3, 72)
    images[:, 3] = 255  # the processor takes no transparency
    pictures = [Image.fromarray(rgba.permute(1, 2, 0).numpy()).convert("RGB") for rgba in images]
    size = {"height": 64, "width": 64}
    processor: Any = FlavaImageProcessorPil(codebook_size=size, codebook_crop_size=size)
    theirs = processor(pictures, return_codebook_pixels=True, return_tensors="np")
    ours = map_pixels(codebook_pixels(images, 64)).numpy()
    assert np.abs(ours - theirs["codebook_pixel_values"]).max() < 1e-6
    assert 0.1 <= ours.min() < ours.max() <= 0.9 + 1e-6


def test_what_is_transparent_is_white_to_the_codebook() -> None:
    images = noise(1)
    images[:, 3] = 0
    assert torch.equal(codebook_pixels(images, 8), torch.ones(1, 3, 8, 8))


def test_a_saved_codebook_is_read_by_transformers_and_gives_the_same_tokens(tmp_path: Path) -> None:
    vae = tiny_vae()
    save_codebook(tmp_path, vae.encoder)
    pixels = torch.rand(4, 3, 16, 16)
    theirs = FlavaImageCodebook.from_pretrained(tmp_path).get_codebook_indices(map_pixels(pixels))
    ours = load_codebook(tmp_path)
    with torch.no_grad():
        assert torch.equal(ours(map_pixels(pixels)).argmax(dim=1), theirs)
    assert not any(parameter.requires_grad for parameter in ours.parameters())
    assert tokenize(ours, pixels).shape == (4, 2, 2)


def full_checkpoint(folder: Path, codebook: FlavaImageCodebook | None) -> Path:
    block = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 8}
    config = FlavaConfig(
        image_config={**block, "image_size": 16, "patch_size": 8, "vocab_size": 8},
        text_config={**block, "vocab_size": 16},
        multimodal_config=block,
        image_codebook_config=None if codebook is None else codebook.config.to_dict(),
        hidden_size=8,
        projection_dim=8,
        init_codebook=codebook is not None,
    )
    model = FlavaForPreTraining(config, image_codebook=codebook)
    model.save_pretrained(folder)
    return folder


def test_the_codebook_inside_a_full_checkpoint_is_found_where_from_pretrained_leaves_it_random(tmp_path: Path) -> None:
    vae = tiny_vae()
    folder = full_checkpoint(tmp_path, vae.encoder)
    own = vae.encoder.state_dict()
    found = load_codebook(folder).state_dict()
    assert all(torch.equal(found[name], own[name]) for name in own)
    trapped = FlavaImageCodebook.from_pretrained(folder).state_dict()
    assert not torch.equal(trapped["blocks.input.weight"], own["blocks.input.weight"])


def test_a_folder_without_a_codebook_is_refused_rather_than_read_as_random_weights(tmp_path: Path) -> None:
    with pytest.raises(CodebookError, match="train the codebook stage first"):
        load_codebook(tmp_path)
    with pytest.raises(CodebookError, match="tensors are missing"):
        load_codebook(full_checkpoint(tmp_path / "backbone", None))
    folder = full_checkpoint(tmp_path / "half", tiny_vae().encoder)
    with safe_open(folder / "model.safetensors", "pt") as tensors:
        names = [name for name in tensors.keys() if "image_codebook.blocks.input" not in name]  # noqa: SIM118
        kept = {name: tensors.get_tensor(name) for name in names}
    save_file(kept, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(CodebookError, match=r"lacks 2 tensors, the first blocks\.input\.bias"):
        load_codebook(folder)


def test_cached_tokens_equal_tokens_made_anew_and_are_read_rather_than_made_again(tmp_path: Path) -> None:
    codebook, images = tiny_vae().encoder.eval(), noise(5)
    tokens = cached_tokens(tmp_path, codebook, images, 16)
    assert tokens.dtype == torch.int16
    assert torch.equal(tokens.long(), tokenize(codebook, codebook_pixels(images, 16)))
    (file,) = tmp_path.iterdir()
    with safe_open(file, "pt") as kept:
        metadata = kept.metadata()
    save_file({"tokens": torch.full_like(tokens, 7)}, file, metadata=metadata)
    assert (cached_tokens(tmp_path, codebook, images, 16) == 7).all()


@pytest.mark.parametrize("change", ["codebook", "a pixel", "order", "size"])
def test_cached_tokens_are_made_anew_when_what_they_rest_on_changes(tmp_path: Path, change: str) -> None:
    codebook, images, size = tiny_vae().encoder.eval(), noise(5), 16
    cached_tokens(tmp_path, codebook, images, size)
    (before,) = tmp_path.iterdir()
    if change == "codebook":
        codebook = tiny_vae(seed=1).encoder.eval()
    elif change == "a pixel":
        images[3, 0, 5, 5] ^= 255
    elif change == "order":
        images = images.flip(0)
    else:
        size = 24
    tokens = cached_tokens(tmp_path, codebook, images, size)
    assert torch.equal(tokens.long(), tokenize(codebook, codebook_pixels(images, size)))
    (after,) = tmp_path.iterdir()
    assert after != before


def test_a_contact_sheet_shows_rows_of_different_lengths(tmp_path: Path) -> None:
    contact_sheet([torch.zeros(3, 3, 8, 8), torch.ones(1, 3, 8, 8)], tmp_path / "sheet.png", scale=2)
    sheet = Image.open(tmp_path / "sheet.png")
    assert sheet.size == (72, 48)
    assert sheet.getpixel((0, 0)) == (0, 0, 0)
    assert sheet.getpixel((60, 40)) == (255, 255, 255)
