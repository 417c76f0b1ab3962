"""What a person sees while a run is at work."""

from __future__ import annotations

import time
from collections import deque
from types import TracebackType
from typing import Protocol

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from medbench.common.terminal import printable

_WINDOW = 30.0  # seconds that a pace looks back


class ProgressListener(Protocol):
    """Hears how far a run has come."""

    def begin(self, documents: int) -> None:
        """The run starts; it has this many documents over all tasks."""

    def stage(self, name: str, documents: int, answered: int = 0) -> None:
        """A part of the work starts; it covers so many documents, of which so many were answered before."""

    def advance(self, fraction: float, tokens: int = 0) -> None:
        """This share (0 to 1) of the stage's requests has been answered; so many tokens were run for that."""

    def message(self, text: str) -> None:
        """Something worth saying happened."""

    def end(self) -> None:
        """The run is over, well or not."""


class SilentProgress:
    """Says nothing."""

    def begin(self, documents: int) -> None:
        """Ignore the start."""

    def stage(self, name: str, documents: int, answered: int = 0) -> None:
        """Ignore the stage."""

    def advance(self, fraction: float, tokens: int = 0) -> None:
        """Ignore the advance."""

    def message(self, text: str) -> None:
        """Ignore the message."""

    def end(self) -> None:
        """Ignore the end."""


class _Pace:
    """How many a second, over the last half minute."""

    def __init__(self) -> None:
        self._seen: deque[tuple[float, int]] = deque()

    def add(self, count: int) -> None:
        """So many more, now."""
        self._seen.append((time.monotonic(), count))
        while self._seen[-1][0] - self._seen[0][0] > _WINDOW:
            self._seen.popleft()

    def __str__(self) -> str:
        (started, before), *_ = self._seen
        span = self._seen[-1][0] - started
        # What came with the first entry was counted before it.
        return f"{(sum(count for _, count in self._seen) - before) / span:,.0f}" if span > 0 else ""


class _PaceColumn(ProgressColumn):
    """Documents and tokens per second."""

    def render(self, task: Task) -> Text:
        """The pace, once there is one."""
        pace = task.finished_speed or task.speed
        parts = []
        if pace:
            parts.append(f"{pace:.1f} documents/s" if pace < 100 else f"{pace:.0f} documents/s")
        if task.fields["tokens"]:
            parts.append(f"{task.fields['tokens']} tokens/s")
        return Text(", ".join(parts))


class ConsoleProgress:
    """One bar over all documents, with the stage at hand, the time left and the pace.

    Where there is no terminal to redraw, a line per stage instead.
    """

    def __init__(self, console: Console) -> None:
        self._console = console
        self._progress = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=28),
            MofNCompleteColumn(),
            TextColumn("documents"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            _PaceColumn(),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )
        self._bar = self._progress.add_task("starting", total=None, tokens="")
        self._pace = _Pace()
        self._done = 0
        self._documents = 0

    def begin(self, documents: int) -> None:
        """Show the bar."""
        self._progress.update(self._bar, total=documents)
        self._pace.add(0)
        self._progress.start()

    def stage(self, name: str, documents: int, answered: int = 0) -> None:
        """Name the stage at hand."""
        self._done += self._documents
        self._documents = documents
        self._progress.update(self._bar, description=f"{name:<22.22}", completed=self._done)
        if not self._console.is_terminal:
            before = f", {answered} of them answered in an earlier attempt" if answered else ""
            self.message(f"{name}: {documents} documents{before}" if documents else name)

    def advance(self, fraction: float, tokens: int = 0) -> None:
        """Move the bar within the stage."""
        self._pace.add(tokens)
        completed = round(self._done + fraction * self._documents)
        self._progress.update(self._bar, completed=completed, tokens=str(self._pace))

    def message(self, text: str) -> None:
        """Print above the bar."""
        self._console.print(printable(text), markup=False, highlight=False)

    def end(self) -> None:
        """Take the bar away."""
        self._progress.stop()

    def __enter__(self) -> ConsoleProgress:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.end()
