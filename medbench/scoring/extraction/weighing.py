"""Options weighed against each other: set aside beside another, ranked, or merely possible."""

# Long alternations are read more easily unbroken.
# ruff: noqa: E501

from __future__ import annotations

import re

__all__ = ["HEDGED_BEFORE", "conditional", "ranked", "without_asides"]

_LETTERS = r"(?:options?\s|choices?\s|选项\s?)?\(?[A-J]\)?(?:(?:\s?[,、/&]\s?|\s?(?:,\s)?(?:and|or)\s|[和与及或])\(?[A-J]\)?(?![A-Za-z])){0,8}\s?(?:选项|项)?"
# What an option is only compared with: "Unlike options A, C, and D, option B …".
_ASIDE = re.compile(
    rf"\b(?:unlike|in\scontrast\s(?:to|with)|as\sopposed\sto|(?:when\s)?compared\s(?:to|with))\s{_LETTERS}\s?,"
    rf"|(?:[与和同跟]{_LETTERS}(?:相比|不同|比较|相较)|(?:相比于|相较于|比起|较之){_LETTERS})[,:]",
    re.IGNORECASE,
)
_OPTION = r"(?<![A-Za-z0-9])(?:option\s|choice\s|选项\s?)?\(?(?P<{}>(?-i:[A-J]))\)?(?:选项|项)?"
_BETTER = r"(?:更(?!不|难)|要|还)[^\s,.。;!?]{0,6}(?:合适|恰当|适合|适宜|准确|符合|全面|合理|好|佳|优|对|正确|可靠|贴切)"
_RANKED = re.compile(
    rf"{_OPTION.format('zh')}(?:比|较){_OPTION.format('_1')}{_BETTER}"
    rf"|{_OPTION.format('over')}(?:明显|显然)?(?:优于|好于|胜过){_OPTION.format('_2')}(?![A-Za-z0-9])"
    rf"|{_OPTION.format('_3')}(?:不如|劣于|没有(?=[^,.。;]{{1,4}}(?:合适|恰当|好|准确))){_OPTION.format('under')}(?![A-Za-z0-9])"
    rf"|{_OPTION.format('en')}\s(?:is|seems|looks|would\sbe|fits)\s(?:a\s|the\s|much\s|far\s|clearly\s){{0,2}}(?:better|preferable|superior|stronger|more\s[a-z]{{4,14}}|likelier)"
    rf"(?:\s(?:choice|option|answer|fit))?\s(?:than|to)\s{_OPTION.format('_4')}(?![A-Za-z0-9])",
    re.IGNORECASE,
)
#: What makes the letters that follow merely possible.
HEDGED_BEFORE = re.compile(
    r"(?:可能|也许|或许|大概|似乎)(?:[也还会]|应该|考虑)?(?:是|为|选)?\s?$"
    r"|\b(?:may|might|could|can|perhaps|maybe|possibly)(?:\s(?:also|be|it\sis|is|well)){0,3}\s?$",
    re.IGNORECASE,
)
_IF = re.compile(
    r"\s*(?:(?:but|however|and|although|only),?\s)?(?:if(?!\sI\s(?:had|have|must|were|need)\b[^,]{0,12}\b(?:choose|pick|guess|select|answer)\b)|had|were|suppose|supposing|unless|in\scase)\b",
    re.IGNORECASE,
)
_WOULD = re.compile(r"\b(?:would|might|could)\b", re.IGNORECASE)


def without_asides(text: str) -> str:
    """Blank out letters that another option is only compared with; places stay as they are."""
    return _ASIDE.sub(lambda aside: " " * (len(aside.group()) - 1) + ",", text)


def ranked(text: str) -> list[tuple[int, int, str]]:
    """Find options that are called better than another, unless they are called worse than a third.

    Returns:
        Where each comparison begins and ends, and the letter of the better one.
    """
    found = []
    worse: set[str] = set()
    for match in _RANKED.finditer(text):
        better = match["zh"] or match["over"] or match["under"] or match["en"]
        worse |= {letter for letter in match.groups() if letter} - {better}
        found.append((*match.span(), better))
    return [(start, end, better) for start, end, better in found if better not in worse]


def conditional(text: str, at: int) -> bool:
    """Whether what stands at a place would be right in another case: ``If …, the answer would be C``."""
    sentence = re.split(r"[.。;!?]\s|[。;!?\n]", text[max(0, at - 250) : at])[-1]
    supposed, comma, clause = sentence.rpartition(",")
    clause += text[at : at + len("C would ")]
    return bool(comma) and _IF.match(supposed) is not None and _WOULD.search(clause) is not None
