"""One spelling for what an answer may write in many: full-width letters, markup, quotes."""

# Chinese characters are counted as two columns here.
# ruff: noqa: E501

from __future__ import annotations

import re
import unicodedata

__all__ = ["HEAD", "TAIL", "bare", "fold", "lowered", "tidy"]

HEAD = 2_000
TAIL = 8_000
"""Characters read at the two ends of an answer. What a model says after thousands of words of repetition is in
the tail; reading all of a megabyte would only cost time."""


def _translation() -> dict[int, str]:
    table = {code: chr(code - 0xFEE0) for code in range(0xFF01, 0xFF5F)}  # full-width ASCII
    table |= {code: chr(code - 0x24B6 + 65) for code in range(0x24B6, 0x24D0)}  # circled A-Z
    for first in (0x249C, 0x24D0):  # bracketed and circled a-z
        table |= {first + i: chr(65 + i) for i in range(26)}
    for first in (0x1F110, 0x1F130, 0x1F150, 0x1F170):  # bracketed, squared and negative A-Z
        table |= {first + i: chr(65 + i) for i in range(26)}
    for code in range(0x1D400, 0x1D6A4):  # mathematical bold, italic, sans, …
        table[code] = unicodedata.normalize("NFKC", chr(code))
    table |= dict.fromkeys(map(ord, "“”„‟「」『』《》〈〉«»‹›｢｣"), '"')
    table |= dict.fromkeys(map(ord, "‘’‚‛′´"), "'")
    table |= dict.fromkeys(map(ord, "【〔〖［⟦"), "[") | dict.fromkeys(map(ord, "】〕〗］⟧"), "]")
    table |= dict.fromkeys(map(ord, "∶︰﹕"), ":") | {
        ord("|"): " ",
        ord("﹑"): "、",
        ord("､"): "、",
        ord("｡"): "。",
    }
    table |= dict.fromkeys(map(ord, "—–−―"), "-") | {0x3000: " ", 0xA0: " "}
    # The traditional forms of the characters that phrases are made of.
    table |= dict(
        zip(
            map(ord, "選擇應為錯對確項題個說敘嗎綜論實際還無誤關顯與"),
            "选择应为错对确项题个说叙吗综论实际还无误关显与",
            strict=True,
        )
    )
    # Emphasis and invisible characters carry no answer.
    table |= dict.fromkeys(map(ord, "*`$#_\u200b\u200c\u200d\u2060\ufeff\u00ad"), "")
    return table


_TRANSLATION = _translation()
_BOXED = re.compile(r"\\f?box(?:ed)?\s?\{")
_LATEX_STYLE = re.compile(r"\\(?:text|math|operator)[a-z]{0,6}\s?\{|\\(?:rm|bf|mbox|quad|qquad|left|right)\b")
_ANSWER_TAG = re.compile(
    r"<\s?(?:(?:final[ _-]?)?(?:answer|choice|option)|(?:最终)?(?:答案|选项|选择))\s?>", re.IGNORECASE
)
# <D> holds a letter, unless </D> makes it a tag; <b> is a tag of HTML.
_TAG = re.compile(
    r"</?[a-zA-Z][^<>\n]{1,40}>|<([a-zA-Z])>(?=[^<>]{0,200}</\1>)|</[a-zA-Z]>|<[ibpsuq]>|</[\u4e00-\u9fff]{1,8}>"
)
_SMALL_OPTION = re.compile(
    r"\b(?:option|choice)\s\(?[a-j](?=\)|[.,;:!\n]|$|\s(?:is|was|seems|because|since|as)\b)", re.IGNORECASE
)
_BLANKS = re.compile(r"[ \t]{2,}|\t")


def tidy(text: str) -> str:
    r"""Return the part of an answer that counts, in plain characters.

    ``\boxed{`` becomes ``answer: ``. Line breaks and letter case are kept.
    """
    if len(text) > HEAD + TAIL:
        text = f"{text[:HEAD]}\n{text[-TAIL:]}"
    text = _BOXED.sub(" answer: ", text)
    text = _LATEX_STYLE.sub(" ", text)
    text = _ANSWER_TAG.sub("\nanswer: ", text)
    text = _TAG.sub(" ", text)
    text = text.translate(_TRANSLATION).replace("\\", " ").replace("\r\n", "\n").replace("\r", "\n")
    text = _BLANKS.sub(" ", text).strip()
    return _SMALL_OPTION.sub(lambda option: option.group()[:-1] + option.group()[-1].upper(), text)


def bare(text: str) -> str:
    """Return a text tidied, on one line and without outer punctuation."""
    return re.sub(r"\s+", " ", tidy(text)).strip(" .。;,:!\"'")


def fold(text: str) -> str:
    """Return a text as options are compared: bare, and without letter case."""
    return lowered(bare(text))


def lowered(text: str) -> str:
    """Fold case without moving a character."""
    low = text.casefold()
    return low if len(low) == len(text) else "".join(c.lower() if len(c.lower()) == 1 else c for c in text)
