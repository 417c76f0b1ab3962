"""Strict validation of what people write: types say what is allowed, and pydantic checks it.

Nothing is converted: ``"yes"`` is not true, and 1.0 and True are not whole numbers. Unknown keys would have
no effect, so they are refused like wrong values.
"""

from __future__ import annotations

import reprlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import MISSING, fields
from functools import cache
from types import UnionType
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    WrapValidator,
    create_model,
    model_validator,
)

from medbench.common.suggest import suggestion
from medbench.errors import MedbenchError

#: Keys and positions that lead to a value.
Key = tuple[str | int, ...]
_R = TypeVar("_R", bound="Record")
_SHOWN = 60
_EXPECTED = {
    "model_type": ("keys with values", "indent them below it"),
    "dict_type": ("keys with values", "indent them below it"),
    "string_type": ("text", "put it in quotes"),
    "bool_type": ("true or false", "write true or false, without quotes"),
    "int_type": ("a whole number", None),
    "float_type": ("a number", None),
    "list_type": ("a list", None),
}


class _RefusedError(ValueError):
    """Raised with what was expected and what to do, or of an unknown key with these, the key and True."""


def expecting(what: str, hint: str | None = None) -> WrapValidator:
    """Describe the values of a type in place of what pydantic says of it.

    Args:
        what: Description for messages.
        hint: What to do about another value.
    """

    def check(value: Any, handler: Callable[[Any], Any]) -> Any:
        try:
            return handler(value)
        except ValidationError:
            raise _RefusedError(what, hint) from None

    return WrapValidator(check)


Count = Annotated[int, Field(ge=1), expecting("a positive whole number")]
NotNegative = Annotated[float, Field(ge=0), expecting("a number that is not negative")]
#: Text that must be there.
Name = Annotated[str, Field(min_length=1)]


class Record(BaseModel):
    """Keys with values; null counts as not given."""

    model_config = ConfigDict(strict=True, frozen=True, arbitrary_types_allowed=True)

    @model_validator(mode="before")
    @classmethod
    def _given(cls, value: Any) -> Any:
        if not isinstance(value, Mapping):
            return value
        known = {field.alias or name: field for name, field in cls.model_fields.items()}
        for key in value:
            if not isinstance(key, str) or key not in known:
                raise _RefusedError("another key", suggestion(key, known), key, True)
        # Where null is a value like others, whether it was given can matter.
        return {key: given for key, given in value.items() if given is not None or known[key].default is None}


def validated(
    kind: type[_R],
    value: Any,
    *,
    where: str | Callable[[Key], str],
    error: type[MedbenchError],
    name: str = "",
) -> _R:
    """Check a mapping.

    Args:
        kind: The record that it must be.
        value: The mapping.
        where: The file, or what gives the location of a value by the keys that lead to it.
        error: Class of the error.
        name: Name of the mapping, for messages; empty at the top of a file.

    Returns:
        The record.

    Raises:
        MedbenchError: A key is unknown or missing, or a value of another type.
    """
    try:
        return kind.model_validate(value)
    except ValidationError as failure:
        # An unknown key is often the misspelling of one that is missing, so it is named first.
        found = sorted(failure.errors(include_url=False), key=lambda each: len(_said(each)) == 2)
        what, way, hint = _told(found, value, name)
    place = where(way) if callable(where) else ", ".join(filter(None, (where, ".".join(map(str, way)))))
    raise error(what, where=place, hint=hint)


def check_fields(instance: Any, *, where: Callable[[str], str], error: type[MedbenchError]) -> None:
    """Check the fields of a dataclass against their types; fields of None count as not given.

    Args:
        instance: The dataclass.
        where: Gives the location of a field.
        error: Class of the error.

    Raises:
        MedbenchError: A value is of another type.
    """
    kind: type = type(instance)
    values = {each.name: getattr(instance, each.name) for each in fields(instance)}
    validated(record_of(kind), values, where=lambda way: where(str(way[0])), error=error)


@cache
def record_of(*kinds: type, without: Iterable[str] = ()) -> type[Record]:
    """The record whose keys are the fields of dataclasses.

    Args:
        kinds: The dataclasses.
        without: Fields that are no keys.
    """
    keys: dict[str, Any] = {}
    for kind in kinds:
        hints = get_type_hints(kind, include_extras=True)
        for each in fields(kind):
            default = each.default if each.default_factory is MISSING else each.default_factory()
            keys[each.name] = (hints[each.name], ... if default is MISSING else default)
    return create_model("Fields", __base__=Record, **{key: keys[key] for key in keys if key not in without})


def words_of(kind: Any) -> tuple[str, ...]:
    """The words that a type allows, if it allows nothing else but None.

    Args:
        kind: The type.
    """
    parts = [part for part in get_args(kind) if part is not type(None)]
    if get_origin(kind) is Literal:
        return tuple(parts)
    if get_origin(kind) is Annotated:
        return words_of(parts[0])
    return words_of(parts[0]) if len(parts) == 1 and get_origin(kind) in (Union, UnionType) else ()


def _told(found: Sequence[Mapping[str, Any]], value: Any, name: str) -> tuple[str, Key, str | None]:
    """What is wrong, the keys that lead there, and what to do."""
    first, kind = found[0], found[0]["type"]
    way, given = _written(first["loc"], value)
    _, hint, *unknown = _said(first)
    if unknown:
        return f"unknown key {unknown[0]!r}{_under(way, name)}", (*way, str(unknown[0])), hint
    if kind in ("missing", "string_too_short"):
        *above, key = first["loc"]
        return f"{key!r}{_under(above, name)} is missing", first["loc"], f"add a line `{key}: …`"
    if first["loc"][-1:] == ("[key]",):
        return f"the key {way[-1]!r}{_under(way[:-1], name)} is not text", way, hint
    # A value of none of several types has an error for each.
    expected = (_said(each)[0] for each in found if _written(each["loc"], value)[0] == way)
    return f"{_label(way, name)} {_shown(given)}, expected {' or '.join(dict.fromkeys(expected))}", way, hint


def _written(way: Key, value: Any) -> tuple[Key, Any]:
    """The part of a path that is in a value, without the names of types, and what it leads to."""
    for depth, part in enumerate(way):
        try:
            value = value[part]
        except (KeyError, IndexError, TypeError):
            return way[:depth], value
    return way, value


def _said(error: Mapping[str, Any]) -> tuple[Any, ...]:
    """What was expected and what to do; of an unknown key, more."""
    fault = error.get("ctx", {}).get("error")
    if isinstance(fault, _RefusedError):
        return fault.args
    words = str(error["msg"]).removeprefix("Input should be ")
    if error["type"] == "literal_error":
        words = words.replace(" or ", ", ").replace("'", "")
        words = f"one of {words}" if "," in words else words
    return _EXPECTED.get(error["type"], (words, None))


def _label(way: Sequence[str | int], name: str) -> str:
    if not way:
        return f"{name!r} is" if name else "found"
    if isinstance(way[-1], int):
        return f"item {way[-1] + 1} of {_label(way[:-1], name)}"
    return f"{way[-1]!r}{_under(way[:-1], name)} is"


def _under(way: Sequence[str | int], name: str) -> str:
    above = [part for part in (name, *way) if part and isinstance(part, str)]
    return f" under {above[-1]!r}" if above else ""


def _shown(value: Any) -> str:
    # Through aliases, a short YAML may define a value too large to print.
    text = reprlib.repr(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"
