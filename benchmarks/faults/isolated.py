"""Trying many faults in one process that may hang, crash or eat memory without taking the others along."""

from __future__ import annotations

import json
import multiprocessing
import resource
import signal
import time
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from types import FrameType
from typing import Any, NamedTuple

__all__ = ["Outcome", "try_all"]

_MEMORY = 12 * 2**30  # bytes of address space; torch alone takes several
_SECONDS = 60


class Outcome(NamedTuple):
    """What came of one fault.

    Attributes:
        fault: What was done.
        kind: ``refused`` (a clear error), ``harmless`` (a correct result), ``unnoticed`` (a result for what
            the file now says, where nothing could tell), or a failure: ``traceback``, ``hang``, ``crash``,
            ``code ran``.
        message: The error, if any.
    """

    fault: str
    kind: str
    message: str

    @property
    def survived(self) -> bool:
        """Whether it ended with a clear error or a result."""
        return self.kind in ("refused", "harmless", "unnoticed")


def try_all(attempt: Callable[[int], tuple[str, str, str]], count: int, log: Path) -> list[Outcome]:
    """Try ``count`` faults.

    Args:
        attempt: Plants fault number *n* and tries what a person would do; returns the fields of an outcome.
            It is pickled by name, so it belongs at the top level of a module.
        count: How many.
        log: File that the outcomes go through.
    """
    log.write_text("", encoding="utf-8")
    outcomes: list[Outcome] = []
    context = multiprocessing.get_context("forkserver")
    while len(outcomes) < count:
        process: Any = context.Process(target=_work, args=(attempt, range(len(outcomes), count), str(log)))
        process.start()
        process.join()
        lines = log.read_text(encoding="utf-8").splitlines()
        outcomes = [Outcome(*json.loads(line)) for line in lines]
        if len(outcomes) < count:  # the process died at the next one
            died = Outcome(f"number {len(outcomes)}", "crash", f"exit status {process.exitcode}")
            outcomes.append(died)
            with log.open("a", encoding="utf-8") as file:
                file.write(json.dumps(died) + "\n")
    return outcomes


def _work(attempt: Callable[[int], tuple[str, str, str]], numbers: Sequence[int], log: str) -> None:
    import torch

    torch.set_num_threads(1)
    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY, _MEMORY))
    signal.signal(signal.SIGALRM, _alarm)
    with Path(log).open("a", encoding="utf-8") as file:
        for number in numbers:
            started = time.monotonic()
            signal.alarm(_SECONDS)
            try:
                outcome = attempt(number)
            except _HangError:
                outcome = (f"number {number}", "hang", f"{time.monotonic() - started:.0f} s")
            except Exception:  # noqa: BLE001 - whatever escapes is what is looked for
                outcome = (f"number {number}", "traceback", traceback.format_exc()[-2000:])
            finally:
                signal.alarm(0)
            file.write(json.dumps(outcome) + "\n")
            file.flush()


class _HangError(BaseException):
    """Not an exception that a handler of ordinary ones could swallow."""


def _alarm(number: int, frame: FrameType | None) -> None:
    raise _HangError
