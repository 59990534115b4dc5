"""Fine-tuning as a suite, and both stages: a planted signal is recovered on test items, shuffled labels are not."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from flava_gpu.evaluation.encoders import TorchEncoder
from flava_gpu.evaluation.finetuned import finetune_task, log_metrics
from flava_gpu.evaluation.model import EvaluatedModel, load_checkpoint
from flava_gpu.evaluation.probe import fit
from flava_gpu.evaluation.tasks import Examples, Splits, Task
from flava_gpu.finetune.head import load_head
from flava_gpu.stages.finetune import EpochsConfig, FinetuneConfig
from flava_gpu.stages.finetune import main as finetune_stage
from flava_gpu.stages.probe import ProbeConfig, save_probe
from flava_gpu.stages.probe import main as probe_stage
from flava_gpu.training.config import load_config
from tests.finetune_job import EMOJI, image_row, rows_of, text_row
from tests.tiny import CONFIGS, write_config

LABELS = ("bad", "good")


def text_examples(count: int, seed: int, is_shuffled: bool) -> Examples:
    rows = rows_of(text_row, count, seed)
    targets = np.array([LABELS.index(row["label"]) for row in rows])
    texts = [row["text"] for row in rows]
    return Examples(np.random.default_rng(seed).permutation(targets) if is_shuffled else targets, texts)


def text_task(is_shuffled: bool) -> Task:
    sizes = ((160, 1), (40, 2), (120, 3))
    parts = [text_examples(count, seed, is_shuffled) for count, seed in sizes]
    return Task("good or bad", "made up", "text_cls", LABELS, lambda: [Splits(*parts)])


def test_a_tuned_model_finds_what_is_planted_in_test_texts(tmp_path: Path) -> None:
    said: list[str] = []
    outcome = finetune_task(EMOJI, text_task(False), {"n_epochs": 4}, 0, tmp_path, log_metrics(said.append))
    assert outcome.accuracy.low > 0.8, outcome.accuracy
    assert any("valid_accuracy" in line for line in said)
    assert (tmp_path / "model" / "head.json").exists()


def test_shuffled_labels_leave_test_texts_at_chance(tmp_path: Path) -> None:
    outcome = finetune_task(EMOJI, text_task(True), {"n_epochs": 2}, 0, tmp_path, log_metrics(lambda _: None))
    assert outcome.accuracy.low < 0.5 < outcome.accuracy.high + 0.03


def write_words(folder: Path) -> Path:
    """The labelled set of word sentiment, with the planted words."""
    folder.mkdir()
    rows = [
        {
            "id": f"{split}-{index}",
            "text": row["text"],
            "label": {"good": "positive", "bad": "negative"}[row["label"]],
            "group": f"{split}-{index}",
            "split": split,
        }
        for split, count, seed in (("train", 64, 1), ("valid", 24, 2), ("test", 40, 3))
        for index, row in enumerate(rows_of(text_row, count, seed))
    ]
    (folder / "words.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


@pytest.fixture
def sources(tmp_path: Path) -> dict[str, str]:
    data = tmp_path / "emoji"
    data.mkdir()
    (data / "manifest.json").write_text('{"hash": "tiny"}')
    labelled = write_words(tmp_path / "labelled")
    return {"data": str(data), "labelled": str(labelled), "checkpoint": str(EMOJI)}


def test_the_finetune_stage_leaves_a_model_and_its_score(tmp_path: Path, sources: dict[str, str]) -> None:
    raw = {"name": "ft", "seed": 0, **sources, "tasks": ["word sentiment"], "threads": 1}
    raw["epochs"] = [{"task": "word sentiment", "epochs": 1}]
    finetune_stage(["--config", str(write_config(tmp_path / "ft.yaml", raw)), "--runs", str(tmp_path / "runs")])
    score = json.loads((tmp_path / "runs/ft/word-sentiment/score.json").read_text())
    assert (score["suite"], score["n"]) == ("fine-tuned", 40)
    assert set(score["floors"]) == {"chance", "majority", "bag of words"}
    assert (tmp_path / "runs/ft/word-sentiment/model/model.safetensors").exists()
    assert (tmp_path / "runs/ft/scores.png").exists()


def test_the_probe_stage_leaves_a_head_that_answers_as_its_score_says(tmp_path: Path, sources: dict[str, str]) -> None:
    raw = {
        "name": "probe",
        "engine": "torch",
        "package": "models/none",
        **sources,
        "tasks": ["word sentiment"],
        "threads": 1,
    }
    probe_stage(["--config", str(write_config(tmp_path / "probe.yaml", raw)), "--runs", str(tmp_path / "runs")])
    folder = tmp_path / "runs/probe/word-sentiment"
    score = json.loads((folder / "score.json").read_text())
    assert score["got"] > 80
    spec, head = load_head(folder)
    assert (spec.labels, spec.inputs) == (["negative", "positive"], "text")
    rows = [json.loads(line) for line in (tmp_path / "labelled/words.jsonl").read_text().splitlines()]
    tested = [row for row in rows if row["split"] == "test"]
    model = EvaluatedModel(TorchEncoder(*load_checkpoint(EMOJI)), EMOJI)
    states = torch.from_numpy(model.texts([row["text"] for row in tested], "cls"))
    assert spec.labels is not None
    named = [spec.labels[index] for index in head(states).argmax(dim=1)]
    right = np.mean([name == row["label"] for name, row in zip(named, tested, strict=True)])
    assert 100 * right == pytest.approx(score["got"])


@pytest.mark.parametrize("classes", [2, 4])
def test_a_saved_probe_gives_the_fitted_probabilities_to_1e_5(tmp_path: Path, classes: int) -> None:
    random = np.random.default_rng(0)
    targets = np.arange(60) % classes
    features = (random.normal(size=(60, 8)) + targets[:, None]).astype(np.float32)
    fitted = fit(features, targets, 1.0)
    labels = tuple("abcd"[:classes])
    save_probe(tmp_path, Task("x", "", "image_cls", labels, lambda: []), fitted, 77)
    _, head = load_head(tmp_path)
    with torch.no_grad():
        answered = head(torch.from_numpy(features)).softmax(dim=1).numpy()
    np.testing.assert_allclose(answered, fitted.probabilities(features), atol=1e-5)


def test_shipped_configurations_are_read_and_ask_for_what_is_given() -> None:
    finetune = load_config(FinetuneConfig, CONFIGS / "finetune.yaml")
    assert finetune.hyperparameters_of("entailment")["n_epochs"] == 2
    assert finetune.hyperparameters_of("digits 8x8") == {}
    changed = FinetuneConfig("x", 0, EMOJI, EMOJI, EMOJI, ("a",), (EpochsConfig("a", 3),), 8, 0.5)
    expected = {"n_epochs": 3, "batch_size": 8, "learning_rate_multiplier": 0.5}
    assert changed.hyperparameters_of("a") == expected
    assert load_config(ProbeConfig, CONFIGS / "probe.yaml").engine == "edge"


def test_pictures_are_sent_inline_and_tuned_on(tmp_path: Path) -> None:
    import base64

    def part(count: int, seed: int) -> Examples:
        rows = rows_of(image_row, count, seed)
        labels = sorted({row["label"] for row in rows_of(image_row, 40, 9)})
        paths = []
        for index, row in enumerate(rows):
            paths.append(tmp_path / f"{seed}-{index}.png")
            paths[-1].write_bytes(base64.b64decode(row["image"].partition(",")[2]))
        return Examples(np.array([labels.index(row["label"]) for row in rows]), images=paths)

    splits = Splits(part(48, 1), part(8, 2), part(60, 3))
    task = Task("colours", "", "image_cls", ("blue", "green", "red", "yellow"), lambda: [splits])
    outcome = finetune_task(EMOJI, task, {"n_epochs": 3}, 0, tmp_path / "work", log_metrics(lambda _: None))
    assert outcome.accuracy.low > 0.6, outcome.accuracy
