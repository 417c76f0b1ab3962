"""Stopping between batches: the first Ctrl-C lets the batch end and be stored, the second does not wait."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from types import FrameType
from typing import Any

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class GracefulStop:
    """While active, turns the first SIGINT or SIGTERM into a request that :meth:`check` honors.

    Signals can only be handled in the main thread; elsewhere nothing changes.

    Args:
        notify: Told once when a stop is asked for.
    """

    def __init__(self, notify: Callable[[str], None]) -> None:
        self._notify = notify
        self._asked = False
        self._earlier: dict[signal.Signals, Any] = {}

    def check(self) -> None:
        """Stop here if a stop was asked for.

        Raises:
            KeyboardInterrupt: It was.
        """
        if self._asked:
            raise KeyboardInterrupt

    def __enter__(self) -> GracefulStop:
        if threading.current_thread() is threading.main_thread():
            self._earlier = {number: signal.signal(number, self._handle) for number in _SIGNALS}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._earlier.items():
            signal.signal(number, handler)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self._asked:
            raise KeyboardInterrupt
        self._asked = True
        self._notify("stopping after this batch; once more to stop at once")
