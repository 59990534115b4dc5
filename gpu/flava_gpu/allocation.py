"""Shares a byte budget out over tensors: which scheme for which, so that the summed damage is least.

Pure: options in, choices out. Where the damages come from is damage.py's business.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise

from flava_gpu.schemes import LinearScheme


@dataclass(frozen=True)
class Option:
    scheme: LinearScheme
    size_bytes: int
    damage: float


Options = Mapping[str, list[Option]]


class BudgetTooSmallError(ValueError):
    """Not even the smallest schemes fit."""


def allocate(options: Options, budget_bytes: int) -> dict[str, LinearScheme]:
    """Start with the smallest option of each tensor, then buy the best damage reduction per byte while bytes are left.

    Steps go along each tensor's lower convex hull, so this is the Lagrangian optimum up to the last step that no longer
    fits. Raises BudgetTooSmallError.
    """
    hulls = {name: convex_hull(choices) for name, choices in options.items()}
    chosen = dict.fromkeys(hulls, 0)
    spent = sum(hull[0].size_bytes for hull in hulls.values())
    if spent > budget_bytes:
        raise BudgetTooSmallError(f"budget of {budget_bytes} bytes: the smallest schemes take {spent}")
    steps = [
        (_gain(before, after), name, index + 1)
        for name, hull in hulls.items()
        for index, (before, after) in enumerate(pairwise(hull))
    ]
    # Gains fall along a hull, so that a tensor's steps come in their order; names settle ties alike everywhere.
    for _, name, index in sorted(steps, key=lambda step: (-step[0], step[1], step[2])):
        hull = hulls[name]
        extra = hull[index].size_bytes - hull[chosen[name]].size_bytes
        if chosen[name] == index - 1 and spent + extra <= budget_bytes:
            chosen[name] = index
            spent += extra
    return {name: hulls[name][index].scheme for name, index in chosen.items()}


def convex_hull(choices: list[Option]) -> list[Option]:
    """The options worth having at some price per byte: growing in size, falling in damage, ever slower."""
    hull: list[Option] = []
    for option in sorted(choices, key=lambda choice: (choice.size_bytes, choice.damage)):
        if hull and option.damage >= hull[-1].damage:
            continue
        while len(hull) > 1 and _gain(hull[-2], hull[-1]) <= _gain(hull[-1], option):
            hull.pop()
        hull.append(option)
    return hull


def total_damage(options: Options, chosen: Mapping[str, LinearScheme]) -> float:
    return sum(
        option.damage for name, choices in options.items() for option in choices if option.scheme == chosen[name]
    )


def _gain(before: Option, after: Option) -> float:
    """Damage saved per byte. Distinct options of a hull differ in size."""
    return (before.damage - after.damage) / (after.size_bytes - before.size_bytes)
