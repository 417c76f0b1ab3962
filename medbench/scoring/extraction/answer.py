"""What is read: a tidied answer, what it may commit to, and how a place in it is meant."""

from __future__ import annotations

import re
from enum import IntEnum
from typing import NamedTuple

from medbench.scoring.extraction.letters import Letters
from medbench.scoring.extraction.options import Option, tells_case
from medbench.scoring.extraction.phrases import (
    CLAUSE_BREAK,
    NEGATED_BEFORE,
    QUESTION,
    VERDICT_BESIDE,
    VERDICT_LATER,
    supposes,
)
from medbench.scoring.extraction.tidy import lowered, tidy
from medbench.scoring.extraction.weighing import without_asides

__all__ = [
    "INLINE_LABEL",
    "Answer",
    "Commitment",
    "Strength",
    "doubted",
    "enumerates",
    "judged_beside",
    "judgement",
    "left_of",
    "taken_back",
]

_LEFT = 60
_LABEL = re.compile(
    r"^[ \t]*(?:[-+•]\s?)?(?:选项|[Oo]ption\s|[Cc]hoice\s)?\(?([A-J])(?:\)|选项|项)?[ \t]?[.、:),-]",
    re.MULTILINE,
)
INLINE_LABEL = re.compile(r"(?:^|[\s;。])\(?([A-J])[.、:)]\s{0,2}(?=\S)")


class Strength(IntEnum):
    """How openly a text commits."""

    WORDS = 0
    WRONG_ONE = 1
    MENTION = 2
    VERDICT = 3
    OPENING = 4
    ANNOUNCED = 5


class Commitment(NamedTuple):
    """An answer that a text gives at a position."""

    strength: Strength
    position: int
    letters: frozenset[str]


class Answer(NamedTuple):
    """A tidied answer beside its case-folded form, and what was asked."""

    text: str
    low: str
    options: tuple[Option, ...]
    asks_for_wrong: bool
    single: bool
    last_labels: dict[str, int]

    @classmethod
    def of(cls, text: str, options: tuple[Option, ...], asks_for_wrong: bool, single: bool) -> Answer:
        """Tidy a text that is to be read."""
        tidied = without_asides(tidy(text))
        labels = {label.group(1): label.start() for label in _LABEL.finditer(tidied)}
        low = tidied if tells_case(options) else lowered(tidied)
        return cls(tidied, low, options, asks_for_wrong, single, labels)


def left_of(text: str, start: int) -> str:
    """Return what stands before a place, as far back as it can bear on it."""
    return text[max(0, start - _LEFT) : start]


def taken_back(text: str, start: int) -> bool:
    """Whether what stands left of a cue supposes or denies it."""
    left = left_of(text, start)
    breaks = list(CLAUSE_BREAK.finditer(left))
    clause = left[breaks[-1].end() :] if breaks else left
    opener = breaks[-1].group() if breaks else ""
    return supposes(clause) or NEGATED_BEFORE.search(clause) is not None or opener == "而非"


def doubted(text: str, end: int) -> bool:
    """Whether what follows turns it into a question."""
    return QUESTION.match(text, end) is not None


def judgement(text: str, end: int) -> bool | None:
    """Read a verdict that the sentence about a letter ends with: ``B. 阿司匹林，……，该说法正确``."""
    sentence = re.match(r"[^。;!?\n]{0,200}", text[end:])
    found = list(VERDICT_LATER.finditer(sentence.group())) if sentence else []
    if not found:
        return None
    return not (found[-1]["no"] or found[-1]["no_en"])


def judged_beside(text: str, end: int, *, strictly: bool = False) -> bool | None:
    """Read a verdict set beside letters: ``B（正确）``, ``A：错误``, ``C. wrong``.

    Args:
        text: The tidied answer.
        end: Where the letters, or the words of their option, end.
        strictly: Whether a full stop or comma may not stand in between: behind an announced answer
            another sentence may begin there.
    """
    found = VERDICT_BESIDE.match(text, end)
    if found is None or (strictly and found["loose"]):
        return None
    return found["yes"] is not None


def enumerates(answer: Answer, letters: Letters) -> bool:
    """Whether the letters are labels of a list of options and not a choice."""
    text = answer.text
    everything = letters.letters == {option.letter for option in answer.options} and len(answer.options) > 1
    if everything and letters.own:
        return True
    start = text.rfind("\n", 0, letters.start) + 1
    if not _LABEL.match(text, start) or text[start : letters.start].strip(" ([-•"):
        return False
    return any(last > start for label, last in answer.last_labels.items() if label not in letters.letters)
