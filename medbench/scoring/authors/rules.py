"""The answer rules of MING's and MedCare's evaluation scripts, quirks included.

Facts from ``eval_em.py`` of MediaBrain-SJTU/MING (commits eeb2574, 8efa8cb and a9f6b44) and of BlueZeros/MedCare
(commit fcf9a3f). The rules are kept so that scores can be set beside published ones; what an answer says is
read by :mod:`medbench.scoring.extraction`. Two of their regular expressions take quadratic time on long
texts; here every rule is linear.
"""

# Chinese characters are counted as two columns here.
# ruff: noqa: E501

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TypeAlias

__all__ = [
    "Rule",
    "chinese",
    "chinese_april",
    "chinese_cut",
    "direct",
    "english_bare",
    "english_dot",
    "mmedbench_chinese",
    "mmedbench_english",
]

#: A rule: the text as it is scored and the gold letters as one string, to the verdict.
Rule: TypeAlias = Callable[[str, str], bool]

# The scripts know five letters, whatever a question offers.
_LETTERS = "ABCDE"
_CHINESE_PHRASE = "答案为"
_ENGLISH_PHRASE = "The answer is "
# A regular expression, for ignoring case also equates letters beyond ASCII (ı, ſ) with those of the phrase.
_ENGLISH_PHRASE_ANY_CASE = re.compile("the answer is ", re.IGNORECASE)
_FIRST_LETTER = re.compile("[A-E]")


def direct(text: str, gold: str) -> bool:
    """The first of the letters A to E anywhere in the text is the gold string; several letters never are."""
    first = _FIRST_LETTER.search(text)
    return first is not None and first.group() == gold


def chinese(text: str, gold: str) -> bool:
    """May's Chinese rule: after ``答案为`` on the last line all gold letters and no other.

    Without that phrase, ``{gold}错，为本题正确答案``, or every gold letter and no other as ``{letter}对``.
    """
    return _chinese(_tail(text, _CHINESE_PHRASE), text, gold, others=_others(gold), mark="")


def chinese_cut(text: str, gold: str) -> bool:
    """The same, the phrase being looked for before the last run of three line breaks.

    Without the phrase, the whole text counts.
    """
    cut = text.rfind("\n\n\n")
    match = _tail(text if cut < 0 else text[:cut], _CHINESE_PHRASE)
    return _chinese(match, text, gold, others=_others(gold), mark="")


def chinese_april(text: str, gold: str) -> bool:
    """April's Chinese rule: as May's, but other letters count only where the gold has several.

    After the phrase only as ``{letter}.``, with its full stop.
    """
    others = _others(gold) if len(gold) > 1 else ""
    return _chinese(_tail(text, _CHINESE_PHRASE), text, gold, others=others, mark=".")


def english_dot(text: str, gold: str) -> bool:
    """After ``The answer is`` on the last line every gold letter as ``{letter}.``, and with several no other."""
    return _english(text, gold, mark=".")


def english_bare(text: str, gold: str) -> bool:
    """After ``The answer is`` on the last line every gold letter, and with several gold letters no other."""
    return _english(text, gold, mark="")


def mmedbench_english(text: str, gold: str) -> bool:
    """From the first ``the answer is``, in any case, to the first full stop: that must end in ``{gold}.``.

    The first occurrence counts whose line has a later full stop or is the last line.
    """
    match = _first_sentence(text)
    return match is not None and f"{gold}." in match


def mmedbench_chinese(text: str, gold: str) -> bool:
    """After ``答案为`` on the last line the gold string in one piece, whatever else stands there."""
    match = _tail(text, _CHINESE_PHRASE)
    return match is not None and gold in match


def _others(gold: str) -> str:
    return "".join(letter for letter in _LETTERS if letter not in gold)


def _chinese(match: str | None, text: str, gold: str, *, others: str, mark: str) -> bool:
    """Judge what follows the phrase, or the whole text where there is none.

    Args:
        match: What the phrase begins, or ``None``.
        text: The whole text.
        gold: The gold letters.
        others: The letters that must not occur.
        mark: What must follow one of these for it to count, after the phrase.
    """
    if match is not None:
        return all(letter in match for letter in gold) and not any(
            f"{letter}{mark}" in match for letter in others
        )
    if f"{gold}错，为本题正确答案" in text:
        return True
    return all(f"{letter}对" in text for letter in gold) and not any(
        f"{letter}对" in text for letter in others
    )


def _english(text: str, gold: str, *, mark: str) -> bool:
    match = _tail(text, _ENGLISH_PHRASE)
    if match is None or any(f"{letter}{mark}" not in match for letter in gold):
        return False
    return len(gold) == 1 or not any(f"{letter}{mark}" in match for letter in _others(gold))


def _tail(text: str, phrase: str) -> str | None:
    """What ``re.search(phrase + '(.*?)$', text)`` matches, in linear time.

    ``$`` also stands before a final line break and ``.`` crosses none, so the phrase must lie on the last
    line; the regular expression would try every occurrence up to the end of its line.
    """
    line = text.removesuffix("\n").rpartition("\n")[2]
    start = line.find(phrase)
    return None if start < 0 else line[start:]


def _first_sentence(text: str) -> str | None:
    r"""What ``re.search(r'the answer is (.*?)(\.|$)', text, re.IGNORECASE)`` matches, in linear time.

    Where the first phrase of a line has no full stop behind it, no later phrase of the line has one.
    """
    start = 0
    while (found := _ENGLISH_PHRASE_ANY_CASE.search(text, start)) is not None:
        end = text.find("\n", found.end())
        end = len(text) if end < 0 else end
        stop = text.find(".", found.end(), end)
        if stop >= 0:
            return text[found.start() : stop + 1]
        if end >= len(text) - 1:
            return text[found.start() : end]
        start = end
    return None
