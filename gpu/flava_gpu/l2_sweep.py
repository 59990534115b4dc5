"""The choice of a linear probe's l2 strength, as CLIP's protocol has it and FLAVA's paper follows: a coarse grid over 1e-6 to
1e6, then halved steps around the best down to eight a decade. Knows nothing of how a strength is scored.
"""

from __future__ import annotations

from collections.abc import Callable

COARSE_EXPONENTS = (-6.0, -4.0, -2.0, 0.0, 2.0, 4.0, 6.0)
FINEST_STEP = 1 / 8
MAX_ITERATIONS = 1000
"""Of L-BFGS, for each strength."""
FITS = len(COARSE_EXPONENTS) + 8
"""Two more for each of the steps 1, 1/2, 1/4 and 1/8, or one where the best stays at the grid's end."""


def sweep_l2(score: Callable[[float], tuple[float, ...]]) -> float:
    """The strength whose `score` on held-out items is best; `score` is asked once for each."""
    scores: dict[float, tuple[float, ...]] = {}

    def known(exponent: float) -> tuple[float, ...]:
        if exponent not in scores:
            scores[exponent] = score(10.0**exponent)
        return scores[exponent]

    best = max(COARSE_EXPONENTS, key=known)
    step = (COARSE_EXPONENTS[1] - COARSE_EXPONENTS[0]) / 2
    while step >= FINEST_STEP:
        best = max((best, max(best - step, COARSE_EXPONENTS[0]), min(best + step, COARSE_EXPONENTS[-1])), key=known)
        step /= 2
    return 10.0**best
