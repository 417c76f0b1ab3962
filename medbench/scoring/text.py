"""Splitting text into the words that the metrics count.

Source of the rule: the BERT basic tokenizer (Devlin et al. 2019, github.com/google-research/bert,
``tokenization.py``), which PromptCBLUE's scorer uses with Chinese characters split and lower-casing on.
Written here because transformers takes seconds to import; a test compares the two.
"""

from __future__ import annotations

import unicodedata
from functools import lru_cache

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
    spaced = unicodedata.normalize("NFC", "".join(map(_clean, text)))
    plain = unicodedata.normalize("NFD", spaced.lower())
    return "".join(map(_split_punctuation, plain)).split()


@lru_cache(maxsize=1 << 16)
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


@lru_cache(maxsize=1 << 16)
def _split_punctuation(char: str) -> str:
    """Drop combining accents, set punctuation apart; ASCII symbols count as punctuation."""
    category = unicodedata.category(char)
    if category == "Mn":
        return ""
    ascii_symbol = char.isascii() and char.isprintable() and not char.isalnum() and char != " "
    return f" {char} " if ascii_symbol or category.startswith("P") else char
