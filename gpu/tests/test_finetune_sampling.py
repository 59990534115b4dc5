"""Batches are a function of the seed and the step."""

from __future__ import annotations

from flava_gpu.finetune.plan import make_plan
from flava_gpu.sampling import BatchOrder


def test_an_epoch_shows_every_row_once_and_another_epoch_in_another_order() -> None:
    order = BatchOrder(20, 5, seed=1, name="rows")
    epochs = [[row for step in range(start, start + 4) for row in order.batch(step)] for start in (0, 4)]
    assert all(sorted(epoch) == list(range(20)) for epoch in epochs)
    assert epochs[0] != epochs[1]


def test_a_batch_does_not_depend_on_the_batches_before_it() -> None:
    keys = [frozenset({row % 9}) for row in range(40)]
    one, other = (BatchOrder(40, 6, seed=7, name="rows", keys=keys) for _ in range(2))
    forward = [one.batch(step) for step in range(18)]
    assert [other.batch(step) for step in reversed(range(18))] == forward[::-1]
    assert BatchOrder(40, 6, seed=8, name="rows").batch(0) != BatchOrder(40, 6, seed=7, name="rows").batch(0)


def test_no_batch_repeats_a_caption_until_an_epoch_has_little_else_left() -> None:
    keys = [frozenset({f"caption {row % 16}", row}) for row in range(64)]
    order = BatchOrder(64, 8, seed=0, name="rows", keys=keys)
    for step in range(40):
        if step % 8 < 6:
            assert len({row % 16 for row in order.batch(step)}) == 8
    alike = BatchOrder(64, 8, seed=0, name="rows", keys=[frozenset({"same"})] * 64)
    assert sorted(row for step in range(8) for row in alike.batch(step)) == list(range(64))


def test_a_batch_is_cut_to_the_rows_and_to_whole_shares_for_each_device() -> None:
    plan, notes = make_plan("supervised", {"batch_size": 64, "n_epochs": 2}, rows=30, hidden_size=192, ranks=4)
    assert (plan.batch_size, plan.steps) == (28, 2)
    assert len(notes) == 2


def test_the_rate_warms_up_to_its_peak_and_ends_at_zero() -> None:
    plan, _ = make_plan("contrastive", {"n_epochs": 10, "batch_size": 10}, rows=100, hidden_size=768, ranks=1)
    shares = [plan.rate_share(step) for step in range(plan.steps)]
    assert shares[0] == 1 / 6
    assert max(shares) == shares[plan.warmup_steps] == 1.0
    assert shares[-1] < 1e-2
