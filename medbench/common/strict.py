"""Validation of mappings in files that people write: unknown keys and wrong values are refused by line.

Unknown keys would have no effect, so they are refused like wrong values.
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
    """The values that a key may have.

    Attributes:
        expected: Description for messages.
        accepts: Says whether a value is allowed.
        hint: What to do about a value that is not.
        choices: The allowed words, if the value must be one of a few.
    """

    expected: str
    accepts: Callable[[Any], bool]
    hint: str | None = None
    choices: tuple[str, ...] = ()


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


ANY = Kind("anything", lambda _: True)
TEXT = Kind("text", lambda value: isinstance(value, str), "put it in quotes")
FLAG = Kind("true or false", lambda value: isinstance(value, bool), "write true or false, without quotes")
COUNT = Kind(
    "a positive whole number",
    lambda value: isinstance(value, int) and not isinstance(value, bool) and value >= 1,
)
NUMBER = Kind("a number", _is_number)
MAPPING = Kind("keys with values", lambda value: isinstance(value, Mapping), "indent them below it")


def choice(*known: str) -> Kind:
    """Accept one of a few words."""
    words = ", ".join(known)
    return Kind(f"one of {words}", lambda value: isinstance(value, str) and value in known, choices=known)


def either(*kinds: Kind) -> Kind:
    """Accept a value of any of these kinds."""
    return Kind(
        " or ".join(kind.expected for kind in kinds), lambda value: any(kind.accepts(value) for kind in kinds)
    )


def list_of(kind: Kind) -> Kind:
    """Accept a list of values of a kind."""
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
    """Check a mapping.

    Args:
        value: The mapping. A value of None counts as not given.
        kinds: The allowed values of each key.
        where: Gives the location of a key, or of the mapping for None.
        error: Class of the error.
        required: Keys that must be there.
        name: Name of the mapping, for messages; empty at the top of a file.

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
    # Through aliases, a short YAML may define a value too large to print.
    text = reprlib.repr(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"


def _indented(name: str) -> str | None:
    return f"write `{name}:` and its keys indented below it" if name else None
