"""Batches of texts of like length: nearly no padding, and every text as likely as any other."""

from __future__ import annotations

import random
from collections import Counter

import pytest

from flava_gpu.length_buckets import LengthBuckets


def test_a_batch_has_texts_of_like_length_without_repetition() -> None:
    texts = ["a" * length for length in range(1, 161)]
    buckets = LengthBuckets(texts, batch_size=5)
    rng = random.Random(0)
    for _ in range(50):
        batch = buckets.draw(rng)
        assert len(set(batch)) == 5
        assert max(map(len, batch)) - min(map(len, batch)) < 10  # 16 buckets of 10 lengths


@pytest.mark.parametrize("count", [16, 50, 100, 161])
def test_every_text_is_as_likely_as_any_other(count: int) -> None:
    texts = [f"{number:0{1 + number % 40}}" for number in range(count)]
    buckets = LengthBuckets(texts, batch_size=8)
    rng = random.Random(1)
    draws = 4000
    seen = Counter(text for _ in range(draws) for text in buckets.draw(rng))
    expected = draws * 8 / count
    assert seen.keys() == set(texts)
    # Draws of a text are independent between batches: five binomial standard deviations.
    assert all(abs(seen[text] - expected) < 5 * expected**0.5 for text in texts)


def test_the_same_generator_draws_the_same_batch_whatever_order_the_texts_came_in() -> None:
    texts = [f"{number} {'word ' * (number % 7)}" for number in range(200)]
    shuffled = random.Random(2).sample(texts, len(texts))
    assert LengthBuckets(texts, 8).draw(random.Random(3)) == LengthBuckets(shuffled, 8).draw(random.Random(3))
