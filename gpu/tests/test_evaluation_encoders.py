"""Engines under evaluation: PyTorch's vectors are the model's own, the edge engine's process is asked and read correctly."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image

from flava_gpu.augment import normalize
from flava_gpu.batching import encode_texts
from flava_gpu.evaluation.cached_encoder import CachedEncoder
from flava_gpu.evaluation.encoders import EdgeEncoder, TorchEncoder, unit
from flava_gpu.evaluation.errors import CheckpointMissingError, EngineFailedError, HeadMissingError
from flava_gpu.evaluation.model import EvaluatedModel, load_checkpoint
from flava_gpu.evaluation.sources import find_checkpoint, open_model
from flava_gpu.evaluation.tasks import Examples
from flava_gpu.finetune.head import head_states
from flava_gpu.preprocess import to_pixel_values
from tests.tiny_checkpoint import write_checkpoint

REPOSITORY = Path(__file__).parents[2]
EMOJI = REPOSITORY / "models" / "flava-emoji"
SIZE = 16
TEXTS = ["cat", "a red dog", "the small red cat in the rain", "unknownword", "red"]
FAKE_ENGINE = """
import json, sys, numpy as np
request = json.load(open(sys.argv[sys.argv.index("--request") + 1]))
rows = [len(item) if request["output"] == "preNorm" else 1 for item in request["items"]]
values = np.concatenate([np.full((n, 3), len(item), "<f4") for n, item in zip(rows, request["items"])])
values.tofile(sys.argv[sys.argv.index("--vectors") + 1])
print(json.dumps({"width": 3, "rows": rows[:len(rows) - int(sys.argv[1])]}))
"""


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_checkpoint(tmp_path_factory.mktemp("model") / "checkpoint")


@pytest.fixture(scope="module")
def torch_model(checkpoint: Path) -> EvaluatedModel:
    return EvaluatedModel(TorchEncoder(*load_checkpoint(checkpoint)), checkpoint)


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """PNGs of other sizes than the model's, the last one half transparent."""
    random = np.random.default_rng(0)
    folder = tmp_path_factory.mktemp("pictures")
    paths = []
    for index, shape in enumerate([(16, 16, 3), (40, 24, 3), (30, 30, 4)]):
        paths.append(folder / f"{index}.png")
        Image.fromarray(random.integers(0, 256, shape, dtype=np.uint8)).save(paths[-1])
    return paths


@torch.no_grad()
def test_projected_texts_equal_unpadded_single_runs_of_the_parts_to_1e_5(torch_model: EvaluatedModel) -> None:
    flava, tokenizer = torch_model.flava, torch_model.tokenizer
    vectors = torch_model.texts(TEXTS, "projected")
    for text, vector in zip(TEXTS, vectors, strict=True):
        states = flava.flava.text_model(torch.tensor([tokenizer.encode(text).ids])).last_hidden_state
        expected = F.normalize(flava.flava.text_projection(states[:, 0]), dim=-1)[0]
        np.testing.assert_allclose(vector, expected.numpy(), atol=1e-5)
    assert not np.allclose(vectors[0], vectors[1], atol=1e-2)


@torch.no_grad()
def test_projected_pictures_equal_pil_preprocessing_and_the_parts_to_1e_5(
    torch_model: EvaluatedModel, pictures: list[Path]
) -> None:
    flava = torch_model.flava.flava
    for path, vector in zip(pictures, torch_model.images(pictures, "projected"), strict=True):
        rgba = Image.open(path).convert("RGBA")
        white = Image.new("RGB", rgba.size, "white")
        white.paste(rgba, mask=rgba.getchannel("A"))
        pixels = np.asarray(white.resize((SIZE, SIZE), Image.Resampling.BICUBIC), dtype=np.float32) / 255
        states = flava.image_model(normalize(torch.from_numpy(pixels).permute(2, 0, 1)[None])).last_hidden_state
        np.testing.assert_allclose(
            vector, F.normalize(flava.image_projection(states[:, 0]), dim=-1)[0].numpy(), atol=1e-5
        )


@torch.no_grad()
@pytest.mark.parametrize("inputs", ["text", "image", "pair"])
def test_a_task_is_represented_by_token_0_after_the_final_layer_norm_to_1e_5(
    torch_model: EvaluatedModel, pictures: list[Path], inputs: str
) -> None:
    representation = {"text": "text_cls", "image": "image_cls", "pair": "multimodal_cls"}[inputs]
    texts = TEXTS[:3]
    features = torch_model.represent(Examples(np.zeros(3, int), texts, pictures), representation)  # type: ignore[arg-type]
    for row, (text, path) in enumerate(zip(texts, pictures, strict=True)):
        pixel_values = to_pixel_values([Image.open(path)], SIZE)
        words = encode_texts(torch_model.tokenizer, [text], 12)
        expected = head_states(torch_model.flava, inputs, pixel_values, words)[0]  # type: ignore[arg-type]
        np.testing.assert_allclose(features[row], expected.numpy(), atol=1e-5)


def test_states_keep_each_items_own_length(torch_model: EvaluatedModel) -> None:
    encoded = torch_model.encoder.texts(TEXTS, "pre_norm")
    lengths = [len(torch_model.tokenizer.encode(text).ids) for text in TEXTS]
    assert encoded.rows.tolist() == lengths
    assert [len(states) for states in encoded.states()] == lengths


def test_weights_are_upcast_to_fp32(torch_model: EvaluatedModel) -> None:
    assert {parameter.dtype for parameter in torch_model.flava.parameters()} == {torch.float32}


def test_an_item_is_encoded_once_however_many_tasks_ask_for_it(checkpoint: Path) -> None:
    asked: list[int] = []

    class Counting(TorchEncoder):
        def texts(self, texts, output):  # type: ignore[no-untyped-def]
            asked.append(len(texts))
            return super().texts(texts, output)

    model = EvaluatedModel(Counting(*load_checkpoint(checkpoint)), None)
    first = model.texts(["cat", "dog", "cat"], "cls")
    again = model.texts(["dog", "cat"], "cls")
    assert asked == [2]
    np.testing.assert_array_equal(first[[1, 0]], again)


def test_the_edge_process_is_asked_and_read_item_by_item(tmp_path: Path) -> None:
    (tmp_path / "engine.py").write_text(FAKE_ENGINE)
    encoder = EdgeEncoder([sys.executable, str(tmp_path / "engine.py"), "0"])
    assert encoder.texts(["a", "abc"], "cls").values[:, 0].tolist() == [1, 3]
    states = encoder.texts(["ab", "abc"], "pre_norm").states()
    assert [part.shape for part in states] == [(2, 3), (3, 3)]
    with pytest.raises(EngineFailedError, match="expected 2 items, got 1"):
        EdgeEncoder([sys.executable, str(tmp_path / "engine.py"), "1"]).texts(["a", "b"], "cls")
    with pytest.raises(EngineFailedError, match="ended with"):
        EdgeEncoder([sys.executable, "-c", "raise SystemExit(3)"]).texts(["a"], "cls")


def test_the_shipped_packages_edge_vectors_are_those_of_its_checkpoint_to_a_cosine_of_0_999() -> None:
    edge, reference = (open_model(engine, EMOJI, None) for engine in ("edge", "torch"))  # type: ignore[arg-type]
    picture = REPOSITORY / "examples" / "cat.png"
    for output in ("projected", "cls", "pre_norm"):
        for kind, items in (("texts", ["red heart", "a dog"]), ("images", [picture])):
            ours = getattr(edge.encoder, kind)(items, output)
            theirs = getattr(reference.encoder, kind)(items, output)
            assert ours.rows.tolist() == theirs.rows.tolist()
            assert ((unit(ours.values) * unit(theirs.values)).sum(axis=1) > 0.999).all()


def test_cached_vectors_are_those_of_the_encoder_and_belong_to_one_checkpoint(checkpoint: Path, tmp_path: Path) -> None:
    encoder = TorchEncoder(*load_checkpoint(checkpoint))
    first = CachedEncoder(encoder, checkpoint, tmp_path).texts(TEXTS, "projected")
    broken = CachedEncoder(EdgeEncoder(["false"]), checkpoint, tmp_path)
    np.testing.assert_array_equal(broken.texts(TEXTS, "projected").values, first.values)
    other = write_checkpoint(tmp_path / "other", seed=1)
    with pytest.raises(EngineFailedError):
        CachedEncoder(EdgeEncoder(["false"]), other, tmp_path).texts(TEXTS, "projected")


def test_what_a_checkpoint_lacks_is_named(checkpoint: Path, tmp_path: Path) -> None:
    model = EvaluatedModel(EdgeEncoder(["false"]), checkpoint)
    model.require_heads("itm")
    with pytest.raises(CheckpointMissingError, match="--checkpoint"):
        EvaluatedModel(EdgeEncoder(["false"]), None).require_heads("itm")
    with pytest.raises(CheckpointMissingError, match="npm run train"):
        EvaluatedModel(EdgeEncoder(["false"]), tmp_path / "nowhere").require_heads("itm")
    with pytest.raises(CheckpointMissingError, match="npm run train"):
        load_checkpoint(tmp_path / "nowhere")


def test_a_head_that_is_in_the_file_and_was_not_trained_is_not_asked(tmp_path: Path) -> None:
    model = EvaluatedModel(EdgeEncoder(["false"]), write_checkpoint(tmp_path / "checkpoint"))
    (tmp_path / "checkpoint" / "training.json").write_text('{"heads": ["contrastive", "mlm"]}')
    model.require_heads("mlm")
    model.require_heads("itm", "mlm")
    with pytest.raises(HeadMissingError, match="trained without itm or mmm_text"):
        model.require_heads("itm", "mmm_text")


def test_a_package_without_a_checkpoint_takes_the_one_beside_it_that_it_was_made_of(tmp_path: Path) -> None:
    for name, identity in (("model", "abc"), ("model-small", "abc"), ("other", "def")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.json").write_text(f'{{"flava_edge": {{"checkpoint": "{identity}"}}}}')
    (tmp_path / "model" / "checkpoint").mkdir()
    assert find_checkpoint(tmp_path / "model-small") == tmp_path / "model" / "checkpoint"
    with pytest.raises(CheckpointMissingError, match="--checkpoint"):
        find_checkpoint(tmp_path / "other")
