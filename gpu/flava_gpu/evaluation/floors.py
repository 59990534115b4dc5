"""What a task's score has to be held against: what is reached without the model, under the model's own protocol.

Strengths are chosen on the validation split and the final fit is on training and validation items, as for probes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from scipy import sparse
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression, RidgeClassifier

from flava_gpu.evaluation.metrics import Ids, Metric, accuracy
from flava_gpu.evaluation.pixels import class_scores, pixel_features
from flava_gpu.evaluation.scores import Floor
from flava_gpu.evaluation.tasks import INPUTS, Examples, Splits, Task

RIDGE_STRENGTHS = (0.1, 1.0, 10.0, 100.0, 1000.0)
BAG_STRENGTHS = (0.1, 1.0, 10.0, 100.0)
"""C of the logistic regression on TF-IDF."""
TERMS = 20_000
"""The most frequent ones: L-BFGS keeps twenty copies of a class's weights."""
CHARACTERS = 2000
"""Of a text that the bag of words reads; mails may be books."""


def task_floors(task: Task, folds: Sequence[Splits]) -> tuple[Floor, ...]:
    """Chance, the most frequent class, and what pictures and words alone give without a model."""
    has_texts, has_images = INPUTS[task.representation]
    targets = np.concatenate([fold.test.targets for fold in folds])

    def scored(predict: Callable[[Splits], Ids]) -> float:
        return task.metric(targets, np.concatenate([predict(fold) for fold in folds]))

    floors = [Floor("chance", chance(task.metric, targets, len(task.labels))), Floor("majority", scored(majority))]
    if has_images:
        pixels = [_Pixels(fold) for fold in folds]
        floors.append(Floor("pixel nn", task.metric(targets, np.concatenate([one.nearest() for one in pixels]))))
        floors.append(Floor("pixel ridge", task.metric(targets, np.concatenate([one.ridge() for one in pixels]))))
    if has_texts:
        floors.append(Floor("bag of words", scored(lambda fold: bag_of_words(fold, task.words))))
    return tuple(floors)


def chance(metric: Metric, targets: Ids, classes: int) -> float:
    """Guessing each class alike."""
    if metric is accuracy:
        return 1 / classes
    random = np.random.default_rng(0)
    return float(np.mean([metric(targets, random.integers(0, classes, len(targets))) for _ in range(200)]))


def majority(splits: Splits) -> Ids:
    most = np.bincount(splits.train.targets).argmax()
    return np.full(len(splits.test), most, dtype=np.int64)


def bag_of_words(splits: Splits, words: str = "word") -> Ids:
    """TF-IDF of words and pairs of words (or of pieces of words), then logistic regression."""
    texts = [_texts(part) for part in (splits.train, splits.validation, splits.test)]
    span = (1, 2) if words == "word" else (2, 4)
    vectorizer = TfidfVectorizer(analyzer=words, ngram_range=span, sublinear_tf=True, max_features=TERMS)
    train = vectorizer.fit_transform(texts[0])
    validation, test = vectorizer.transform(texts[1]), vectorizer.transform(texts[2])
    return _best(
        [LogisticRegression(C=strength, max_iter=300) for strength in BAG_STRENGTHS], splits, train, validation, test
    )


class _Pixels:
    """Of pictures cut to what is drawn: styles differ in their margins, and a floor that margins lower says little."""

    def __init__(self, splits: Splits) -> None:
        self.splits = splits
        self.features = [
            pixel_features(_images(part), "trimmed") for part in (splits.train, splits.validation, splits.test)
        ]

    def nearest(self) -> Ids:
        """The class of the most similar training or validation picture."""
        train, validation, test = self.features
        targets = _both(self.splits)
        scores = class_scores(test, np.concatenate([train, validation]), targets, int(targets.max()) + 1)
        return scores.argmax(axis=1)

    def ridge(self) -> Ids:
        return _best([RidgeClassifier(alpha=strength) for strength in RIDGE_STRENGTHS], self.splits, *self.features)


def _best(classifiers: Sequence[Any], splits: Splits, train: Any, validation: Any, test: Any) -> Ids:
    """The test predictions of the one that validation likes best, fitted on training and validation items."""

    def score(classifier: Any) -> float:
        return accuracy(splits.validation.targets, classifier.fit(train, splits.train.targets).predict(validation))

    best = max(classifiers, key=score)
    return best.fit(_stack(train, validation), _both(splits)).predict(test)


def _stack(first: Any, second: Any) -> Any:
    return np.concatenate([first, second]) if isinstance(first, np.ndarray) else sparse.vstack([first, second])


def _both(splits: Splits) -> Ids:
    return np.concatenate([splits.train.targets, splits.validation.targets])


def _texts(examples: Examples) -> list[str]:
    assert examples.texts is not None
    return [text[:CHARACTERS] for text in examples.texts]


def _images(examples: Examples) -> Sequence[Any]:
    assert examples.images is not None
    return examples.images
