"""Text from files and models, made harmless for a terminal."""

from __future__ import annotations

import re

# Control characters other than line feed and tab; marks that change the direction of text; lone surrogates.
_UNPRINTABLE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


def printable(text: str) -> str:
    """Replace the characters that control a terminal's cursor, colors or direction of text."""
    return _UNPRINTABLE.sub("\N{REPLACEMENT CHARACTER}", text)


def escaped(json_text: str) -> str:
    """Write those characters of a JSON text as escapes; only its strings can hold them."""
    return _UNPRINTABLE.sub(lambda found: f"\\u{ord(found[0]):04x}", json_text)
