"""Finding the options' own words in an answer."""

# Chinese characters are counted as two columns here.
# ruff: noqa: E501

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

from medbench.scoring.extraction.tidy import bare, lowered

__all__ = [
    "Option",
    "Spoken",
    "clause_ends",
    "combined",
    "fold_options",
    "list_of_options",
    "option_at",
    "option_before",
    "own_text_end",
    "spoken_options",
    "tells_case",
]

# Shorter texts ("是", "no", "2") occur by chance; they count only where an answer is announced or stands alone.
_MIN_FREE = 2
_MIN_FREE_LATIN = 4


# What stands around letters in an option that speaks of other options: "Both A and B", "A、C均正确".
_AROUND_LETTERS = re.compile(
    r"\b(?:both|and|or|are|is|the|all|of|above|only|correct|true|right|options?|choices?|statements?|answers?)\b"
    r"|以上|以及|同时|选项|正确|[两二三四]者|[两二三四]项|[和与及或兼有项均都皆全也是对]|[\s,.、;&+/()]"
)
_ALL_ABOVE = re.compile(
    r"all(?: of)? (?:the|these|those)(?: above| options?| choices?| statements?)?(?: are (?:correct|true|right))?|all(?: are)? (?:correct|true|right)|all"
    r"|(?:以上|上述|前述|所有|全部)(?:各项|选项|几项|三项|四项|三者|四者|各点|内容|说法)?(?:[均都皆全]{0,2}(?:是|对|正确|包括|有|符合|可以?|属于)的?)|[均都皆全]部?(?:是|对|正确)"
)


# What joins the texts of a list.
_LISTED = re.compile(r"\s?(?:、|,\s?(?:(?:and|or)\s)?|\s(?:and|or)\s|以及|或者|[和与及或+])\s?")


_LISTED_APART = re.compile(rf"{_LISTED.pattern}|\s?[;\n]\s?")


class Option(NamedTuple):
    """One option.

    Attributes:
        letter: Its letter.
        text: Its text as it is compared; empty where two options share it, so that it tells nothing.
        own: The same, shared or not: behind its letter it confirms the letter.
        combines: The letters of other options, where the text does nothing but combine them.
    """

    letter: str
    text: str
    own: str
    combines: frozenset[str] = frozenset()

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
    """Pair letters with comparable texts, longest text first.

    Letter case counts only where nothing else tells two options apart, as with genotypes (``Gg``, ``gg``).
    """
    texts = [bare(option) for option in options]
    folded = [lowered(text) for text in texts]
    if len(set(folded)) == len(set(texts)):
        texts = folded
    pairs = [
        Option(letter, text if texts.count(text) == 1 else "", text, _combines(text, letters, number))
        for number, (letter, text) in enumerate(zip(letters, texts, strict=False))
    ]
    return tuple(sorted(pairs, key=lambda option: len(option.text), reverse=True))


def tells_case(options: Sequence[Option]) -> bool:
    """Whether letter case tells options apart."""
    return any(option.own != lowered(option.own) for option in options)


def combined(letters: frozenset[str], options: Sequence[Option]) -> frozenset[str]:
    """Return what several letters mean where only one can be right: the option that combines them.

    Returns:
        That option's letter; where no option combines them, the letters as they are.
    """
    if len(letters) < 2:
        return letters
    found = [option.letter for option in options if option.combines == letters]
    return frozenset(found) if len(found) == 1 else letters


def _combines(text: str, letters: Sequence[str], number: int) -> frozenset[str]:
    """The letters that the text of option ``number`` combines, at least two."""
    if _ALL_ABOVE.fullmatch(text):
        return frozenset(letters[:number])
    named = _AROUND_LETTERS.sub("", text).upper()
    known = set(named) <= set(letters) and len(set(named)) == len(named)
    return frozenset(named) if known and len(named) > 1 else frozenset()


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
                if _bounded(low, start, end) and (not option.is_short or clause_ends(low, end)):
                    return Spoken(option.letter, start, end)
    return None


def list_of_options(
    low: str, first: Spoken, options: Sequence[Option], *, single: bool
) -> tuple[frozenset[str], int]:
    """Return the options whose texts are listed from ``first`` on, as in ``腹痛、腹泻和便血``, and where that ends.

    A list must end its clause: in ``The answer is warfarin, digoxin is not needed`` there is one.

    Args:
        low: The case-folded answer.
        first: The first of them.
        options: The options of the document.
        single: Whether only one can be right, so that what follows a semicolon or line break is an aside.
    """
    joint_of = _LISTED if single else _LISTED_APART
    letters = {first.letter}
    end = _own_letter_end(low, first)
    while joint := joint_of.match(low, end):
        spoken = option_at(low, joint.end(), options)
        if spoken is None or spoken.letter in letters:
            break
        letters.add(spoken.letter)
        end = _own_letter_end(low, spoken)
    if len(letters) > 1 and clause_ends(low, end):
        return frozenset(letters), end
    return frozenset(first.letter), first.end


def _own_letter_end(low: str, spoken: Spoken) -> int:
    """Where an option's text ends, with its letter in brackets where that follows."""
    bracketed = re.compile(rf"\s?\(\s?{spoken.letter}\s?\)", re.IGNORECASE).match(low, spoken.end)
    return bracketed.end() if bracketed else spoken.end


def option_before(low: str, end: int, options: Sequence[Option]) -> Spoken | None:
    """Return the longest option whose text ends at ``end`` of the case-folded answer."""
    while end and low[end - 1] in " .,;:!\"'":
        end -= 1
    for option in options:
        start = end - len(option.text)
        if (
            min(start, len(option.text) - 2) >= 0
            and low[start:end] == option.text
            and _bounded(low, start, end)
        ):
            return Spoken(option.letter, start, end)
    return None


def own_text_end(low: str, position: int, letter: str, options: Sequence[Option]) -> int:
    """Return where the text of option ``letter`` ends if it follows the letter, else ``position``."""
    text = next((option.own for option in options if option.letter == letter), "")
    start = position
    while start < len(low) and start - position < 4 and low[start] in " .:、,)]-(":
        start += 1
    if text and low.startswith(text, start) and _bounded(low, start, start + len(text)):
        end = start + len(text)
        return end + 1 if low.startswith(")", end) and "(" in low[position:start] else end
    return position


def spoken_options(text: str, low: str, options: Sequence[Option]) -> list[Spoken]:
    """Find every option text in an answer, the longest where several overlap, in order.

    Of short texts only acronyms count (``ECG``), which are written in capitals and do not occur by chance.

    Args:
        text: The answer.
        low: The same, case-folded.
        options: The options of the document.
    """
    known = {option.letter for option in options}
    found: list[Spoken] = []
    taken = bytearray(len(low))
    for option in options:
        acronym = len(option.text) > 1 and option.text.isascii() and not set(option.text.upper()) <= known
        if not option.text or (option.is_short and not acronym):
            continue
        start = low.find(option.text)
        while start >= 0:
            end = start + len(option.text)
            shown = not option.is_short or (text[start:end].isupper() and text[start:end].isalpha())
            if shown and not any(taken[start:end]) and _bounded(low, start, end):
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


def clause_ends(low: str, end: int) -> bool:
    """Whether nothing more is said in the clause that holds a short text."""
    rest = low[end : end + 12].lstrip(" \"')]}")
    return (
        not rest or rest[0] in ".,;:!。、\n-(" or rest.startswith(("because", "since", "as ", "因", "given"))
    )
