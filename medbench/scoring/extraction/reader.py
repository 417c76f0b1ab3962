r"""Which answer a text commits to.

A text is searched for commitments of falling strength: an announced answer (``答案为B``, ``The answer is B``,
``\boxed{B}``, ``B is the correct answer``, a line that is only ``B``), a letter at the very beginning, a
verdict (``B正确``), a passing mention (``…the drug of choice is B.``), and last the words of exactly one
option. The strongest kind decides; within it, the last commitment.
"""

from __future__ import annotations

from collections.abc import Sequence

from medbench.scoring.extraction.announced import announced, called_answer, lines
from medbench.scoring.extraction.answer import Answer, Strength
from medbench.scoring.extraction.mentions import curt, mentions, words
from medbench.scoring.extraction.options import combined, fold_options
from medbench.scoring.extraction.phrases import ASKS_FOR_WRONG
from medbench.scoring.extraction.turns import first_exam, own_turn
from medbench.scoring.reasoning import parts

__all__ = ["read"]


def read(
    text: str,
    letters: Sequence[str],
    options: Sequence[str] = (),
    question: str = "",
    *,
    single: bool = False,
    openly: bool = False,
) -> str:
    """Return the letters that a response commits to, sorted, or ``""``.

    Args:
        text: The response; reasoning in it is not read.
        letters: The option letters of the document.
        options: The option texts, in the same order; without them only letters are read.
        question: The question; if it asks for the wrong statement, the one called wrong is the answer.
        single: Whether only one letter can be right. Several are then the option that combines them, if there
            is one, and no answer otherwise.
        openly: Whether only an announced answer counts, or one at the very beginning.
    """
    said = parts(text).answer
    if said.strip() in letters:
        return said.strip()
    said = own_turn(said, question)
    known = fold_options(letters, list(options) or [""] * len(letters))
    asked = ASKS_FOR_WRONG.search(question) is not None
    before = first_exam(said, known)
    if before != said and (answered := _read(Answer.of(before, known, asked, single), Strength.OPENING)):
        return answered
    return _read(Answer.of(said, known, asked, single), Strength.OPENING if openly else Strength.WORDS)


def _read(answer: Answer, least: Strength = Strength.WORDS) -> str:
    """Return the letters of the strongest and last commitment, if it is as strong as ``least``."""
    commitments = [*announced(answer), *called_answer(answer), *lines(answer), *mentions(answer)]
    if not commitments:
        commitments = list(words(answer)) or list(curt(answer))
    commitments = [commitment for commitment in commitments if commitment.strength >= least]
    if not commitments:
        return ""
    best = max(commitment.strength for commitment in commitments)
    final = max((c for c in commitments if c.strength == best), key=lambda c: c.position)
    chosen = combined(final.letters, answer.options) if answer.single else final.letters
    return "" if answer.single and len(chosen) > 1 else "".join(sorted(chosen))
