"""Fine-tuning the embedded model learns what the data hold and nothing where they hold nothing. All pictures are drawn here."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest

from tests.finetune_job import EMOJI, caption_row, image_row, make_job, pair_row, rows_of, run_here, text_row, value_row


def learn(
    folder: Path, make: Any, rows: int, method: str = "supervised", shuffled: bool = False, **plan: Any
) -> dict[str, float]:
    training, validation = rows_of(make, rows, 11), rows_of(make, 40, 12)
    if shuffled:
        for part in (training, validation):
            labels = [row["label"] for row in part]
            random.Random(0).shuffle(labels)
            for row, label in zip(part, labels, strict=True):
                row["label"] = label
    job = make_job(folder, EMOJI, method, training, validation, plan, threads=1)
    return run_here(job, folder / "work").done.metrics


@pytest.mark.parametrize(
    ("make", "rows", "epochs", "chance"),
    [(text_row, 160, 4, 0.5), (image_row, 64, 4, 0.25), (pair_row, 128, 5, 0.5)],
    ids=["text", "image", "pair"],
)
def test_supervised_learns_a_planted_signal(tmp_path: Path, make: Any, rows: int, epochs: int, chance: float) -> None:
    metrics = learn(tmp_path, make, rows, n_epochs=epochs)
    assert metrics["valid_accuracy"] >= chance + 0.75 * (1 - chance), metrics
    assert metrics["valid_macro_f1"] >= chance + 0.5 * (1 - chance)


def test_shuffled_labels_teach_nothing(tmp_path: Path) -> None:
    metrics = learn(tmp_path, text_row, 160, shuffled=True, n_epochs=4)
    assert 0.24 < metrics["valid_accuracy"] < 0.76  # chance, give or take 3.3 standard deviations of 40 rows


def test_regression_recovers_a_planted_value_in_its_own_units(tmp_path: Path) -> None:
    metrics = learn(tmp_path, value_row, 120, task="regression", n_epochs=6)
    assert metrics["valid_pearson"] > 0.9, metrics
    assert metrics["valid_mse"] < 50  # the values' own variance is 200


def test_contrastive_raises_recall_over_the_starting_model(tmp_path: Path) -> None:
    before = learn(tmp_path / "before", caption_row, 96, "contrastive", n_epochs=1, learning_rate_multiplier=1e-12)
    after = learn(tmp_path / "after", caption_row, 96, "contrastive", n_epochs=6, batch_size=12)
    assert after["valid_i2t_r1"] > before["valid_i2t_r1"] + 0.15, (before, after)
    assert after["valid_t2i_r5"] >= before["valid_t2i_r5"]


def test_a_linear_probe_reads_the_colour_off_frozen_features(tmp_path: Path) -> None:
    assert learn(tmp_path, image_row, 96, "linear_probe")["valid_accuracy"] > 0.8
