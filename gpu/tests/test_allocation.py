"""Sharing bytes out over tensors: budgets met, best purchases first."""

from __future__ import annotations

from itertools import product

import pytest

from flava_gpu.allocation import BudgetTooSmallError, Option, allocate, convex_hull, total_damage

OPTIONS = {
    "a": [Option("w4g64", 40, 10.0), Option("w5g64", 50, 4.0), Option("w6g64", 60, 1.0)],
    "b": [Option("w4g64", 80, 2.0), Option("w5g64", 100, 1.0), Option("w6g64", 120, 0.5)],
}


def test_bytes_go_where_they_save_most() -> None:
    assert allocate(OPTIONS, 130) == {"a": "w5g64", "b": "w4g64"}
    assert allocate(OPTIONS, 140) == {"a": "w6g64", "b": "w4g64"}
    assert allocate(OPTIONS, 1000) == {"a": "w6g64", "b": "w6g64"}


def test_no_better_choice_exists_at_budgets_that_a_hull_step_meets_exactly() -> None:
    for budget in (120, 130, 140, 160, 180):
        chosen = allocate(OPTIONS, budget)
        best = min(
            first.damage + second.damage
            for first, second in product(OPTIONS["a"], OPTIONS["b"])
            if first.size_bytes + second.size_bytes <= budget
        )
        assert total_damage(OPTIONS, chosen) == best


def test_a_step_that_no_longer_fits_leaves_room_for_smaller_ones() -> None:
    options = {
        "a": [Option("w4g64", 10, 9.0), Option("w6g64", 40, 0.0)],
        "b": [Option("w4g64", 10, 1.0), Option("w6g64", 20, 0.5)],
    }
    assert allocate(options, 35) == {"a": "w4g64", "b": "w6g64"}


def test_a_budget_below_the_smallest_schemes_is_refused() -> None:
    with pytest.raises(BudgetTooSmallError, match="budget of 119 bytes: the smallest schemes take 120"):
        allocate(OPTIONS, 119)


def test_options_that_cost_more_for_nothing_are_left_out() -> None:
    worse = Option("w4g32", 45, 10.5)
    dominated = Option("w5g64", 59, 9.9)
    assert [option.scheme for option in convex_hull([*OPTIONS["a"][::2], worse, dominated])] == ["w4g64", "w6g64"]
