"""Gold answers as announced by explanations: a second source to check the gold letters against."""

from __future__ import annotations

import re

__all__ = ["announced_gold"]

# "Ans. is 'c'", "Ans. a. 10 seconds", "The correct answer is (B)", "正确答案：AC" at the beginning.
# A letter counts only if it stands alone: "Answer: A patient with …" announces nothing.
_ANNOUNCED = re.compile(
    r"""\W*(?:
        (?i:(?:the\s+)?(?:correct\s+|right\s+)?ans(?:wer)?\b\W{0,4}(?:is\b\W{0,3})?(?:option\b\W{0,3})?)
        (?:(?<=['‘"“(])([a-jA-J])(?=['’")”])
           |([a-j])(?=[.)])
           |([A-J]{1,10})(?=[ \t]*(?:\Z|[\n.,;:()\]。，；：（）-]|i\.?e\b)))
      | (?:本题)?(?:正确|标准|参考)?答案(?:应?为|是|应?选|[:：])\s*([A-J]{1,10})(?![A-Za-z0-9])
    )""",
    re.VERBOSE,
)


def announced_gold(rationale: str) -> str:
    """The letters that the beginning of an explanation calls right; empty if it names none.

    Letters out of their order are no answer: "DB, D, C, A" lists the parts of a question.
    """
    found = _ANNOUNCED.match(rationale)
    letters = next(filter(None, found.groups())).upper() if found else ""
    return letters if list(letters) == sorted(set(letters)) else ""
