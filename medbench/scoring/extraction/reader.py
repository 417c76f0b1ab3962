r"""Which answer a text commits to.

A text is searched for commitments of falling strength: an announced answer (``答案为B``, ``The answer is B``,
``\boxed{B}``, ``B is the correct answer``, a line that is only ``B``), a letter at the very beginning, a
verdict (``B正确``), a passing mention (``…the drug of choice is B.``), and last the words of exactly one
option. The strongest kind decides; within it, the last commitment.
"""

# Chinese characters are counted as two columns here.
# ruff: noqa: E501

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from enum import IntEnum
from typing import NamedTuple

from medbench.scoring.extraction.letters import Letters, read_letters
from medbench.scoring.extraction.options import (
    Option,
    Spoken,
    fold_options,
    option_at,
    own_text_end,
    spoken_options,
)
from medbench.scoring.extraction.phrases import (
    ANSWER_AFTER,
    ASKS_FOR_WRONG,
    CALLED_WRONG,
    CLAUSE_BREAK,
    CLEAN_END,
    CONTRAST,
    CUE,
    FILLER,
    NEGATED,
    NEGATED_BEFORE,
    NOT,
    POINTED_AT,
    QUESTION,
    RECOMMENDS,
    RIGHT_AFTER,
    SETS_ASIDE,
    TURN,
    TURN_END,
    VERDICT_LATER,
    WRONG_BUT_ASKED_FOR,
    WRONG_ONE_IS,
    supposes,
)
from medbench.scoring.extraction.tidy import tidy

__all__ = ["read"]

_LEFT = 60
_RIGHT = 120
# In a text of this length a lone mention of an option is the answer; in a longer one it may be an aside.
_SHORT = 160
_CURT = 40
_MENTION = re.compile(
    r"(?<![A-Za-z0-9\-])(?:选项\s?|[Oo]ptions?\s|[Cc]hoices?\s)?[\"'(\[]{0,2}[A-J](?![a-z0-9'])"
)
_LABEL = re.compile(
    r"^[ \t]*(?:[-+•]\s?)?(?:选项|[Oo]ption\s|[Cc]hoice\s)?\(?([A-J])(?:\)|选项|项)?[ \t]?[.、:),-]",
    re.MULTILINE,
)
_INLINE_LABEL = re.compile(r"(?:^|[\s;。])\(?([A-J])[.、:)]\s{0,2}(?=\S)")
_NAMED = re.compile(
    r"\b(?:vitamin|hepatitis|type|group|influenza|class|factor|protein|complement|grade|stage|category|immunoglobulin|serotype|strain"
    r"|phase|figure|table|model|interferon|toxin|amphotericin|polymyxin|cyclosporine?|coenzyme|receptor|section|level|cyclin"
    r"|troponin|apolipoprotein|child-pugh|lead|blood|case|patient|drug|plan|part|step)\s$"
    r"|(?:维生素|维他命|甲型|乙型|流感|型|蛋白|因子|免疫球蛋白|肌钙蛋白|患者|病人|图|表|药物|方案|组|干扰素|辅酶|补体|毒素)\s?$",
    re.IGNORECASE,
)
_LOOSE = re.compile(
    r"(?:\b(?:is|are|be)(?:\s(?:option|choice))?|首选|[是为选]|考虑(?:为|是)?|[:→])\s?$", re.IGNORECASE
)
_DECORATION = re.compile(r"(?:选项|options?|choices?)?[\s\"'(\[]{0,6}$", re.IGNORECASE)
_COMMA = re.compile(r",?")
_SEPARATOR = re.compile(r"[\s,;、/&+]{0,4}(?:(?:and|or)\b|[和与及或])?\s{0,2}", re.IGNORECASE)
_SENTENCE = re.compile(r"[^.。;!?\n]{1,400}")


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


class _Answer(NamedTuple):
    """A tidied answer beside its case-folded form, and what was asked."""

    text: str
    low: str
    options: tuple[Option, ...]
    asks_for_wrong: bool
    last_labels: dict[str, int]


def read(text: str, letters: Sequence[str], options: Sequence[str] = (), question: str = "") -> str:
    """Return the letters that an answer commits to, sorted, or ``""``.

    Args:
        text: The answer.
        letters: The option letters of the document.
        options: The option texts, in the same order; without them only letters are read.
        question: The question; if it asks for the wrong statement, the one called wrong is the answer.
    """
    tidied = tidy(text)
    texts = list(options) or [""] * len(letters)
    answer = _Answer(
        tidied,
        _lower(tidied),
        fold_options(letters, texts),
        ASKS_FOR_WRONG.search(question) is not None,
        {label.group(1): label.start() for label in _LABEL.finditer(tidied)},
    )
    commitments = [*_announced(answer), *_lines(answer), *_mentions(answer)]
    if not commitments:
        commitments = list(_words(answer))
    if not commitments:
        return ""
    best = max(commitment.strength for commitment in commitments)
    final = max((c for c in commitments if c.strength == best), key=lambda c: c.position)
    return "".join(sorted(final.letters))


def _lower(text: str) -> str:
    """Fold case without moving a character."""
    low = text.casefold()
    return low if len(low) == len(text) else "".join(c.lower() if len(c.lower()) == 1 else c for c in text)


# --- announced answers ---------------------------------------------------------------------------------


def _announced(answer: _Answer) -> Iterator[Commitment]:
    """Yield the answers that a phrase before them announces."""
    position = 0
    while cue := CUE.search(answer.text, position):
        position = cue.end()
        if _taken_back(answer.text, cue.start()):
            continue
        # A comma may follow "so", but not "the answer".
        after = position if cue["says"] else _COMMA.match(answer.text, position).end()  # type: ignore[union-attr]
        filler = FILLER.match(answer.text, after)
        assert filler is not None
        at = filler.end()
        denied = NOT.match(answer.text, at)
        if denied:
            found = _after_denial(answer, denied.end())
        elif cue["says"]:
            found = _says(answer, at, cue)
        else:
            found = _turns(answer, at)
        if found is not None and not _doubted(answer.text, found.end):
            position = max(position, found.end)
            yield Commitment(Strength.ANNOUNCED, found.end, found.letters)


def _says(answer: _Answer, at: int, cue: re.Match[str]) -> Letters | None:
    """Read letters, option words, or a letter pointed at later in the sentence."""
    text, low, options = answer[:3]
    spoken = option_at(low, at, options)
    # "C. difficile" may be an option of its own; "C. difficile" under C is the letter.
    if spoken and not (
        text[at : at + 1] in "ABCDEFGHIJ" and own_text_end(low, at + 1, text[at], options) > at + 1
    ):
        pointed = POINTED_AT.match(text, spoken.end) or POINTED_AT.match(text, spoken.end + 1)
        if NEGATED.match(text, spoken.end):
            return None
        letter = _group(pointed) if pointed else spoken.letter
        return Letters(frozenset(letter), spoken.start, pointed.end() if pointed else spoken.end)
    letters, end = read_letters(text, low, at, options, small=True)
    if letters is not None:
        if WRONG_BUT_ASKED_FOR.match(text, letters.end):
            return letters
        return None if _enumerates(answer, letters) or _describes(answer, cue, at, letters) else letters
    if end > at or WRONG_BUT_ASKED_FOR.match(text, at):
        return None
    if not re.search(r"[是为:=]|\b(?:is|are|be)\b|'s", text[cue.end() : at]):
        return None
    sentence = _SENTENCE.match(text, at)
    if sentence is None:
        return None
    pointed_at = {_group(match) for match in POINTED_AT.finditer(sentence.group())}
    known = {option.letter for option in options}
    if len(pointed_at) == 1 and pointed_at <= known:
        return Letters(frozenset(pointed_at), at, sentence.end())
    return None


def _describes(answer: _Answer, cue: re.Match[str], at: int, letters: Letters) -> bool:
    """Whether ``answer choice B …`` goes on to talk about the option instead of choosing it."""
    between = answer.text[cue.end() : at]
    announced = re.search(r"[是为选应:=(\[{\n→>\"-]|\b(?:is|are|be|must|would|should)\b|'s", between)
    chinese = not cue.group().isascii()
    return not announced and not chinese and not CLEAN_END.match(answer.text, letters.end)


def _turns(answer: _Answer, at: int) -> Letters | None:
    """Read letters behind a mere "so" or "it is": only if the clause ends with them."""
    letters, _ = read_letters(answer.text, answer.low, at, answer.options)
    if letters is None or not (letters.own or TURN_END.match(answer.text, letters.end)):
        return None
    return None if RIGHT_AFTER.match(answer.text, letters.end) else letters


def _after_denial(answer: _Answer, at: int) -> Letters | None:
    """Read B in "not A but B"."""
    _, end = read_letters(answer.text, answer.low, at, answer.options, small=True)
    contrast = CONTRAST.match(answer.text, end) if end > at else None
    if contrast is None:
        return None
    letters, _ = read_letters(answer.text, answer.low, contrast.end(), answer.options)
    return letters


def _taken_back(text: str, start: int) -> bool:
    """Whether what stands left of a cue supposes or denies it."""
    left = text[max(0, start - _LEFT) : start]
    breaks = list(CLAUSE_BREAK.finditer(left))
    clause = left[breaks[-1].end() :] if breaks else left
    opener = breaks[-1].group() if breaks else ""
    return supposes(clause) or NEGATED_BEFORE.search(clause) is not None or opener == "而非"


def _doubted(text: str, end: int) -> bool:
    return QUESTION.match(text, end) is not None


def _group(match: re.Match[str]) -> str:
    return next(group for group in match.groups() if group).upper()


def _enumerates(answer: _Answer, letters: Letters | _Mention) -> bool:
    """Whether the letters are labels of a list of options and not a choice."""
    text = answer.text
    everything = letters.letters == {option.letter for option in answer.options} and len(answer.options) > 1
    if everything and letters.own:
        return True
    start = text.rfind("\n", 0, letters.start) + 1
    if not _LABEL.match(text, start) or text[start : letters.start].strip(" ([-•"):
        return False
    return any(last > start for label, last in answer.last_labels.items() if label not in letters.letters)


# --- lines ---------------------------------------------------------------------------------------------


def _lines(answer: _Answer) -> Iterator[Commitment]:
    """Yield lines that are nothing but letters, and letters at the very beginning."""
    text = answer.text
    alone: list[Commitment] = []
    labelled: list[Letters] = []
    position = lines = 0
    for line in text.split("\n"):
        stripped = line.strip()
        if stripped:
            lines += 1
            at = position + len(line) - len(line.lstrip())
            # Only this line: a list that ran on through all that follow would be read again from each.
            stop = position + len(line)
            letters, _ = read_letters(text[:stop], answer.low[:stop], at, answer.options, small=True)
            if letters is not None and letters.start - at <= 12:
                rest = text[letters.end : position + len(line)].strip(" .。,;:!)]}\"'")
                if not rest and letters.own:
                    labelled.append(letters)
                elif not rest:
                    alone.append(Commitment(Strength.ANNOUNCED, letters.end, letters.letters))
        position += len(line) + 1
    known = {option.letter for option in answer.options}
    if lines == len(labelled) + len(alone) > 1:
        # A list of options, by letter or with their words: a choice unless it is the whole question.
        union = frozenset().union(*(c.letters for c in alone), *(found.letters for found in labelled))
        if union != known:
            yield Commitment(Strength.ANNOUNCED, len(text), union)
        return
    yield from alone
    if len(labelled) == 1 and lines == 1:
        yield Commitment(Strength.ANNOUNCED, labelled[0].end, labelled[0].letters)
    yield from _opening(answer)


def _opening(answer: _Answer) -> Iterator[Commitment]:
    """Yield the letters with which a text begins, unless they begin a list or are judged at once."""
    text = answer.text
    letters, _ = read_letters(text, answer.low, 0, answer.options, small=False)
    if letters is not None:
        labels = {label.group(1) for label in _INLINE_LABEL.finditer(text)}
        first = {option.letter for option in answer.options} & labels
        ends = text[letters.end : letters.end + 1] in ("", *".。,;:!、)\n-") or CLEAN_END.match(
            text, letters.end
        )
        judged = RIGHT_AFTER.match(text, letters.end) or _judgement(text, letters.end) is not None
        if (letters.own or ends) and len(first | letters.letters) == len(letters.letters) and not judged:
            yield Commitment(Strength.OPENING, letters.end, letters.letters)
        return
    spoken = option_at(answer.low, 0, answer.options)
    if spoken and (spoken.end == len(text) or text[spoken.end] in ".。,;:!\n"):
        yield Commitment(Strength.OPENING, spoken.end, frozenset(spoken.letter))


# --- mentions ------------------------------------------------------------------------------------------


def _mentions(answer: _Answer) -> Iterator[Commitment]:
    """Yield what the text says about letters wherever they occur."""
    text = answer.text
    turns = [turn.end() for turn in TURN.finditer(text)]
    right: dict[str, int] = {}
    wrong: dict[str, int] = {}
    for mention in _letter_mentions(answer):
        letters, end = mention.letters, mention.end
        supposed = _taken_back(text, mention.start)
        turned = any(0 <= mention.start - turn <= _RIGHT for turn in turns)
        judgement = _judge(text, mention, supposed)
        if WRONG_BUT_ASKED_FOR.match(text, end) and not supposed:
            yield Commitment(Strength.ANNOUNCED, end, letters)
        elif judgement is False:
            for letter in letters:
                right.pop(letter, None)
                if CALLED_WRONG.match(text, end) or not NEGATED.match(text, end):
                    wrong[letter] = end
        elif mention.denied or _doubted(text, end):
            continue
        elif (match := ANSWER_AFTER.match(text, end)) and not supposed:
            if not _doubted(text, match.end()):
                yield Commitment(Strength.ANNOUNCED, end, letters)
        elif judgement is True:
            if turned:
                yield Commitment(Strength.ANNOUNCED, end, letters)
            right |= dict.fromkeys(letters, end)
        elif not supposed and CLEAN_END.match(text, end) and not _enumerates(answer, mention):
            strength = _passing(text, mention, turned)
            if strength is not None:
                yield Commitment(strength, end, letters)
    chosen = right
    # Asked for the wrong one, some write "A wrong" of the answer, others of everything but the answer: the rarer
    # verdict is the choice.
    if answer.asks_for_wrong and wrong and (not right or len(wrong) <= len(right)):
        chosen = wrong
    if chosen:
        yield Commitment(Strength.VERDICT, max(chosen.values()), frozenset(chosen))


class _Mention(NamedTuple):
    """Letters somewhere in the text; ``denied`` when they are followed by a denial."""

    letters: frozenset[str]
    start: int
    end: int
    own: bool
    denied: bool


def _letter_mentions(answer: _Answer) -> Iterator[_Mention]:
    """Yield every list of letters that is not part of a name."""
    text, low, options = answer[:3]
    position = 0
    while found := _MENTION.search(text, position):
        letters, stop = read_letters(text, low, found.start(), options)
        position = max(found.end(), stop)
        bracketed = found.group().startswith("(")
        if not bracketed and _NAMED.search(text[max(0, found.start() - 20) : found.start()]):
            continue
        if letters is not None:
            yield _Mention(letters.letters, letters.start, letters.end, letters.own, False)
        if letters is None or letters.end < stop:
            # What a denial cut off.
            start = found.start() if letters is None else letters.end
            rest, _ = read_letters(text[:stop], low[:stop], _skip_separator(text, start), options)
            if rest is not None:
                yield _Mention(
                    rest.letters, rest.start, rest.end, rest.own, NEGATED.match(text, stop) is not None
                )


def _skip_separator(text: str, position: int) -> int:
    separator = _SEPARATOR.match(text, position)
    assert separator is not None
    return separator.end()


def _judge(text: str, mention: _Mention, supposed: bool) -> bool | None:
    """Whether the text calls the letters right or wrong, or ``None``."""
    if mention.denied:
        return False
    right = RIGHT_AFTER.match(text, mention.end)
    if right is not None:
        return None if supposed or _doubted(text, right.end()) else True
    return _judgement(text, mention.end)


def _passing(text: str, mention: _Mention, turned: bool) -> Strength | None:
    """Say how much a letter at the end of a clause counts."""
    left = _DECORATION.sub("", text[max(0, mention.start - _LEFT) : mention.start])
    if WRONG_ONE_IS.search(left):
        return Strength.WRONG_ONE
    if turned and not _INLINE_LABEL.match(text, mention.start):
        return Strength.ANNOUNCED
    if _LOOSE.search(left):
        return Strength.MENTION
    bracketed = re.search(
        r"\((?:option\s|选项\s?)?$", text[max(0, mention.start - 10) : mention.start], re.IGNORECASE
    )
    sentence = _sentence_around(text, mention.start, mention.end)
    if bracketed and RECOMMENDS.search(sentence) and not SETS_ASIDE.search(sentence):
        return Strength.MENTION
    return None


def _sentence_around(text: str, start: int, end: int) -> str:
    """Return the sentence that holds ``text[start:end]``, at most a few lines of it."""
    left = re.split(r"[.。;!?\n]\s|[。;!?\n]", text[max(0, start - 2 * _RIGHT) : start])[-1]
    right = re.split(r"[.。;!?\n]\s|[。;!?\n]", text[end : end + _RIGHT])[0]
    return left + text[start:end] + right


def _judgement(text: str, end: int) -> bool | None:
    """Read a verdict that the sentence about a letter ends with: ``B. 阿司匹林，……，该说法正确``."""
    sentence = re.match(r"[^。;!?\n]{0,200}", text[end:])
    found = list(VERDICT_LATER.finditer(sentence.group())) if sentence else []
    if not found:
        return None
    return not (found[-1]["no"] or found[-1]["no_en"])


# --- words ---------------------------------------------------------------------------------------------


def _words(answer: _Answer) -> Iterator[Commitment]:
    """Yield the one option whose words the text uses without denying them."""
    text, low, options = answer[:3]
    whole = low.strip(" .。,;:!\"'")
    for option in options:
        if option.text and option.text == whole:
            yield Commitment(Strength.WORDS, len(text), frozenset(option.letter))
            return
    if answer.asks_for_wrong and len(text) > _CURT:
        # Every option is discussed on the way to the wrong one.
        return
    denied = {
        letter
        for m in _letter_mentions(answer)
        for letter in m.letters
        if m.denied or _taken_back(text, m.start)
    }
    spoken = [
        found
        for found in spoken_options(low, options)
        if found.letter not in denied and _recommended(text, found)
    ]
    if len({found.letter for found in spoken}) == 1:
        yield Commitment(Strength.WORDS, spoken[-1].end, frozenset(spoken[-1].letter))


def _recommended(text: str, spoken: Spoken) -> bool:
    """Whether an option's words are used to answer: alone in a short text, or in a sentence that recommends."""
    if _taken_back(text, spoken.start) or NEGATED.match(text, spoken.end) or _doubted(text, spoken.end):
        return False
    sentence = _sentence_around(text, spoken.start, spoken.end)
    clause = CLAUSE_BREAK.split(text[max(0, spoken.start - _LEFT) : spoken.start])[-1]
    if SETS_ASIDE.search(clause):
        return False
    if len(text) <= _SHORT:
        return True
    return not SETS_ASIDE.search(sentence) and RECOMMENDS.search(sentence) is not None
