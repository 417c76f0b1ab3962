"""Mappings that people write: each key is known, and each value is of its kind, or the line is named.

A key that nobody reads is a wish that nobody grants; it is refused like a value that cannot be.
"""

from __future__ import annotations

import reprlib
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

from medbench.common.suggest import suggestion
from medbench.errors import MedbenchError

__all__ = [
    "ANY",
    "COUNT",
    "FLAG",
    "MAPPING",
    "NUMBER",
    "TEXT",
    "Kind",
    "check_mapping",
    "choice",
    "either",
    "list_of",
]


_SHOWN = 60


class Kind(NamedTuple):
    """What a value may be.

    Attributes:
        expected: In words.
        accepts: Whether a value is one.
        hint: What to do about one that is not.
        choices: The words it may be, where it must be one of a few.
    """

    expected: str
    accepts: Callable[[Any], bool]
    hint: str | None = None
    choices: tuple[str, ...] = ()


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


ANY = Kind("anything", lambda _: True)
TEXT = Kind("text", lambda value: isinstance(value, str), "put it into quotes")
FLAG = Kind("true or false", lambda value: isinstance(value, bool), "write true or false, without quotes")
COUNT = Kind(
    "a positive whole number",
    lambda value: isinstance(value, int) and not isinstance(value, bool) and value >= 1,
)
NUMBER = Kind("a number", _is_number)
MAPPING = Kind("keys with values", lambda value: isinstance(value, Mapping), "indent them below it")


def choice(*known: str) -> Kind:
    """One of a few words."""
    words = ", ".join(known)
    return Kind(f"one of {words}", lambda value: isinstance(value, str) and value in known, choices=known)


def either(*kinds: Kind) -> Kind:
    """A value of any of these kinds."""
    return Kind(
        " or ".join(kind.expected for kind in kinds), lambda value: any(kind.accepts(value) for kind in kinds)
    )


def list_of(kind: Kind) -> Kind:
    """A list of values of a kind."""
    return Kind(
        f"a list, each {kind.expected}",
        lambda value: isinstance(value, list) and all(map(kind.accepts, value)),
    )


def check_mapping(
    value: Any,
    kinds: Mapping[str, Kind],
    *,
    where: Callable[[str | None], str],
    error: type[MedbenchError],
    required: Iterable[str] = (),
    name: str = "",
) -> Mapping[str, Any]:
    """Check a mapping that a person wrote.

    Args:
        value: The mapping. A value of None counts as not given.
        kinds: What each key may hold.
        where: Names the place of a key, or of the mapping itself for None.
        error: What is raised.
        required: Keys that it must have.
        name: Its own name, for messages; empty at the top of a file.

    Returns:
        The mapping.

    Raises:
        MedbenchError: A key is unknown or missing, or a value of another kind.
    """
    if not isinstance(value, Mapping):
        what = f"{name!r} is {_shown(value)}" if name else f"found {_shown(value)}"
        raise error(f"{what}, expected keys with values", where=where(None), hint=_indented(name))
    under = f" under {name!r}" if name else ""
    for key, given in value.items():
        kind = kinds.get(key) if isinstance(key, str) else None
        if kind is None:
            raise error(f"unknown key {key!r}{under}", where=where(str(key)), hint=suggestion(key, kinds))
        if given is not None and not kind.accepts(given):
            raise error(
                f"{key!r}{under} is {_shown(given)}, expected {kind.expected}",
                where=where(key),
                hint=kind.hint,
            )
    for key in required:
        if value.get(key) in (None, ""):
            raise error(f"{key!r}{under} is missing", where=where(None), hint=f"add a line `{key}: …`")
    return value


def _shown(value: Any) -> str:
    # Aliases may make a short YAML a value that no memory could hold written out.
    text = reprlib.repr(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"


def _indented(name: str) -> str | None:
    return f"write `{name}:` and its keys indented below it" if name else None
