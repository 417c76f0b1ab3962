"""Reading a list of option letters: ``B``, ``(b)``, ``ACE``, ``A、C和E``, ``options A, C, and E``, ``A-C``."""

# Chinese characters are counted as two columns here.
# ruff: noqa: E501

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from medbench.scoring.extraction.options import Option, own_text_end
from medbench.scoring.extraction.phrases import (
    CLEAN_END,
    ENGLISH_FOLLOWERS,
    NEGATED,
    TERM_AFTER,
    VERDICT_BESIDE,
)

__all__ = ["Letters", "read_letters"]

_OPEN = r"\s{0,3}(?:(?:选项|options?\b|choices?\b|letters?\b|answers?\b)\s{0,2})?[\"'(\[{<]{0,3}\s?"
_CLOSE = r"(?:\s?[\"')\]}>]{1,3})?(?:\s?(?:(?:两|二|三|四|五|这几)?(?:选项|项|个选项)))?"
_ITEM = re.compile(
    _OPEN + r"(?P<run>[A-J]{1,10})(?![A-Za-z0-9]|'[A-Za-z])(?P<close>" + _CLOSE + ")", re.IGNORECASE
)
_STRONG = re.compile(
    r"\s?(?:[,、]?\s?(?:and/or\b|and\b|or\b|以及|及|和|与|或者|或|还有|跟)|[、/&+])\s?|(?<=\))\s?(?=\([A-J]\))",
    re.IGNORECASE,
)
_WEAK = re.compile(r"\s?[,;]\s?|[ \t]{1,2}(?=[A-J](?![A-Za-z0-9]))|\n(?:[-•+]\s)?(?=\(?[A-J][.、:)])")
_RANGE = re.compile(r"\s?(?:-|~|至|到)\s?")
# B (metoprolol) is …; option B, metoprolol, is …
_ASIDE = re.compile(
    r"\s?\((?!\s?[A-J]\s?\))[^()\n]{1,120}\)|,\s(?!(?:and|or|but|not)\b|[A-J]\b)[^,.;\n]{2,80},(?=\s(?:is|are|would)\b)"
)
_WORD = re.compile(r"\s([a-z]+)")
_PLURAL = re.compile(r"\b(?:are|were)\b|[均都皆全]")
_CURT_VERDICT = re.compile(r"\s(?:wrong|incorrect|false|right|correct|true)\s?(?=$|[,.;!)\n])")


class Letters(NamedTuple):
    """Letters read from ``start`` to ``end``; ``own`` when an option's own text followed its letter."""

    letters: frozenset[str]
    start: int
    end: int
    own: bool = False


class _Group(NamedTuple):
    """Letters up to a comma or an ``and``, behind which a new clause might begin."""

    letters: frozenset[str]
    end: int
    own: bool
    clause: int  # number of the clause that semicolons set apart
    joined: bool  # by "and" or the like to what precedes

    def extended(self, letters: Iterable[str], end: int, own: bool) -> _Group:
        """Return the group with more letters, up to ``end``."""
        return _Group(self.letters.union(letters), end, self.own or own, self.clause, self.joined)


def read_letters(
    text: str, low: str, position: int, options: Sequence[Option], *, small: bool = False
) -> tuple[Letters | None, int]:
    """Read the list of letters that begins at ``position``.

    A list that a denial follows loses its last clause: in ``A, and B is wrong`` only A is meant.

    Args:
        text: The tidied answer.
        low: The same, case-folded.
        position: Where the list may begin.
        options: The options of the document.
        small: Whether lower-case letters count, as they do behind ``answer:``.

    Returns:
        The letters (``None`` if there are none, or all are denied) and how far was read.
    """
    known = {option.letter for option in options}
    groups: list[_Group] = []
    weak = joined = False
    clause = 0
    start = end = position
    while True:
        item = _ITEM.match(text, end)
        run = _run(item, text, low, known, options, small) if item else None
        if item is None or run is None:
            break
        at = item.end()
        own = at
        if len(run) == 1:
            own = own_text_end(low, at, run[0], options)
            if own == at and item["close"]:
                own = own_text_end(low, item.start("close"), run[0], options)
        if not groups:
            start = item.start("run")
        after = max(at, own)
        judged = len(run) == 1 and VERDICT_BESIDE.match(text, after) is not None
        if own == at and len(run) == 1 and not judged and (aside := _ASIDE.match(text, at)):
            after = aside.end()
        if groups and not weak:
            groups[-1] = groups[-1].extended(run, after, own > at)
        else:
            groups.append(_Group(frozenset(run), after, own > at, clause, joined))
        if judged:
            break
        span = _RANGE.match(text, after)
        if span and len(run) == 1 and own == at:
            upper = _ITEM.match(text, span.end())
            if upper and len(upper["run"]) == 1 and upper["run"] in known and upper["run"] > run[0]:
                between = [letter for letter in sorted(known) if run[0] < letter <= upper["run"]]
                groups[-1] = groups[-1].extended(between, upper.end(), False)
                after = upper.end()
        strong = _STRONG.match(text, after)
        separator = strong or _WEAK.match(text, after)
        if separator is None:
            break
        # "and" may also begin a new clause: A, and B is wrong.
        clause += ";" in separator.group()
        joined = strong is not None
        weak = any(mark in separator.group() for mark in ",; \n") and "、" not in separator.group()
        end = separator.end()
    if not groups:
        return None, position
    stop = groups[-1].end
    kept = _without_denied(text, start, groups)
    if not kept:
        return None, stop
    letters = frozenset[str]().union(*(group.letters for group in kept))
    return Letters(letters, start, kept[-1].end, any(group.own for group in kept)), stop


def _run(
    item: re.Match[str], text: str, low: str, known: set[str], options: Sequence[Option], small: bool
) -> str | None:
    """Return the letters of one item, or ``None`` if they are a word, a term or no option."""
    raw, end = item["run"], item.end("run")
    run = raw.upper()
    if len(set(run)) < len(run) or not set(run) <= known:
        return None
    if len(run) == 1 and own_text_end(low, end, run, options) > end:
        return run
    after = text[end : end + 1]
    if (
        after == "-"
        and re.match(r"-[^\W_]", text[end : end + 2])
        and not re.match(r"-[A-J](?![A-Za-z])", text[end:])
        and not VERDICT_BESIDE.match(text, end)
    ):
        return None
    if TERM_AFTER.match(text, end):
        return None
    if raw != run:
        if not small or not (text[end : end + 1] in "、/" or CLEAN_END.match(text, end)):
            return None
        if len(run) > 1 and run.isascii() and _WORD.match(text, end):
            return None
    word = _WORD.match(low, end)
    if _CURT_VERDICT.match(low, end):
        return run
    if word and word.group(1) not in ENGLISH_FOLLOWERS and text[word.start(1)].islower():
        return None
    return run


def _without_denied(text: str, start: int, groups: list[_Group]) -> list[_Group]:
    """Drop the last clause of a list while something is said about it alone.

    A denial in the plural is of all letters with which its sentence begins: ``A, B, and D are wrong``.
    """
    kept = list(groups)
    if denial := NEGATED.match(text, kept[-1].end):
        opener = text[max(0, start - 3) : start].strip(" ([\"'")
        if _PLURAL.search(denial.group()) and (not opener or opener[-1] in ".。;!?:"):
            return [group for group in kept if group.clause < kept[-1].clause]
        before = [group for group in kept if group.clause < kept[-1].clause]
        # "C, A and B are wrong": what is joined is denied together.
        together = 2 if _PLURAL.search(denial.group()) and kept[-1].joined and len(kept) > 2 else 1
        return before or kept[:-together]
    while len(kept) > 1 and not kept[-1].own and not CLEAN_END.match(text, kept[-1].end):
        kept.pop()
    return kept
