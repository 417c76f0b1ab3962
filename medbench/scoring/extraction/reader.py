r"""Which answer a text commits to.

A text is searched for commitments of falling strength: an announced answer (``答案为B``, ``The answer is B``,
``\boxed{B}``, ``B is the correct answer``, a line that is only ``B``), a letter at the very beginning, a
verdict (``B正确``), a passing mention (``…the drug of choice is B.``), and last the words of exactly one
option. The strongest kind decides; within it, the last commitment.
"""

from __future__ import annotations

from collections.abc import Sequence

from medbench.scoring.extraction.announced import announced, lines
from medbench.scoring.extraction.answer import Answer
from medbench.scoring.extraction.mentions import mentions, words

__all__ = ["read"]


def read(text: str, letters: Sequence[str], options: Sequence[str] = (), question: str = "") -> str:
    """Return the letters that an answer commits to, sorted, or ``""``.

    Args:
        text: The answer.
        letters: The option letters of the document.
        options: The option texts, in the same order; without them only letters are read.
        question: The question; if it asks for the wrong statement, the one called wrong is the answer.
    """
    answer = Answer.of(text, letters, options, question)
    commitments = [*announced(answer), *lines(answer), *mentions(answer)]
    if not commitments:
        commitments = list(words(answer))
    if not commitments:
        return ""
    best = max(commitment.strength for commitment in commitments)
    final = max((c for c in commitments if c.strength == best), key=lambda c: c.position)
    return "".join(sorted(final.letters))
