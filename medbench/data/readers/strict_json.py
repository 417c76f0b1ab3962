"""JSON without repeated keys, of which Python would silently keep the last value."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, NamedTuple

from medbench.errors import DataError


class NotJsonError(DataError):
    """A text that is not JSON."""


class _Repeated(NamedTuple):
    """Placeholder for an object with a repeated key, until the record that it is in is known."""

    key: str


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any] | _Repeated:
    seen: set[str] = set()
    for key, _ in pairs:
        folded = key.strip().casefold()
        if folded in seen:
            return _Repeated(key)
        seen.add(folded)
    return dict(pairs)


def parse_json(text: str, where: str) -> Any:
    """Parse JSON; what it returns goes through :func:`refuse_repeated`, whole or record by record.

    Raises:
        NotJsonError: If the text is not JSON.
        DataError: If it has a key twice at its top.
    """
    try:
        found = json.loads(text, object_pairs_hook=_object)
    # Besides wrong syntax: numbers of thousands of digits, and endless nesting.
    except (ValueError, RecursionError) as error:
        raise NotJsonError(
            f"not JSON: {error}", where=where, hint="correct the file, or fetch it again"
        ) from error
    if isinstance(found, _Repeated):
        refuse_repeated(found, where)
    return found


def refuse_repeated(value: Any, where: str) -> None:
    """Refuse a value in which an object repeats a key, ignoring case.

    Raises:
        DataError: If there is one.
    """
    waiting = [value]
    while waiting:
        current = waiting.pop()
        if isinstance(current, _Repeated):
            raise DataError(
                f"the key {current.key!r} is written twice",
                where=where,
                hint="keep one of them; only the last one would count",
            )
        if isinstance(current, Mapping):
            waiting += current.values()
        elif isinstance(current, list):
            waiting += current
