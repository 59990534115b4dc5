"""Probes, floors and zero-shot classes: a planted signal is recovered, shuffled labels are not, nothing is chosen on test items."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sklearn.linear_model import LogisticRegression

from flava_gpu.evaluation.errors import EvaluationDataError
from flava_gpu.evaluation.floors import bag_of_words, task_floors
from flava_gpu.evaluation.metrics import accuracy, f1
from flava_gpu.evaluation.model import EvaluatedModel
from flava_gpu.evaluation.probe import Prepared, fit, probe, probe_task
from flava_gpu.evaluation.report import Report, format_markdown, write_report
from flava_gpu.evaluation.scores import Outcome
from flava_gpu.evaluation.suites import classified, probe_scores
from flava_gpu.evaluation.tasks import Examples, Splits, Task, stratified_split
from flava_gpu.evaluation.zero_shot import ZeroShotTask, class_vectors, zero_shot_score
from flava_gpu.l2_sweep import COARSE_EXPONENTS, FITS, sweep_l2

CLASSES, WIDTH = 4, 16


def planted(count: int, seed: int, is_shuffled: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """Features around one centre a class, and the classes; `is_shuffled` breaks what ties them."""
    centres = 2 * np.random.default_rng(0).normal(size=(CLASSES, WIDTH))
    random = np.random.default_rng(seed)
    targets = random.integers(0, CLASSES, count)
    features = (centres[targets] + random.normal(size=(count, WIDTH))).astype(np.float32)
    return features, random.permutation(targets) if is_shuffled else targets


def splits_of(train: np.ndarray, validation: np.ndarray, test: np.ndarray) -> Splits:
    return Splits(*(Examples(targets, texts=["a word"] * len(targets)) for targets in (train, validation, test)))


def prepared(is_shuffled: bool) -> Prepared:
    parts = [planted(count, seed, is_shuffled) for count, seed in ((160, 1), (60, 2), (400, 3))]
    splits = splits_of(*(targets for _, targets in parts))
    task = Task("planted", "made up", "text_cls", tuple("abcd"), lambda: [splits])
    return Prepared(task, [splits], [tuple(features for features, _ in parts)])  # type: ignore[list-item]


def test_a_probe_recovers_a_planted_signal() -> None:
    assert probe_task(prepared(is_shuffled=False)).accuracy.low > 0.95


def test_a_probe_of_shuffled_labels_stands_at_chance() -> None:
    estimate = probe_task(prepared(is_shuffled=True)).accuracy
    assert estimate.low < 1 / CLASSES < estimate.high


def test_test_labels_choose_nothing() -> None:
    (train, train_y), (valid, valid_y), (test, test_y) = planted(80, 1), planted(40, 2), planted(40, 3)
    honest = probe(train, valid, test, splits_of(train_y, valid_y, test_y))
    other = probe(train, valid, test, splits_of(train_y, valid_y, (test_y + 1) % CLASSES))
    assert honest.l2 == other.l2
    np.testing.assert_array_equal(honest.predicted, other.predicted)


def test_centring_finds_scikit_learns_own_minimum_to_1e_3() -> None:
    features, targets = planted(120, 4)
    features = features + 5  # far from the origin
    plain = LogisticRegression(C=1.0, max_iter=5000, tol=1e-8).fit(features.astype(np.float64), targets)
    ours = fit(features.astype(np.float64), targets, 1.0)  # type: ignore[arg-type]
    np.testing.assert_allclose(ours.probabilities(features), plain.predict_proba(features), atol=1e-3)


def test_the_sweep_finds_the_peak_to_an_eighth_of_a_decade_and_stays_within_its_grid() -> None:
    asked: list[float] = []

    def score(l2: float) -> tuple[float]:
        asked.append(l2)
        return (-abs(np.log10(l2) - 1.4),)

    assert np.log10(sweep_l2(score)) == pytest.approx(1.375)
    assert len(asked) == len(set(asked)) <= FITS
    assert sweep_l2(lambda l2: (l2,)) == 10.0 ** COARSE_EXPONENTS[-1]
    assert sweep_l2(lambda l2: (-l2,)) == 10.0 ** COARSE_EXPONENTS[0]


def test_folds_are_put_together_and_their_groups_kept() -> None:
    one = Splits(*(Examples(np.array([0, 1]), texts=["a", "b"], groups=["x", "y"]) for _ in range(3)))
    outcome = Outcome.of_folds([one, one], [np.array([0, 0]), np.array([0, 1])], {})
    assert outcome.accuracy.value == 0.75
    assert list(outcome.groups or []) == ["x", "y", "x", "y"]


def test_splits_that_no_result_may_rest_on_are_refused() -> None:
    good = Examples(np.array([0, 1]), texts=["a", "b"])

    def check(train: Examples, test: Examples, representation: str = "text_cls") -> None:
        task = Task("broken", "", representation, ("a", "b"), lambda: [Splits(train, good, test)])  # type: ignore[arg-type]
        task.checked_splits()

    check(good, good)
    with pytest.raises(EvaluationDataError, match="no items"):
        check(good, Examples(np.empty(0, int), texts=[]))
    with pytest.raises(EvaluationDataError, match="all of one class"):
        check(Examples(np.array([1, 1]), texts=["a", "b"]), good)
    with pytest.raises(EvaluationDataError, match="outside of the 2 labels"):
        check(good, Examples(np.array([0, 2]), texts=["a", "b"]))
    with pytest.raises(EvaluationDataError, match="do not fit the representation"):
        check(good, good, "image_cls")
    with pytest.raises(EvaluationDataError, match="texts: expected 2 items, got 1"):
        Examples(np.array([0, 1]), texts=["a"])


def test_a_stratified_split_is_whole_and_divides_every_class_alike() -> None:
    targets = np.repeat([0, 1, 2], [50, 30, 20])
    parts = stratified_split(targets, (0.6, 0.2, 0.2), seed=0)
    assert sorted(np.concatenate(parts).tolist()) == list(range(100))
    assert [np.bincount(targets[part]).tolist() for part in parts] == [[30, 18, 12], [10, 6, 4], [10, 6, 4]]


def coloured(folder: Path, count: int, seed: int) -> Examples:
    """Pictures whose class is their colour, with a word that is the class for even ones only."""
    random = np.random.default_rng(seed)
    targets = random.integers(0, 2, count)
    paths, texts = [], []
    for index, target in enumerate(targets):
        pixels = np.full((24, 24, 3), 255, np.uint8)
        size = 8 + int(random.integers(0, 8))
        pixels[4 : 4 + size, 4 : 4 + size] = (200, 30, 30) if target else (30, 30, 200)
        paths.append(folder / f"{seed}-{index}.png")
        Image.fromarray(pixels).save(paths[-1])
        texts.append("red thing" if target else "blue thing")
    return Examples(targets, texts, paths)


def test_floors_reach_what_pixels_and_words_tell_and_no_more(tmp_path: Path) -> None:
    splits = Splits(*(coloured(tmp_path, count, seed) for count, seed in ((60, 1), (20, 2), (50, 3))))
    task = Task("colours", "", "multimodal_cls", ("blue", "red"), lambda: [splits])
    floors = {floor.name: floor.value for floor in task_floors(task, [splits])}
    assert floors["chance"] == 0.5
    assert floors["majority"] == pytest.approx(
        np.mean(splits.test.targets == np.bincount(splits.train.targets).argmax())
    )
    assert floors["pixel nn"] == 1
    assert floors["pixel ridge"] == 1
    assert floors["bag of words"] == 1


def test_a_bag_of_words_of_shuffled_labels_stands_at_chance() -> None:
    random = np.random.default_rng(5)
    words = np.array(["red", "blue", "cat", "dog", "sun", "rain"])

    def part(count: int) -> Examples:
        return Examples(random.integers(0, 2, count), [" ".join(random.choice(words, 3)) for _ in range(count)])

    splits = Splits(part(200), part(60), part(400))
    assert accuracy(splits.test.targets, bag_of_words(splits)) == pytest.approx(0.5, abs=0.09)


class OneAxisAClass:
    """An engine whose vectors are known: pictures and prompts of a class share an axis, tilted by the template."""

    name = "fake"

    def texts(self, texts, output):  # type: ignore[no-untyped-def]
        from flava_gpu.evaluation.encoders import Encoded

        axes = np.eye(3, dtype=np.float32)
        rows = [5.0 * axes[CLASS_NAMES.index(text.split()[-1])] + axes[len(text) % 3] for text in texts]
        return Encoded(np.stack(rows), np.ones(len(texts), int))

    def images(self, images, output):  # type: ignore[no-untyped-def]
        from flava_gpu.evaluation.encoders import Encoded

        axes = np.eye(3, dtype=np.float32)
        return Encoded(axes[[int(path.stem[0]) for path in images]], np.ones(len(images), int))


CLASS_NAMES = ("cat", "dog", "sun")


def zero_shot(is_shuffled: bool) -> ZeroShotTask:
    random = np.random.default_rng(6)
    targets = random.integers(0, 3, 300)
    images = [Path(f"{target}-{index}.png") for index, target in enumerate(targets)]
    labels = random.permutation(targets) if is_shuffled else targets
    names = [(name,) for name in CLASS_NAMES]
    training, test = Examples(np.array([0, 0, 2]), images=images[:3]), Examples(labels, images=images)
    return ZeroShotTask("made up", "", names, lambda: Splits(training, training, test), ("{}", "a picture of a {}"))


def test_a_zero_shot_class_is_the_renormalized_mean_of_its_normalized_prompts() -> None:
    model = EvaluatedModel(OneAxisAClass(), None)  # type: ignore[arg-type]
    vectors = class_vectors(model, zero_shot(is_shuffled=False))
    prompts = model.texts(["cat", "a picture of a cat"], "projected").mean(axis=0)
    np.testing.assert_allclose(vectors[0], prompts / np.linalg.norm(prompts), atol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)


def test_zero_shot_finds_a_planted_signal_and_shuffled_labels_stand_at_chance() -> None:
    model = EvaluatedModel(OneAxisAClass(), None)  # type: ignore[arg-type]
    assert zero_shot_score(model, zero_shot(is_shuffled=False)).got.value == 1
    shuffled = zero_shot_score(model, zero_shot(is_shuffled=True))
    assert shuffled.got.low < 1 / 3 < shuffled.got.high
    floors = {floor.name: floor.value for floor in shuffled.floors}
    assert floors["majority"] == (zero_shot(is_shuffled=True).load().test.targets == 0).mean()  # of training items


def test_the_table_tells_scores_intervals_and_floors_and_what_was_not_run(tmp_path: Path) -> None:
    (score,) = probe_scores([prepared(is_shuffled=False)], "edge", jobs=1)
    report = Report("probes", [score], ["spam: no data"], {"command": "x", "date": "2026-01-01T00", "cpu": "y"})
    table = format_markdown(report)
    assert "| planted (4) | linear probe, edge | accuracy | 400 | **" in table
    assert "Not run: spam: no data" in table
    paths = write_report(report, tmp_path, "probe")
    assert [path.suffix for path in paths] == [".json", ".md", ".png"]
    assert all(path.stat().st_size for path in paths)


def test_a_task_may_be_scored_by_another_metric_than_accuracy() -> None:
    task = Task("spam", "", "text_cls", ("ham", "spam"), lambda: [], metric=f1, metric_name="F1")
    outcome = Outcome(np.array([1, 1, 0, 0]), np.array([1, 0, 0, 0]), None)
    score = classified(task, "linear probe", "edge", outcome, ())
    assert (score.metric, score.got.value) == ("F1", pytest.approx(2 / 3))
    assert score.details["accuracy"] == 75
