"""Splitting text into the words that the metrics count.

Source of the rule: the BERT basic tokenizer (Devlin et al. 2019, github.com/google-research/bert,
``tokenization.py``), which PromptCBLUE's scorer uses with Chinese characters split and lower-casing on.
Written here because transformers takes seconds to import; a test compares the two.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable

__all__ = ["basic_tokens"]

_CJK_BLOCKS = (
    (0x4E00, 0x9FFF),
    (0x3400, 0x4DBF),
    (0x20000, 0x2A6DF),
    (0x2A700, 0x2B73F),
    (0x2B740, 0x2B81F),
    (0x2B820, 0x2CEAF),
    (0xF900, 0xFAFF),
    (0x2F800, 0x2FA1F),
)


def basic_tokens(text: str) -> list[str]:
    """Split into single Chinese characters, single punctuation marks, and lower-case words without accents.

    Args:
        text: Any text; control characters are dropped.

    Returns:
        The tokens in order; none contains white space.
    """
    spaced = unicodedata.normalize("NFC", text.translate(_CLEANED))
    return unicodedata.normalize("NFD", spaced.lower()).translate(_SPLIT).split()


class _PerCharacter(dict[int, str]):
    """A translation table that is filled by the characters it meets."""

    def __init__(self, rule: Callable[[str], str]) -> None:
        super().__init__()
        self._rule = rule

    def __missing__(self, code: int) -> str:
        self[code] = self._rule(chr(code))
        return self[code]


def _clean(char: str) -> str:
    """Drop control characters, make white space a blank, set Chinese characters apart."""
    if char in " \t\n\r":
        return " "
    category = unicodedata.category(char)
    if char == "\ufffd" or category.startswith("C"):
        return ""
    if category == "Zs":
        return " "
    code = ord(char)
    return f" {char} " if any(low <= code <= high for low, high in _CJK_BLOCKS) else char


def _split_punctuation(char: str) -> str:
    """Drop combining accents, set punctuation apart; ASCII symbols count as punctuation."""
    category = unicodedata.category(char)
    if category == "Mn":
        return ""
    ascii_symbol = char.isascii() and char.isprintable() and not char.isalnum() and char != " "
    return f" {char} " if ascii_symbol or category.startswith("P") else char


_CLEANED = _PerCharacter(_clean)
_SPLIT = _PerCharacter(_split_punctuation)
