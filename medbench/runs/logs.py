"""Logging of a run: warnings are kept for its end, and everything can go to a file of JSON lines."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timezone
from pathlib import Path

from medbench.errors import RunError

__all__ = ["collect_warnings"]

_LOGGER = "medbench"


class _Collector(logging.Handler):
    """Keeps each different warning once, in the order of its first appearance."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.messages: dict[str, None] = {}

    def emit(self, record: logging.LogRecord) -> None:
        """Keep the message."""
        self.messages[record.getMessage()] = None


class _JsonLines(logging.Formatter):
    """One JSON object a line."""

    def format(self, record: logging.LogRecord) -> str:
        """Write time, level, logger and message; an exception with its trace."""
        entry = {
            "time": datetime.fromtimestamp(record.created, timezone.utc).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            entry["exception"] = self.formatException(record.exc_info)
        return json.dumps(entry, ensure_ascii=False)


@contextmanager
def collect_warnings(log_file: Path | None = None) -> Iterator[dict[str, None]]:
    """Collect the warnings of medbench's loggers, and write all their records to ``log_file``.

    Yields:
        The warnings so far, as the keys of a dictionary that fills up.

    Raises:
        RunError: The log file cannot be written.
    """
    logger = logging.getLogger(_LOGGER)
    collector = _Collector()
    handlers: list[logging.Handler] = [collector]
    if log_file is not None:
        try:
            log_file.parent.mkdir(parents=True, exist_ok=True)
            writer = logging.FileHandler(log_file, encoding="utf-8")
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
