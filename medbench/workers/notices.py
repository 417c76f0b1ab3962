"""Warnings logged by workers, sent to the driver and shown once."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

_ROOT = "medbench"
COUNTED = "%s: %d "  # prefix of warnings that count requests of a task


@dataclass(frozen=True)
class Notice:
    """A warning that a worker logged.

    Attributes:
        logger: The logger's name.
        template: The message without its arguments.
        arguments: The arguments of the message.
    """

    logger: str
    template: str
    arguments: tuple[Any, ...]


class Warnings:
    """The warnings of all workers; counts of requests of a task are added up."""

    def __init__(self) -> None:
        self._counts: Counter[Notice] = Counter()

    def add(self, notices: Iterable[Notice]) -> None:
        """Add the warnings of a batch."""
        for notice in notices:
            if notice.template.startswith(COUNTED):
                task, count, *others = notice.arguments
                self._counts[Notice(notice.logger, notice.template, (task, *others))] += count
            else:
                self._counts[notice] = 0

    def log(self) -> None:
        """Log them as a single process would."""
        for notice, count in self._counts.items():
            task, *others = notice.arguments or (None,)
            arguments = (task, count, *others) if count else notice.arguments
            logging.getLogger(notice.logger).warning(notice.template, *arguments)


class WarningHandler(logging.Handler):
    """Passes warnings to a function.

    Args:
        take: Called with each record.
    """

    def __init__(self, take: Callable[[logging.LogRecord], None]) -> None:
        super().__init__(logging.WARNING)
        self._take = take

    def emit(self, record: logging.LogRecord) -> None:
        """Pass on a record."""
        self._take(record)


def _notice(record: logging.LogRecord) -> Notice:
    arguments = record.args if isinstance(record.args, tuple) else (record.args,) if record.args else ()
    plain = tuple(value if isinstance(value, (str, int, float)) else str(value) for value in arguments)
    return Notice(record.name, str(record.msg), plain)


@contextmanager
def collected(notices: list[Notice]) -> Iterator[None]:
    """Append the warnings of medbench's loggers to ``notices`` instead of showing them."""

    def take(record: logging.LogRecord) -> None:
        notices.append(_notice(record))

    logger = logging.getLogger(_ROOT)
    handlers, propagate = logger.handlers, logger.propagate
    logger.handlers, logger.propagate = [WarningHandler(take)], False
    try:
        yield
    finally:
        logger.handlers, logger.propagate = handlers, propagate
