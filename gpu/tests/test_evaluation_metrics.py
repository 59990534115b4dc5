"""Metrics equal scikit-learn's and SciPy's, and say the right thing where those have no opinion; intervals cover."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from scipy import stats
from sklearn import metrics as sk

from flava_gpu.evaluation import metrics
from flava_gpu.evaluation.confidence import bootstrap, of_mean, of_share, wilson

TOLERANCE = 1e-12
REFERENCES: dict[str, Callable[[np.ndarray, np.ndarray], float]] = {
    "accuracy": sk.accuracy_score,
    "mean_per_class": sk.balanced_accuracy_score,
    "macro_f1": lambda y, p: sk.f1_score(y, p, average="macro"),
    "matthews": sk.matthews_corrcoef,
}


@pytest.mark.parametrize("name", REFERENCES)
@pytest.mark.parametrize("classes", [2, 3, 7])
@pytest.mark.filterwarnings("ignore:y_pred contains classes")
def test_class_metrics_equal_scikit_learn_to_1e_12(name: str, classes: int) -> None:
    random = np.random.default_rng(classes)
    for count in (3, 50, 400):
        targets = random.integers(0, classes, count)
        guessed = random.integers(0, classes, count)
        predicted = np.where(random.random(count) < 0.6, targets, guessed)
        assert getattr(metrics, name)(targets, predicted) == pytest.approx(
            REFERENCES[name](targets, predicted), abs=TOLERANCE
        )


def test_f1_of_class_1_equals_scikit_learn_and_is_0_where_nothing_is_found() -> None:
    random = np.random.default_rng(0)
    targets, predicted = random.integers(0, 2, 200), random.integers(0, 2, 200)
    assert metrics.f1(targets, predicted) == pytest.approx(sk.f1_score(targets, predicted), abs=TOLERANCE)
    assert metrics.f1(np.zeros(5, int), np.zeros(5, int)) == 0


def test_a_constant_prediction_has_no_correlation() -> None:
    targets = np.array([0, 1, 0, 1])
    assert metrics.matthews(targets, np.zeros(4, int)) == 0
    assert metrics.pearson(np.arange(4.0), np.ones(4)) == 0


def test_correlations_and_auroc_equal_scipy_and_scikit_learn_with_ties_to_1e_12() -> None:
    random = np.random.default_rng(1)
    values = random.normal(size=300).round(1)
    noisy = (values + random.normal(size=300)).round(1)
    assert metrics.pearson(values, noisy) == pytest.approx(np.asarray(stats.pearsonr(values, noisy))[0], abs=TOLERANCE)
    assert metrics.spearman(values, noisy) == pytest.approx(
        np.asarray(stats.spearmanr(values, noisy))[0], abs=TOLERANCE
    )
    labels = (values > 0.3).astype(int)
    assert metrics.auroc(labels, noisy) == pytest.approx(sk.roc_auc_score(labels, noisy), abs=TOLERANCE)
    with pytest.raises(ValueError, match="both classes"):
        metrics.auroc(np.ones(3, int), np.arange(3.0))


@pytest.mark.parametrize("levels", [1000, 5], ids=["distinct scores", "many ties"])
def test_average_precision_equals_scikit_learn_to_1e_12(levels: int) -> None:
    random = np.random.default_rng(levels)
    scores = random.integers(0, levels, (40, 60)).astype(float)
    relevant = random.random((40, 60)) < 0.2
    relevant[:, 0] = True
    expected = [sk.average_precision_score(flags, row) for flags, row in zip(relevant, scores, strict=True)]
    np.testing.assert_allclose(metrics.average_precisions(scores, relevant), expected, atol=TOLERANCE)


def test_average_precision_of_a_random_order_is_what_chance_says_to_0_01() -> None:
    random = np.random.default_rng(2)
    scores = random.random((4000, 30))
    for right in (1, 5, 30):
        relevant = np.zeros((4000, 30), bool)
        relevant[:, :right] = True
        measured = metrics.average_precisions(scores, relevant).mean()
        assert metrics.chance_average_precision(30, right) == pytest.approx(measured, abs=0.01)


def test_best_rank_equals_the_place_in_a_full_sort_that_puts_right_answers_behind_their_equals() -> None:
    random = np.random.default_rng(3)
    scores = random.integers(-3, 4, (200, 20)).astype(float)
    relevant = random.random((200, 20)) < 0.15
    relevant[np.arange(200), random.integers(0, 20, 200)] = True
    for row, flags, rank in zip(scores, relevant, metrics.best_ranks(scores, relevant), strict=True):
        order = sorted(range(20), key=lambda item: (-row[item], flags[item]))
        first = next(place for place, item in enumerate(order) if flags[item])
        assert rank == first


def test_recall_at_k_equals_scikit_learn_top_k_accuracy_where_one_answer_is_right() -> None:
    random = np.random.default_rng(4)
    scores, targets = random.random((300, 12)), random.integers(0, 12, 300)
    ranks = metrics.best_ranks(scores, np.eye(12, dtype=bool)[targets])
    for k in (1, 5, 10):
        expected = sk.top_k_accuracy_score(targets, scores, k=k, labels=np.arange(12))
        assert metrics.recall_at(ranks, k) == pytest.approx(expected, abs=TOLERANCE)


def test_ties_and_nan_never_win() -> None:
    def rank(scores: list[float], right: int) -> int:
        return int(metrics.best_ranks(np.array([scores]), np.eye(len(scores), dtype=bool)[[right]])[0])

    assert rank([1, 1, 1, 1], 0) == 3
    assert rank([1, 1 + 1e-15, 0, 0], 0) == 1  # the same score but for the order of a sum
    assert rank([np.nan, 0, 0], 0) == 2
    assert rank([1, np.nan, 0], 0) == 1
    with pytest.raises(ValueError, match="no rank"):
        metrics.best_ranks(np.zeros((1, 3)), np.zeros((1, 3), bool))


def test_chance_recall_is_what_guessing_reaches_to_0_01() -> None:
    random = np.random.default_rng(5)
    relevant = np.zeros((4000, 25), bool)
    relevant[:, :3] = True
    ranks = metrics.best_ranks(random.random((4000, 25)), relevant)
    for k in (1, 5, 10):
        expected = metrics.chance_recall(np.full(10, 25), np.full(10, 3), k)
        assert metrics.recall_at(ranks, k) == pytest.approx(expected, abs=0.02)
    assert metrics.chance_recall(np.array([5, 100]), np.array([1, 1]), 10) == pytest.approx((1 + 0.1) / 2)


@pytest.mark.parametrize(("hits", "count"), [(15, 50), (0, 10), (10, 10), (1, 1402)])
def test_wilson_equals_scipy_to_1e_12(hits: int, count: int) -> None:
    expected = stats.binomtest(hits, count).proportion_ci(method="wilson")
    estimate = wilson(hits / count, count)
    assert (estimate.low, estimate.high) == (
        pytest.approx(expected.low, abs=TOLERANCE),
        pytest.approx(expected.high, abs=TOLERANCE),
    )


def test_the_bootstrap_of_a_mean_equals_scipy_to_a_tenth_of_its_width() -> None:
    values = np.random.default_rng(6).exponential(size=200)
    estimate = of_mean(values)
    reference = stats.bootstrap((values,), np.mean, method="percentile", n_resamples=4000, rng=1).confidence_interval
    width = reference.high - reference.low
    assert abs(estimate.low - reference.low) < width / 10
    assert abs(estimate.high - reference.high) < width / 10
    slow = bootstrap(lambda items: float(values[items].mean()), len(values))
    assert (slow.low, slow.high) == (pytest.approx(estimate.low), pytest.approx(estimate.high))


def test_dependent_items_widen_the_interval_by_the_root_of_their_number() -> None:
    hits = np.repeat(np.random.default_rng(7).random(100) < 0.5, 6)
    groups = np.repeat(np.arange(100), 6).tolist()
    alone, grouped = of_share(hits), of_share(hits, groups)
    ratio = (grouped.high - grouped.low) / (alone.high - alone.low)
    assert ratio == pytest.approx(6**0.5, rel=0.15)


def test_95_percent_of_intervals_hold_the_truth_give_or_take_4_points() -> None:
    random = np.random.default_rng(8)
    covered = [(e := of_share(random.random(120) < 0.3)).low <= 0.3 <= e.high for _ in range(400)]
    assert np.mean(covered) == pytest.approx(0.95, abs=0.04)
