"""The two passes of MING's later scripts and of MedCare's: what is appended between them.

Facts from ``model_diverse_gen_batch.py`` of MediaBrain-SJTU/MING (commit a9f6b44) and of BlueZeros/MedCare (commit
fcf9a3f). Where the scripts let the first prompt of a batch decide for the whole batch, each prompt decides for
itself here, so that no answer depends on its neighbors.
"""

# Chinese characters are counted as two columns here.
# ruff: noqa: E501

from __future__ import annotations

from medbench.errors import ScoringError

__all__ = ["between_passes", "joiner", "offered_letters"]

_PHRASES = {"The answer is": "\nThe answer is ", "答案为": "\n答案为"}


def between_passes(prompt: str, first_pass: str) -> str:
    """What is appended to the first pass before the second: joiner and answer phrase.

    Args:
        prompt: The first prompt, which asks for the answer in one of the two phrases; the English one counts
            first.
        first_pass: The first pass as decoded, not stripped.

    Raises:
        ScoringError: The prompt holds neither phrase; the scripts stop there.
    """
    for asked, phrase in _PHRASES.items():
        if asked in prompt:
            return joiner(first_pass) + phrase
    raise ScoringError(
        "the prompt asks for no answer phrase that a second pass could begin with",
        hint=f"end it with one of {', '.join(_PHRASES)}",
    )


def joiner(first_pass: str) -> str:
    """A blank after an ASCII full stop, else a full stop and a blank, after an empty text and ``。`` too."""
    return " " if first_pass.strip().endswith(".") else ". "


def offered_letters(prompt: str) -> str:
    """The letters that the second pass chooses among.

    A to E where the prompt holds ``E.`` or ``(E)``, be it in ``E. coli``, else A to D; F is never offered.
    """
    return "ABCDE" if "E." in prompt or "(E)" in prompt else "ABCD"
