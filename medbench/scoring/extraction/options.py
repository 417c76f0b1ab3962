"""Finding the options' own words in an answer."""

# Chinese characters are counted as two columns here.
# ruff: noqa: E501

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from medbench.scoring.extraction.tidy import fold

__all__ = ["Option", "Spoken", "fold_options", "option_at", "own_text_end", "spoken_options"]

# Shorter texts ("是", "no", "2") occur by chance; they count only where an answer is announced or stands alone.
_MIN_FREE = 2
_MIN_FREE_LATIN = 4


class Option(NamedTuple):
    """One option with its text as it is compared; texts that two options share are empty."""

    letter: str
    text: str

    @property
    def is_short(self) -> bool:
        """Whether the text could occur by chance."""
        return len(self.text) < (_MIN_FREE_LATIN if self.text.isascii() else _MIN_FREE)


class Spoken(NamedTuple):
    """An option's text found in an answer, from ``start`` to ``end``."""

    letter: str
    start: int
    end: int


def fold_options(letters: Sequence[str], options: Sequence[str]) -> tuple[Option, ...]:
    """Pair letters with comparable texts, longest text first."""
    texts = [fold(option) for option in options]
    unique = [text if texts.count(text) == 1 else "" for text in texts]
    pairs = [Option(letter, text) for letter, text in zip(letters, unique, strict=False)]
    return tuple(sorted(pairs, key=lambda option: len(option.text), reverse=True))


def option_at(low: str, position: int, options: Sequence[Option]) -> Spoken | None:
    """Return the longest option whose text stands at ``position`` of the case-folded answer.

    Short texts must end their clause.
    """
    for article in ("", "a ", "an ", "the ", '"'):
        start = position + len(article)
        if not low.startswith(article, position):
            continue
        for option in options:
            if option.text and low.startswith(option.text, start):
                end = start + len(option.text)
                if _bounded(low, start, end) and (not option.is_short or _clause_ends(low, end)):
                    return Spoken(option.letter, start, end)
    return None


def own_text_end(low: str, position: int, letter: str, options: Sequence[Option]) -> int:
    """Return where the text of option ``letter`` ends if it follows the letter, else ``position``."""
    text = next((option.text for option in options if option.letter == letter), "")
    start = position
    while start < len(low) and start - position < 4 and low[start] in " .:、,)]-(":
        start += 1
    if text and low.startswith(text, start) and _bounded(low, start, start + len(text)):
        end = start + len(text)
        return end + 1 if low.startswith(")", end) and "(" in low[position:start] else end
    return position


def spoken_options(low: str, options: Sequence[Option]) -> list[Spoken]:
    """Find every option text in the case-folded answer, the longest where several overlap, in order."""
    found: list[Spoken] = []
    taken = bytearray(len(low))
    for option in options:
        if not option.text or option.is_short:
            continue
        start = low.find(option.text)
        while start >= 0:
            end = start + len(option.text)
            if not any(taken[start:end]) and _bounded(low, start, end):
                taken[start:end] = b"\1" * (end - start)
                found.append(Spoken(option.letter, start, end))
            start = low.find(option.text, end)
    return sorted(found, key=lambda spoken: spoken.start)


def _bounded(low: str, start: int, end: int) -> bool:
    """Whether a text stands by itself: not inside a Latin word or a number."""
    before = low[start - 1] if start else " "
    after = low[end] if end < len(low) else " "
    left = not (_wordlike(low[start]) and _wordlike(before))
    right = not (_wordlike(low[end - 1]) and _wordlike(after))
    decimal = low[end - 1].isdigit() and after == "." and end + 1 < len(low) and low[end + 1].isdigit()
    return left and right and not decimal


def _wordlike(char: str) -> bool:
    return char.isascii() and char.isalnum()


def _clause_ends(low: str, end: int) -> bool:
    rest = low[end : end + 12].lstrip(" \"')]}")
    return (
        not rest or rest[0] in ".,;:!。、\n-(" or rest.startswith(("because", "since", "as ", "因", "given"))
    )
