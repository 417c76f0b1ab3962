"""Logging of a run: warnings are kept for its end, and everything can go to a file of JSON lines."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from medbench.errors import RunError
from medbench.runs.privacy import scrub

__all__ = ["collect_warnings"]

_LOGGER = "medbench"


class _Collector(logging.Handler):
    """Keeps each different warning once, in the order of its first appearance."""

    def __init__(self, earlier: Iterable[str], on_new: Callable[[], None] | None) -> None:
        super().__init__(logging.WARNING)
        self.messages: dict[str, None] = dict.fromkeys(earlier)
        self._on_new = on_new

    def emit(self, record: logging.LogRecord) -> None:
        """Keep the message."""
        message = record.getMessage()
        if message not in self.messages:
            self.messages[message] = None
            if self._on_new is not None:
                self._on_new()


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
    earlier: Iterable[str] = (),
    on_new: Callable[[dict[str, None]], None] | None = None,
) -> Iterator[dict[str, None]]:
    """Collect the warnings of medbench's loggers, and write all their records to ``log_file``.

    Args:
        log_file: Where to append JSON lines; ``None`` for nowhere.
        earlier: Warnings of an earlier attempt, kept as if they had come up again.
        on_new: Told of all warnings when there is a new one.

    Yields:
        The warnings so far, as the keys of a dictionary that fills up.

    Raises:
        RunError: The log file cannot be written.
    """
    logger = logging.getLogger(_LOGGER)
    collector = _Collector(earlier, None if on_new is None else lambda: on_new(collector.messages))
    handlers: list[logging.Handler] = [collector]
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
        yield collector.messages
    finally:
        for handler in handlers:
            logger.removeHandler(handler)
            handler.close()
        logger.setLevel(level)
        logger.propagate = propagate
