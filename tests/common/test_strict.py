"""Mappings hold the keys they are known for, with values of the right kind."""

from __future__ import annotations

from typing import Any

import pytest

from medbench.common.strict import (
    COUNT,
    FLAG,
    MAPPING,
    NUMBER,
    TEXT,
    Kind,
    check_mapping,
    choice,
    either,
    list_of,
)
from medbench.errors import CatalogError, DataError

KINDS = {
    "title": TEXT,
    "shuffle": FLAG,
    "count": COUNT,
    "share": NUMBER,
    "parts": MAPPING,
    "format": choice("csv", "json"),
    "budget": either(COUNT, choice("auto")),
    "names": list_of(TEXT),
}


def check(value: Any, **options: Any) -> Any:
    return check_mapping(value, KINDS, where=lambda key: f"here/{key}", error=DataError, **options)


@pytest.mark.parametrize(
    "value",
    [
        {},
        {"title": "x", "shuffle": False, "count": 1, "share": 0.5, "parts": {}, "format": "csv"},
        {"budget": "auto"},
        {"budget": 64, "names": []},
        {"names": ["a", "b"], "share": -3},
        dict.fromkeys(KINDS),
    ],
)
def test_what_is_right_passes(value: dict[str, Any]) -> None:
    assert check(value) is value


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("title", 5),
        ("title", True),
        ("title", ["x"]),
        ("shuffle", "false"),
        ("shuffle", 0),
        ("count", 0),
        ("count", -1),
        ("count", 1.0),
        ("count", True),
        ("count", "5"),
        ("share", "0.5"),
        ("share", True),
        ("parts", []),
        ("parts", "x"),
        ("format", "CSV"),
        ("format", ["csv"]),
        ("budget", "automatic"),
        ("budget", 0),
        ("names", "ab"),
        ("names", ["a", 1]),
        ("names", {"a": 1}),
    ],
)
def test_values_of_another_kind_are_named(key: str, value: Any) -> None:
    with pytest.raises(DataError) as caught:
        check({key: value})
    assert caught.value.what.startswith(f"{key!r} is {value!r}, expected ")
    assert caught.value.where == f"here/{key}"


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
def test_unknown_keys_are_named_with_the_nearest(key: Any, hint: str) -> None:
    with pytest.raises(CatalogError, match="unknown key") as caught:
        check_mapping({key: None}, KINDS, where=lambda key: f"line of {key}", error=CatalogError)
    assert repr(key) in caught.value.what
    assert hint in str(caught.value.hint)
    assert caught.value.where == f"line of {key}"


def test_names_of_the_mapping_are_told() -> None:
    with pytest.raises(DataError, match="unknown key 'x' under 'inner'"):
        check({"x": 1}, name="inner")
    with pytest.raises(DataError, match="'title' under 'inner' is 1, expected text"):
        check({"title": 1}, name="inner")
    with pytest.raises(DataError, match="'inner' is 3, expected keys with values"):
        check(3, name="inner")
    with pytest.raises(DataError, match=r"found \[\], expected keys with values"):
        check([])


@pytest.mark.parametrize("value", [{}, {"title": None}, {"title": ""}])
def test_missing_keys_are_named(value: dict[str, Any]) -> None:
    with pytest.raises(DataError, match="'title' is missing"):
        check(value, required=("title",))


def test_long_values_are_cut() -> None:
    with pytest.raises(DataError) as caught:
        check({"count": "x" * 10_000})
    assert len(str(caught.value)) < 300


def test_a_kind_says_what_to_do() -> None:
    kinds = {"seed": Kind("a seed", lambda value: value == 1, "take 1")}
    with pytest.raises(DataError) as caught:
        check_mapping({"seed": 2}, kinds, where=lambda _: "here", error=DataError)
    assert (caught.value.what, caught.value.hint) == ("'seed' is 2, expected a seed", "take 1")
