"""Which models a worker has, what is trained in them, how they are kept, and the fine-tuned heads they bring."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pytest
import torch
from safetensors.torch import load_file

from flava_gpu.batching import encode_texts
from flava_gpu.checkpoint_errors import CheckpointError
from flava_gpu.finetune.head import HeadSpec, head_states, new_head, predict, save_head
from flava_gpu.preprocess import to_pixel_values
from flava_gpu.trained_heads import trained_heads
from flava_gpu.worker.catalog import ModelCatalog, read_base_model
from flava_gpu.worker.contract import REPOSITORY
from flava_gpu.worker.job import JobError
from flava_gpu.worker.messages import JobObject, ModelRef
from flava_gpu.worker.model_store import ModelStore
from flava_gpu.worker.tasks.classify import run_classify
from flava_gpu.worker.tasks.runtime import load_runtime
from tests.test_worker_tasks import encoded, error, picture, result
from tests.tiny_checkpoint import write_checkpoint

MODELS = REPOSITORY / "models"
CHECKPOINT = MODELS / "flava-emoji" / "checkpoint"


@dataclass
class Weight:
    """A model of which only the size matters."""

    bytes: int


def models_folder(tmp_path: Path, *names: str) -> Path:
    for name in names:
        write_checkpoint(tmp_path / "models" / name / "checkpoint")
    return tmp_path / "models"


def no_fetch(item: JobObject, path: Path) -> None:
    raise AssertionError(item.name)


def base(name: str) -> ModelRef:
    return ModelRef(name, name, ())


OWN_HEADS = ("contrastive", "itm", "mmm_text", "mmm_image", "mlm", "mim")


def test_our_own_checkpoint_tells_what_was_trained_and_not_what_is_in_the_file(tmp_path: Path) -> None:
    assert trained_heads(CHECKPOINT) == OWN_HEADS
    (model,) = ModelCatalog(MODELS).models()
    assert model.id == "flava-emoji"
    assert set(model.heads) == set(json.loads((CHECKPOINT / "training.json").read_text())["heads"])
    folder = models_folder(tmp_path, "own") / "own" / "checkpoint"
    (folder / "training.json").write_text(json.dumps({"heads": ["mlm", "contrastive"]}))
    assert trained_heads(folder) == ("contrastive", "mlm")


def test_a_plain_checkpoint_is_taken_to_be_trained_where_it_has_tensors(tmp_path: Path) -> None:
    folder = models_folder(tmp_path, "plain") / "plain" / "checkpoint"
    assert trained_heads(folder) == ("contrastive", "itm", "mmm_text", "mmm_image", "mlm", "mim")
    (folder / "training.json").write_text(json.dumps({"heads": ["contrastive"]}))
    spec = HeadSpec("regression", "text", None, 16, None, 12)
    save_head(folder, spec, new_head(spec, 0))
    assert trained_heads(folder) == ("contrastive", "regression")


def test_a_pickle_is_refused_unless_the_operator_allows_it(tmp_path: Path) -> None:
    folder = models_folder(tmp_path, "pickled") / "pickled" / "checkpoint"
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    with pytest.raises(CheckpointError, match="--allow-pickle"):
        read_base_model("pickled", folder, allow_pickle=False)
    assert ModelCatalog(tmp_path / "models").models() == []
    assert [model.id for model in ModelCatalog(tmp_path / "models", allow_pickle=True).models()] == ["pickled"]


def test_the_model_used_longest_ago_makes_room(tmp_path: Path) -> None:
    loads: list[str] = []

    def load(folder: Path, heads: Any) -> Weight:
        loads.append(folder.parent.name)
        return Weight(40)

    catalog = ModelCatalog(models_folder(tmp_path, "a", "b", "c"))
    store: ModelStore[Weight] = ModelStore(catalog, load, 100, tmp_path / "cache")
    for name in "abac":
        store.get(base(name), no_fetch)
    assert store.loaded_ids() == {"a", "c"}
    store.get(base("b"), no_fetch)
    assert loads == ["a", "b", "c", "b"]
    assert store.loaded_ids() == {"c", "b"}


def test_a_fine_tuned_model_comes_from_the_jobs_objects_and_one_with_a_pickle_does_not(tmp_path: Path) -> None:
    catalog = ModelCatalog(MODELS)
    fetched: list[str] = []

    def fetch(item: JobObject, path: Path) -> None:
        fetched.append(item.name)
        path.parent.mkdir(parents=True, exist_ok=True)
        source = CHECKPOINT / item.name.removeprefix("model/")
        path.write_bytes(source.read_bytes() if source.exists() else b"pickle")

    store: ModelStore[Any] = ModelStore(catalog, lambda folder, heads: Weight(1), 100, tmp_path)
    names = ("model/config.json", "model/model.safetensors", "model/training.json")
    model = ModelRef("ft:x", "flava-emoji", tuple(JobObject(name, 1, "0" * 64) for name in names))
    folder, heads = store.locate(model, fetch)
    assert heads == OWN_HEADS
    assert (folder / "model.safetensors").stat().st_size == (CHECKPOINT / "model.safetensors").stat().st_size
    store.locate(model, fetch)
    assert fetched == list(names)
    names = ("model/config.json", "model/pytorch_model.bin")
    pickled = ModelRef("ft:y", "flava-emoji", tuple(JobObject(name, 1, "1" * 64) for name in names))
    with pytest.raises(JobError) as refused:
        store.get(pickled, fetch)
    assert (refused.value.code, refused.value.retryable) == ("checkpoint_pickle_refused", False)


def test_files_that_training_reads_are_not_removed_to_make_room(tmp_path: Path) -> None:
    def fetch(item: JobObject, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes((CHECKPOINT / item.name.removeprefix("model/")).read_bytes())

    catalog = ModelCatalog(models_folder(tmp_path, "other"))
    store: ModelStore[Any] = ModelStore(catalog, lambda folder, heads: Weight(60), 100, tmp_path / "cache")
    names = ("model/config.json", "model/model.safetensors", "model/training.json")
    model = ModelRef("ft:x", "flava-emoji", tuple(JobObject(name, 1, "0" * 64) for name in names))
    store.get(model, fetch)
    with store.kept_files(model):
        folder, _ = store.locate(model, fetch)
        store.get(base("other"), no_fetch)  # the fine-tuned model goes from memory
        assert (folder / "model.safetensors").is_file()
    assert not folder.exists()


def test_a_model_that_this_worker_does_not_have_is_another_workers(tmp_path: Path) -> None:
    store: ModelStore[Any] = ModelStore(ModelCatalog(MODELS), lambda folder, heads: Weight(1), 100, tmp_path)
    with pytest.raises(JobError) as refused:
        store.get(base("flava-full"), no_fetch)
    assert refused.value.retryable


@pytest.mark.parametrize("inputs", ["text", "image", "pair"])
def test_labels_are_the_fine_tuned_heads_own_on_each_sort_of_input(
    tmp_path: Path, inputs: Literal["text", "image", "pair"]
) -> None:
    folder = shutil.copytree(CHECKPOINT, tmp_path / "checkpoint")
    spec = HeadSpec("classification", inputs, ["no", "yes", "maybe"], 192, 16, 77)
    head = new_head(spec, seed=3)
    with torch.no_grad():
        head.out.weight.mul_(50)  # so that the labels differ
    save_head(folder, spec, head)
    runtime = load_runtime(folder, trained_heads(folder), "cpu")
    texts, images = ["a red heart", "a small house in the deep snow"], [picture(1), picture(2)]
    items = [
        {
            "text": text if inputs != "image" else None,
            "image": encoded(image) if inputs != "text" else None,
        }
        for text, image in zip(texts, images, strict=True)
    ]
    answers = result(run_classify(runtime, [{"items": items, "top_k": 3}])[0])["items"]
    with torch.no_grad():
        expected = predict(
            spec,
            head.eval(),
            head_states(
                runtime.model,
                inputs,
                to_pixel_values(images, runtime.image_size),
                encode_texts(runtime.texts._whole, texts, 77),
            ),
        )
    for answer, row in zip(answers, expected, strict=True):
        scores = {found["label"]: found["score"] for found in answer["labels"]}
        assert [scores[label] for label in ("no", "yes", "maybe")] == pytest.approx(row.tolist(), abs=1e-5)
        assert list(scores.values()) == sorted(scores.values(), reverse=True)
    wrong = {"text": None if inputs == "text" else "x", "image": None if inputs != "text" else encoded(images[0])}
    refused = error(run_classify(runtime, [{"items": [wrong], "top_k": 1}])[0])
    assert refused.code == "invalid_input"
    assert "trained on" in str(refused)


def test_a_regression_answers_in_the_units_of_its_rows_and_a_base_model_classifies_nothing(tmp_path: Path) -> None:
    folder = shutil.copytree(CHECKPOINT, tmp_path / "checkpoint")
    spec = HeadSpec("regression", "text", None, 192, None, 77, value_mean=20.0, value_scale=3.0)
    save_head(folder, spec, new_head(spec, seed=1))
    asked = [{"items": [{"text": "a red heart", "image": None}], "top_k": 1}]
    runtime = load_runtime(folder, trained_heads(folder), "cpu")
    assert result(run_classify(runtime, asked)[0])["items"][0]["value"] == pytest.approx(20, abs=3)
    plain = load_runtime(CHECKPOINT, trained_heads(CHECKPOINT), "cpu")
    assert error(run_classify(plain, asked)[0]).code == "head_not_trained"
