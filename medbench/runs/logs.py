"""Logging of a run: warnings are kept for its end, and everything can go to a file of JSON lines."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from medbench.errors import RunError
from medbench.runs.privacy import scrub
from medbench.workers.notices import COUNTED, WarningHandler

_LOGGER = "medbench"
_GAP = ": {count} "


class RunWarnings:
    """What deserves a second look in a run: each warning once, in the order of its first appearance.

    What an attempt says is true of that attempt, and comes up again in the next if it is still true. Warnings
    about answers last, because stored answers are not asked again; so do those logged with
    ``extra={"lasting": True}``. Counts of requests are added up within an attempt.

    Args:
        lasting: What lasts of earlier attempts, as :attr:`lasting` gave it.
        by_workers: Whether workers answer: they count the requests that they answered, this process all that
            had no answer when it began.
    """

    def __init__(
        self, lasting: Mapping[str, Mapping[str, Any]] | None = None, *, by_workers: bool = False
    ) -> None:
        self._earlier = dict(lasting or {})
        self._by_workers = by_workers
        self._now: dict[str, int | None] = {}  # text, with a gap for the count if it has one
        self._new_lasting: set[str] = set()

    def __iter__(self) -> Iterator[str]:
        for text in dict.fromkeys([*self._earlier, *self._now]):
            count = self._count(text)
            yield text if count is None else text.replace(_GAP, f": {count} ", 1)

    @property
    def lasting(self) -> dict[str, dict[str, Any]]:
        """Warnings that outlive the attempt: the count, if one belongs to them, and whether it is of all."""
        found = {text: dict(entry) for text, entry in self._earlier.items()}
        for text in self._now:
            if text in self._new_lasting:
                of_all = not self._by_workers or self._earlier.get(text, {}).get("of_all", False)
                found[text] = {"count": self._count(text), "of_all": of_all}
        return found

    def add(self, record: logging.LogRecord) -> bool:
        """Take in a record; tell whether that changed anything."""
        text = record.getMessage()
        if record.name.startswith("medbench.models.") and str(record.msg).startswith(COUNTED):
            task, count = record.args[:2] if isinstance(record.args, tuple) else ("", 0)
            text = text.replace(f"{task}: {count} ", f"{task}{_GAP}", 1)
            self._now[text] = (self._now.get(text) or 0) + int(str(count))
            self._new_lasting.add(text)
            return True
        known = text in self._now
        self._now[text] = None
        if getattr(record, "lasting", False):
            self._new_lasting.add(text)
        return not known

    def _count(self, text: str) -> int | None:
        earlier, now = self._earlier.get(text, {}), self._now.get(text)
        before = earlier.get("count")
        if before is None or now is None:
            return now if before is None else int(before)
        return max(int(before), now) if earlier.get("of_all") else int(before) + now


class _JsonLines(logging.Formatter):
    """One JSON object a line."""

    def format(self, record: logging.LogRecord) -> str:
        """Write time, level, logger and message; an exception with its trace."""
        entry = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": scrub(record.getMessage()),
        }
        if record.exc_info:
            entry["exception"] = scrub(self.formatException(record.exc_info))
        return json.dumps(entry, ensure_ascii=False)


class _LogFile(logging.FileHandler):
    """A log file that gives up, and says so once, when it can no longer be written."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, encoding="utf-8", errors="backslashreplace")
        self._broken = False

    def emit(self, record: logging.LogRecord) -> None:
        """Write the record, unless writing failed before."""
        if not self._broken:
            super().emit(record)

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - logging's own name
        """A full disk must not fill the console with traces; the run itself will meet it soon enough."""
        del record
        self._broken = True
        logging.getLogger(_LOGGER).warning("the log file can no longer be written: %s", self.baseFilename)

    def close(self) -> None:
        """Close the file; what a full disk kept from being written stays unwritten."""
        try:
            super().close()
        except OSError:
            self._broken = True


@contextmanager
def collect_warnings(
    log_file: Path | None = None,
    *,
    warnings: RunWarnings | None = None,
    on_new: Callable[[], None] | None = None,
) -> Iterator[RunWarnings]:
    """Collect the warnings of medbench's loggers, and write all their records to ``log_file``.

    Args:
        log_file: Where to append JSON lines; ``None`` for nowhere.
        warnings: What they are added to.
        on_new: Called when there is a new one.

    Yields:
        The warnings so far.

    Raises:
        RunError: The log file cannot be written.
    """
    logger = logging.getLogger(_LOGGER)
    found = RunWarnings() if warnings is None else warnings

    def take(record: logging.LogRecord) -> None:
        if found.add(record) and on_new is not None:
            on_new()

    handlers: list[logging.Handler] = [WarningHandler(take)]
    if log_file is not None:
        try:
            log_file.parent.mkdir(parents=True, exist_ok=True)
            writer = _LogFile(log_file)
        except OSError as error:
            raise RunError(
                f"cannot write the log file: {error.strerror or error}",
                where=str(log_file),
                hint="choose another place with --log-file",
            ) from error
        writer.setFormatter(_JsonLines())
        handlers.append(writer)
    level, propagate = logger.level, logger.propagate
    logger.setLevel(logging.INFO)
    logger.propagate = False  # they are shown at the end instead of through the progress bar
    for handler in handlers:
        logger.addHandler(handler)
    try:
        yield found
    finally:
        for handler in handlers:
            logger.removeHandler(handler)
            handler.close()
        logger.setLevel(level)
        logger.propagate = propagate
