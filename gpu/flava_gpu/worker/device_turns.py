"""Whose turn it is on the device: one chunk at a time, and whoever has somebody waiting goes first. Imports no torch."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager


class DeviceTurns:
    """Two lanes share one device. A chunk of a batch takes tens of milliseconds, and that is all an interactive job waits."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._is_busy = False
        self._urgent = 0

    @contextmanager
    def take(self, *, is_urgent: bool) -> Iterator[None]:
        with self._changed:
            self._urgent += is_urgent
            while self._is_busy or (self._urgent > 0 and not is_urgent):
                self._changed.wait()
            self._urgent -= is_urgent
            self._is_busy = True
        try:
            yield
        finally:
            with self._changed:
                self._is_busy = False
                self._changed.notify_all()
