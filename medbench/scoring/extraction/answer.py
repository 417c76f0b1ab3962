"""What is read: a tidied answer, what it may commit to, and how a place in it is meant."""

from __future__ import annotations

import re
from collections.abc import Sequence
from enum import IntEnum
from typing import NamedTuple

from medbench.scoring.extraction.letters import Letters
from medbench.scoring.extraction.options import Option, fold_options
from medbench.scoring.extraction.phrases import (
    ASKS_FOR_WRONG,
    CLAUSE_BREAK,
    NEGATED_BEFORE,
    QUESTION,
    VERDICT_LATER,
    supposes,
)
from medbench.scoring.extraction.tidy import tidy

__all__ = [
    "INLINE_LABEL",
    "Answer",
    "Commitment",
    "Strength",
    "doubted",
    "enumerates",
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
    last_labels: dict[str, int]

    @classmethod
    def of(cls, text: str, letters: Sequence[str], options: Sequence[str], question: str) -> Answer:
        """Tidy what :func:`medbench.scoring.extraction.read` is given."""
        tidied = tidy(text)
        return cls(
            tidied,
            _lower(tidied),
            fold_options(letters, list(options) or [""] * len(letters)),
            ASKS_FOR_WRONG.search(question) is not None,
            {label.group(1): label.start() for label in _LABEL.finditer(tidied)},
        )


def _lower(text: str) -> str:
    """Fold case without moving a character."""
    low = text.casefold()
    return low if len(low) == len(text) else "".join(c.lower() if len(c.lower()) == 1 else c for c in text)


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
