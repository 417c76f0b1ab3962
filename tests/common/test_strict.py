"""Records hold the keys they are known for, with values of the right type."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

import pytest
from pydantic import AfterValidator, Field

from medbench.common.strict import (
    Count,
    Name,
    NotNegative,
    Record,
    check_fields,
    expecting,
    record_of,
    validated,
    words_of,
)
from medbench.errors import CatalogError, DataError


def _even(number: int) -> int:
    if number % 2:
        raise ValueError
    return number


class Part(Record):
    size: Count
    revision: str | None = None


class Whole(Record):
    title: str = ""
    shuffle: bool = False
    count: Count = 1
    seed: int = 0
    share: NotNegative = 0.5
    part: Part | None = None
    parts: dict[str, Part] = Field(default_factory=dict)
    rows: list[Part] = Field(default_factory=list)
    format: Literal["csv", "json"] = "csv"
    budget: Count | Literal["auto"] = "auto"
    names: list[str] = Field(default_factory=list)
    pair: Annotated[int, AfterValidator(_even), expecting("an even number", "double it")] = 2


class Named(Record):
    title: Name
    size: Count


def check(value: Any, **options: Any) -> Whole:
    return validated(Whole, value, where="here", error=DataError, **options)


@pytest.mark.parametrize(
    "value",
    [
        {},
        {"title": "x", "shuffle": False, "count": 1, "share": 0.5, "parts": {}, "format": "csv"},
        {"budget": "auto"},
        {"budget": 64, "names": []},
        {"names": ["a", "b"], "share": 3},
        {"part": {"size": 3}, "parts": {"a": {"size": 1}}, "rows": [{"size": 2}]},
        {"pair": 4, "seed": -7},
        {"share": 1e300, "count": 10**30},
    ],
)
def test_what_is_right_passes(value: dict[str, Any]) -> None:
    assert check(value).model_dump(exclude_unset=True) == value


def test_null_counts_as_not_given() -> None:
    assert check(dict.fromkeys(Whole.model_fields)) == Whole()
    # Where null is a value, whether it was given can be told.
    assert "revision" in Part.model_validate({"size": 1, "revision": None}).model_fields_set
    assert "revision" not in Part.model_validate({"size": 1}).model_fields_set


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("title", 5, "text"),
        ("title", True, "text"),
        ("title", ["x"], "text"),
        ("shuffle", "false", "true or false"),
        ("shuffle", 0, "true or false"),
        ("count", 0, "a positive whole number"),
        ("count", -1, "a positive whole number"),
        ("count", 1.0, "a positive whole number"),
        ("count", True, "a positive whole number"),
        ("count", "5", "a positive whole number"),
        ("seed", 1.0, "a whole number"),
        ("seed", True, "a whole number"),
        ("share", "0.5", "a number that is not negative"),
        ("share", True, "a number that is not negative"),
        ("share", -0.1, "a number that is not negative"),
        ("share", float("nan"), "a number that is not negative"),
        ("part", [], "keys with values"),
        ("parts", "x", "keys with values"),
        ("rows", {"size": 1}, "a list"),
        ("format", "CSV", "one of csv, json"),
        ("format", ["csv"], "one of csv, json"),
        ("format", True, "one of csv, json"),
        ("budget", "automatic", "a positive whole number or auto"),
        ("budget", 0, "a positive whole number or auto"),
        ("budget", 2.0, "a positive whole number or auto"),
        ("names", "ab", "a list"),
        ("names", {"a": 1}, "a list"),
        ("pair", 3, "an even number"),
        ("pair", "4", "an even number"),
    ],
)
def test_values_of_another_type_are_named(key: str, value: Any, expected: str) -> None:
    with pytest.raises(DataError) as caught:
        check({key: value})
    assert caught.value.what == f"{key!r} is {value!r}, expected {expected}"
    assert caught.value.where == f"here, {key}"


@pytest.mark.parametrize(
    ("value", "what", "where"),
    [
        ({"part": {"size": 0}}, "'size' under 'part' is 0, expected a positive", "part.size"),
        ({"part": {"sise": 1}}, "unknown key 'sise' under 'part'", "part.sise"),
        ({"part": {}}, "'size' under 'part' is missing", "part.size"),
        ({"parts": {"a": 3}}, "'a' under 'parts' is 3, expected keys with values", "parts.a"),
        ({"parts": {"a": {"size": "1"}}}, "'size' under 'a' is '1', expected", "parts.a.size"),
        ({"parts": {"a": {"size": 1, 2: 3}}}, "unknown key 2 under 'a'", "parts.a.2"),
        ({"parts": {7: {"size": 1}}}, "the key 7 under 'parts' is not text", "parts.7"),
        ({"rows": [{"size": 1}, 5]}, "item 2 of 'rows' is 5, expected keys with values", "rows.1"),
        ({"rows": [{"size": 1}, {"size": 1.5}]}, "'size' under 'rows' is 1.5, expected", "rows.1.size"),
        ({"rows": [{"size": None}]}, "'size' under 'rows' is missing", "rows.0.size"),
        ({"names": ["a", 1]}, "item 2 of 'names' is 1, expected text", "names.1"),
        ({"names": [["a"]]}, "item 1 of 'names' is ['a'], expected text", "names.0"),
    ],
)
def test_the_way_to_a_wrong_value_is_told(value: Any, what: str, where: str) -> None:
    with pytest.raises(DataError) as caught:
        check(value)
    assert caught.value.what.startswith(what)
    assert caught.value.where == f"here, {where}"
    with pytest.raises(DataError) as caught:
        validated(Whole, value, where=lambda way: "/".join(map(str, way)), error=DataError)
    assert caught.value.where == where.replace(".", "/")


@pytest.mark.parametrize(
    ("key", "hint"),
    [
        ("titel", "'title'"),
        ("Title", "'title'"),
        ("shufle", "'shuffle'"),
        ("formats", "'format'"),
        ("bugdet", "'budget'"),
        ("count ", "'count'"),
        (5, "the keys known here are title, shuffle"),
        (True, "the keys known here"),
        ("", "the keys known here"),
        ("something_else_entirely", "the keys known here"),
    ],
)
@pytest.mark.parametrize("value", [None, 1])
def test_unknown_keys_are_named_with_the_nearest(key: Any, value: Any, hint: str) -> None:
    with pytest.raises(CatalogError, match="unknown key") as caught:
        validated(Whole, {key: value, "count": 0}, where=lambda way: f"line of {way}", error=CatalogError)
    assert repr(key) in caught.value.what
    assert hint in str(caught.value.hint)
    assert caught.value.where == f"line of {(str(key),)}"


def test_names_of_the_mapping_are_told() -> None:
    with pytest.raises(DataError, match="unknown key 'x' under 'inner'"):
        check({"x": 1}, name="inner")
    with pytest.raises(DataError, match="'title' under 'inner' is 1, expected text"):
        check({"title": 1}, name="inner")
    with pytest.raises(DataError, match="'inner' is 3, expected keys with values"):
        check(3, name="inner")
    with pytest.raises(DataError, match=r"found \[\], expected keys with values"):
        check([])


@pytest.mark.parametrize("value", [{}, {"title": None}, {"title": ""}, {"size": 0}])
def test_missing_keys_are_named(value: dict[str, Any]) -> None:
    with pytest.raises(DataError, match="'title' is missing"):
        validated(Named, value, where="here", error=DataError)


def test_a_misspelled_key_is_named_rather_than_a_missing_one() -> None:
    with pytest.raises(DataError, match=r"unknown key 'titel'[\s\S]*did you mean 'title'"):
        validated(Named, {"titel": "x", "size": 1}, where="here", error=DataError)


def test_long_values_are_cut() -> None:
    with pytest.raises(DataError) as caught:
        check({"count": "x" * 10_000})
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize(
    ("value", "hint"),
    [
        ({"title": 1}, "put it in quotes"),
        ({"shuffle": "no"}, "write true or false, without quotes"),
        ({"part": 1}, "indent them below it"),
        ({"pair": 1}, "double it"),
        ({"count": 0}, None),
        ({"parts": {1: {}}}, "put it in quotes"),
    ],
)
def test_a_type_says_what_to_do(value: Any, hint: str | None) -> None:
    with pytest.raises(DataError) as caught:
        check(value)
    assert caught.value.hint == hint


@dataclass(frozen=True)
class Choices:
    model: Name
    limit: Count | None = None
    dtype: Literal["auto", "float32"] = "auto"
    part: Part = field(default_factory=lambda: Part(size=1))
    place: str = "where it was found"


@dataclass(frozen=True)
class More:
    workers: Count | Literal["auto"] = "auto"


def test_a_record_has_the_fields_of_dataclasses() -> None:
    kind = record_of(Choices, More, without=("place",))
    assert list(kind.model_fields) == ["model", "limit", "dtype", "part", "workers"]
    found = validated(kind, {"model": "m", "part": {"size": 3}}, where="here", error=DataError)
    assert dict(found) == {
        "model": "m",
        "limit": None,
        "dtype": "auto",
        "part": Part(size=3),
        "workers": "auto",
    }
    for value, message in (
        ({}, "'model' is missing"),
        ({"model": "m", "place": "x"}, "unknown key 'place'"),
        ({"model": "m", "workers": "2"}, "'workers' is '2', expected a positive whole number or auto"),
        ({"model": "m", "dtype": "int3"}, "'dtype' is 'int3', expected one of auto, float32"),
    ):
        with pytest.raises(DataError, match=message):
            validated(kind, value, where="here", error=DataError)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"limit": 0}, "'limit' is 0"),
        ({"limit": True}, "'limit' is True"),
        ({"dtype": "half"}, "'dtype' is 'half', expected one of auto, float32"),
        ({"part": {"size": 0}}, "'size' under 'part' is 0"),
        ({"model": ""}, "'model' is missing"),
    ],
)
def test_fields_of_a_dataclass_are_checked(values: dict[str, Any], message: str) -> None:
    check_fields(Choices("m"), where=str, error=DataError)
    with pytest.raises(DataError, match=message):
        check_fields(Choices(**{"model": "m", **values}), where=lambda name: f"--{name}", error=DataError)


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        (Literal["on", "off"], ("on", "off")),
        (Literal["on", "off"] | None, ("on", "off")),
        (Annotated[Literal["on", "off"], "said"], ("on", "off")),
        (Annotated[Literal["on", "off"] | None, "said"], ("on", "off")),
        (int | Literal["auto"], ()),
        (int | Literal["auto"] | None, ()),
        (str, ()),
        (str | None, ()),
        (bool, ()),
        (list[str], ()),
        (list[Literal["on", "off"]], ()),
        (None, ()),
    ],
)
def test_words_that_a_type_allows(kind: Any, words: tuple[str, ...]) -> None:
    assert words_of(kind) == words
