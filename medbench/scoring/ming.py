"""The verdicts of MING-MOE's own answer rules, quirks included.

Source: the rules as stated for the authors' evaluation scripts (github.com/MediaBrain-SJTU/MING,
``ming/eval``). They are kept so that scores can be set beside published ones; for what an answer says, see
:mod:`medbench.scoring.extraction`.
"""

# Chinese characters are counted as two columns here.
# ruff: noqa: E501

from __future__ import annotations

import re

__all__ = ["direct", "multiplechoice"]

# The authors know five letters, whatever the question offers.
_LETTERS = "ABCDE"
_PHRASES = {"zh": "答案为", "en": "The answer is "}
_FIRST_LETTER = re.compile("[A-E]")


def multiplechoice(text: str, gold: str, language: str) -> bool:
    """Say whether the authors count a free-text answer as right.

    Chinese: with ``答案为`` on the last line, all gold letters and no other must follow it. Without, the
    answer is right if ``{gold}错，为本题正确答案`` occurs, or if every gold letter occurs as
    ``{letter}对`` and no other letter does. English: what follows ``The answer is`` on the last line must have every gold letter
    as ``{letter}.``; other letters are excluded only when the gold has several.

    Args:
        text: The answer.
        gold: The gold letters, such as ``"B"`` or ``"ACE"``.
        language: ``"zh"`` or ``"en"``.
    """
    others = [letter for letter in _LETTERS if letter not in gold]
    match = _match_to_end(text, _PHRASES[language])
    if language == "en":
        if match is None or any(f"{letter}." not in match for letter in gold):
            return False
        return len(gold) == 1 or not any(letter in match for letter in others)
    if match is not None:
        return all(letter in match for letter in gold) and not any(letter in match for letter in others)
    if f"{gold}错，为本题正确答案" in text:
        return True
    return all(f"{letter}对" in text for letter in gold) and not any(
        f"{letter}对" in text for letter in others
    )


def direct(text: str, gold: str) -> bool:
    """Say whether the first of the letters A to E in the answer is the gold letter.

    Several gold letters are never met.
    """
    first = _FIRST_LETTER.search(text)
    return first is not None and first.group() == gold


def _match_to_end(text: str, phrase: str) -> str | None:
    """Return what ``re.search(phrase + '(.*?)$', text)`` matches, in linear time.

    ``$`` also stands before a final line break and ``.`` crosses none, so the phrase must lie on the last
    line; the regular expression would try every occurrence up to the end of its line.
    """
    line = text.removesuffix("\n").rpartition("\n")[2]
    start = line.find(phrase)
    return None if start < 0 else line[start:]
