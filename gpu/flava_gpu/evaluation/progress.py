"""Progress of an evaluation on standard error: a bar for a person, a line now and then for a log, nothing for what is quick."""

from __future__ import annotations

import sys
from typing import Any

from tqdm import tqdm

LOG_SECONDS = 10.0


def bar(total: int, label: str, unit: str, silent_below: int = 1000) -> tqdm[Any]:
    """`silent_below` this many units the work takes less than five seconds."""
    interval = 0.1 if sys.stderr.isatty() else LOG_SECONDS
    return tqdm(total=total, desc=label, unit=unit, mininterval=interval, disable=total < silent_below)
