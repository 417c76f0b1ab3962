"""Text from outside cannot control a terminal."""

from __future__ import annotations

import json

import pytest

from medbench.common.terminal import escaped, printable

HARMFUL = [
    "\x00",
    "\x07",
    "\x08",
    "\x0b",
    "\x1b",
    "\x7f",
    "\x9b",
    "\r",
    "\u202e",
    "\u2066",
    "\u200f",
    "\u2028",
    "\ud800",
]


@pytest.mark.parametrize("character", HARMFUL)
def test_control_characters_are_replaced(character: str) -> None:
    assert printable(f"a{character}b") == "a\N{REPLACEMENT CHARACTER}b"


@pytest.mark.parametrize(
    "text", ["plain", "心电图", "two\nlines", "a\ttab", "é", "😀", "", "a\u0301", "«»", "±"]
)
def test_other_text_stays(text: str) -> None:
    assert printable(text) == text
    assert escaped(text) == text


@pytest.mark.parametrize("character", HARMFUL)
def test_json_keeps_its_meaning(character: str) -> None:
    text = escaped(json.dumps({"a": f"x{character}y"}, ensure_ascii=False))
    assert character not in text
    assert json.loads(text) == {"a": f"x{character}y"}
