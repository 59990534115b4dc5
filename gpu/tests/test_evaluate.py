"""The fp32 reference of the evaluation: its vectors are the model's own, whatever the batch, the file or the padding."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import FlavaConfig, FlavaForPreTraining

from flava_gpu import evaluate
from flava_gpu.augment import normalize

SIZE = 16
WORDS = ["cat", "dog", "red", "a", "of", "very", "long", "name"]
TEXTS = ["cat", "a red dog", "a very very long name of a cat", "unknownword", ""]


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    """A random fp16 checkpoint with a tokenizer of eight words."""
    torch.manual_seed(0)
    tiny = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
    config = FlavaConfig(
        image_config=tiny | {"image_size": SIZE, "patch_size": 8, "vocab_size": 8},
        text_config=tiny | {"vocab_size": 16, "max_position_embeddings": 12},
        multimodal_config=tiny,
        hidden_size=16,
        projection_dim=16,
        init_codebook=False,
        image_codebook_config={"hidden_size": 8, "vocab_size": 8},
    )
    model = FlavaForPreTraining(config)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, 0, 0.3)
    folder = tmp_path / "checkpoint"
    model.half().save_pretrained(folder)
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    vocabulary = {word: index for index, word in enumerate([*special, *WORDS])}
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()  # type: ignore[assignment]
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()  # type: ignore[assignment]
    tokenizer.post_processor = processors.TemplateProcessing(  # type: ignore[assignment]
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    tokenizer.save(str(folder / "tokenizer.json"))
    return folder


@pytest.fixture
def pictures(tmp_path: Path) -> list[Path]:
    """PNGs of other sizes than the model's, the last one half transparent."""
    random = np.random.default_rng(0)
    paths = []
    for index, (height, width, channels) in enumerate([(16, 16, 3), (40, 24, 3), (30, 30, 4)]):
        path = tmp_path / f"{index}.png"
        Image.fromarray(random.integers(0, 256, (height, width, channels), dtype=np.uint8)).save(path)
        paths.append(path)
    return paths


@torch.no_grad()
def test_text_vectors_equal_unpadded_single_runs_of_the_parts_to_1e_5(checkpoint: Path) -> None:
    model, tokenizer = evaluate.load_checkpoint(checkpoint)
    vectors = evaluate.embed_texts(model, tokenizer, TEXTS, max_length=12)
    assert vectors.shape == (len(TEXTS), 16)
    for text, vector in zip(TEXTS, vectors, strict=True):
        states = model.flava.text_model(torch.tensor([tokenizer.encode(text).ids])).last_hidden_state
        expected = F.normalize(model.flava.text_projection(states[:, 0]), dim=-1)[0]
        assert torch.allclose(vector, expected, atol=1e-5)
    assert not torch.allclose(vectors[0], vectors[1], atol=1e-2)


@torch.no_grad()
def test_image_vectors_equal_pil_preprocessing_and_the_parts_to_1e_5(checkpoint: Path, pictures: list[Path]) -> None:
    model, _ = evaluate.load_checkpoint(checkpoint)
    vectors = evaluate.embed_images(model, pictures)
    for path, vector in zip(pictures, vectors, strict=True):
        rgba = Image.open(path).convert("RGBA")
        white = Image.new("RGB", rgba.size, "white")
        white.paste(rgba, mask=rgba.getchannel("A"))
        pixels = np.asarray(white.resize((SIZE, SIZE), Image.Resampling.BICUBIC), dtype=np.float32) / 255
        states = model.flava.image_model(normalize(torch.from_numpy(pixels).permute(2, 0, 1)[None])).last_hidden_state
        expected = F.normalize(model.flava.image_projection(states[:, 0]), dim=-1)[0]
        assert torch.allclose(vector, expected, atol=1e-5)
    assert not torch.allclose(vectors[0], vectors[1], atol=1e-2)


def test_weights_are_upcast_to_fp32(checkpoint: Path) -> None:
    model, _ = evaluate.load_checkpoint(checkpoint)
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}


def test_a_missing_checkpoint_names_the_command_that_makes_it(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="npm run train"):
        evaluate.load_checkpoint(tmp_path / "checkpoint")


def test_the_command_writes_unit_rows_texts_first(
    checkpoint: Path, pictures: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    request, output = tmp_path / "request.json", tmp_path / "vectors.f32"
    request.write_text(json.dumps({"texts": TEXTS, "images": [str(path) for path in pictures]}))
    flags = ["--checkpoint", str(checkpoint), "--request", str(request), "--output", str(output)]
    monkeypatch.setattr(sys, "argv", ["evaluate", *flags])
    evaluate.main()
    rows = np.fromfile(output, dtype="<f4").reshape(len(TEXTS) + len(pictures), 16)
    assert np.allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-6)
    model, tokenizer = evaluate.load_checkpoint(checkpoint)
    assert np.array_equal(rows[: len(TEXTS)], evaluate.embed_texts(model, tokenizer, TEXTS, 12).numpy())
    assert np.array_equal(rows[len(TEXTS) :], evaluate.embed_images(model, pictures).numpy())
