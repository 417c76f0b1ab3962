"""Answers given openly: behind a phrase that announces them, alone on a line, at the very beginning."""

# Long alternations are read more easily unbroken.
# ruff: noqa: E501

from __future__ import annotations

import re
from collections.abc import Iterator

from medbench.scoring.extraction.answer import (
    INLINE_LABEL,
    Answer,
    Commitment,
    Strength,
    doubted,
    enumerates,
    judged_beside,
    judgement,
    left_of,
    taken_back,
)
from medbench.scoring.extraction.letters import Letters, read_letters
from medbench.scoring.extraction.options import (
    Spoken,
    clause_ends,
    combined,
    list_of_options,
    option_at,
    option_before,
    own_text_end,
)
from medbench.scoring.extraction.phrases import (
    ANSWER_AFTER,
    CLEAN_END,
    CONTRAST,
    CUE,
    FILLER,
    HEDGED,
    NEGATED,
    NOT,
    POINTED_AT,
    RIGHT_AFTER,
    TURN_END,
    WRONG_BUT_ASKED_FOR,
)
from medbench.scoring.extraction.weighing import HEDGED_BEFORE, conditional

__all__ = ["announced", "called_answer", "lines"]

_COMMA = re.compile(r",?")
_JOINT = re.compile(r"\s?(?:、|,\s?(?:and\s)?|\sand\s|[和与及])\s?")
_BRACKETED_END = re.compile(r"\(\s?([A-J])\s?\)\s?[.。;!]?\s?$")
_NUMBER = re.compile(
    r"\s*(?:(?:\(?\d{1,3}\)?\s?[.、:)]|第\s?\d{1,3}\s?题\s?[.、:]|[①-⑳])\s{0,2}(?=\(?[A-J]))?"
)
_REASONS = re.compile(
    r"\n\s{0,3}\[?(?:(?:(?:答案)?[分解]析|解释|理由|说明|原因)\]?(?=\s?[:\n])|(?:explanation|rationale|reason(?:ing|s)?|justification|analysis|discussion"
    r"|(?:why|(?:the\s)?(?:other|incorrect|wrong)\s(?:options|answers|choices))[^\n]{0,40})\]?\s?(?=[:\n?]))",
    re.IGNORECASE,
)
_SENTENCE_END = re.compile(r"\s?(?:$|[.。!\n])")
# Texts shorter than this may be part of an ordinary sentence.
_TELLING = 4
_SENTENCE = re.compile(r"[^.。;!?\n]{1,400}")


def announced(answer: Answer) -> Iterator[Commitment]:
    """Yield the answers that a phrase before them announces."""
    position = 0
    possible: list[Commitment] = []
    while cue := CUE.search(answer.text, position):
        position = cue.end()
        if taken_back(answer.text, cue.start()):
            continue
        # A comma may follow "so", but not "the answer".
        after = position if cue["says"] else _COMMA.match(answer.text, position).end()  # type: ignore[union-attr]
        filler = FILLER.match(answer.text, after)
        assert filler is not None
        at = filler.end()
        if conditional(answer.text, at):
            continue
        spoken = _words_behind(answer, position, at) if cue["says"] else None
        denied = None if spoken else NOT.match(answer.text, at)
        if denied:
            found = _after_denial(answer, denied.end())
        elif cue["says"]:
            found = _says(answer, at, cue, spoken)
        else:
            found = _turns(answer, at)
        if found is not None and not doubted(answer.text, found.end):
            position = max(position, found.end)
            commitment = Commitment(Strength.ANNOUNCED, found.end, found.letters)
            if HEDGED_BEFORE.search(left_of(answer.text, cue.start())):
                possible.append(commitment)
            else:
                yield commitment
    if len({commitment.letters for commitment in possible}) == 1:
        yield from possible


def called_answer(answer: Answer) -> Iterator[Commitment]:
    """Yield the options whose words are called the answer: ``Doxycycline is the correct answer``."""
    for called in ANSWER_AFTER.finditer(answer.text):
        spoken = option_before(answer.low, called.start(), answer.options)
        if spoken and not taken_back(answer.text, spoken.start) and not doubted(answer.text, called.end()):
            yield Commitment(Strength.ANNOUNCED, spoken.end, frozenset(spoken.letter))


def _says(answer: Answer, at: int, cue: re.Match[str], spoken: Spoken | None) -> Letters | None:
    """Read letters, option words, or a letter pointed at later in the sentence."""
    text, low, options = answer[:3]
    if spoken:
        named, end = list_of_options(low, spoken, options, single=answer.single)
        if NEGATED.match(text, end):
            return None
        if len(named) > 1:
            return Letters(named, spoken.start, end)
        pointed = POINTED_AT.match(text, spoken.end) or POINTED_AT.match(text, spoken.end + 1)
        letter = _group(pointed) if pointed else spoken.letter
        return Letters(frozenset(letter), spoken.start, pointed.end() if pointed else spoken.end)
    letters, end = read_letters(text, low, at, options, small=True)
    if letters is not None:
        if WRONG_BUT_ASKED_FOR.match(text, letters.end):
            return letters
        if judged_beside(text, letters.end, strictly=True) is False:
            return None
        return None if enumerates(answer, letters) or _describes(answer, cue, at, letters) else letters
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


def _words_behind(answer: Answer, start: int, at: int) -> Spoken | None:
    """Find an option's own words behind a cue, unless the cue is followed by letters.

    Args:
        answer: The answer.
        start: Where the cue ends.
        at: Where the filler behind it ends. An option may itself begin with such words ("Both A and B").
    """
    text, low, options = answer[:3]
    for position in range(start, at + 1):
        if position > start and _inside_word(low, position):
            continue
        spoken = option_at(low, position, options)
        if spoken is None or (spoken.end <= at and not clause_ends(low, spoken.end)):
            continue
        run = text[spoken.start : spoken.end].upper()
        known = {option.letter for option in options}
        if set(run) <= known and (len(run) == 1 or not answer.single):
            return None  # a letter is that letter, also where an option has it as its text
        # "C. difficile" may be an option of its own; "C. difficile" under C is the letter.
        labeled = run[0] in known and not text[spoken.start + 1 : spoken.start + 2].isalnum()
        if labeled and own_text_end(low, spoken.start + 1, run[0], options) > spoken.start + 1:
            return None
        return spoken
    return None


def _inside_word(low: str, position: int) -> bool:
    before, here = low[position - 1 : position], low[position : position + 1]
    return before.isascii() and before.isalnum() and here.isascii() and here.isalnum()


def _describes(answer: Answer, cue: re.Match[str], at: int, letters: Letters) -> bool:
    """Whether ``answer choice B …`` goes on to talk about the option instead of choosing it."""
    between = answer.text[cue.end() : at]
    announcing = re.search(r"[是为选应:=(\[{\n→>\"-]|\b(?:is|are|be|must|would|should)\b|'s", between)
    chinese = not cue.group().isascii()
    return not announcing and not chinese and not CLEAN_END.match(answer.text, letters.end)


def _turns(answer: Answer, at: int) -> Letters | None:
    """Read letters behind a mere "so" or "it is": only if the clause ends with them."""
    letters, _ = read_letters(answer.text, answer.low, at, answer.options)
    if letters is None:
        return _turns_to_words(answer, at)
    if not (letters.own or TURN_END.match(answer.text, letters.end)):
        return None
    return None if RIGHT_AFTER.match(answer.text, letters.end) else letters


def _turns_to_words(answer: Answer, at: int) -> Letters | None:
    """Read the words of options behind a mere "so", if the sentence ends with them."""
    spoken = option_at(answer.low, at, answer.options)
    if spoken is None or len(answer.low[spoken.start : spoken.end]) < _TELLING:
        return None
    named, end = list_of_options(answer.low, spoken, answer.options, single=answer.single)
    return Letters(named, spoken.start, end) if _SENTENCE_END.match(answer.text, end) else None


def _after_denial(answer: Answer, at: int) -> Letters | None:
    """Read B in "not A but B"."""
    _, end = read_letters(answer.text, answer.low, at, answer.options, small=True)
    contrast = CONTRAST.match(answer.text, end) if end > at else None
    if contrast is None:
        return None
    letters, _ = read_letters(answer.text, answer.low, contrast.end(), answer.options)
    return letters


def _group(match: re.Match[str]) -> str:
    return next(group for group in match.groups() if group).upper()


def lines(answer: Answer) -> Iterator[Commitment]:
    """Yield lines that are nothing but letters, and letters at the very beginning."""
    text = answer.text
    alone: list[Commitment] = []
    labeled: list[Letters] = []
    position = filled = 0
    for line in text.split("\n"):
        stripped = line.strip()
        if stripped:
            filled += 1
            at = position + _after_number(line)
            # Only this line: a list that ran on through all that follow would be read again from each.
            stop = position + len(line)
            letters, _ = read_letters(text[:stop], answer.low[:stop], at, answer.options, small=True)
            if named := _named(answer, at, stop):
                labeled.append(named)
            elif letters is not None and letters.start - at <= 12:
                rest = text[letters.end : position + len(line)].strip(" .。,;:!)]}\"'吧")
                if not rest and letters.own:
                    labeled.append(letters)
                elif not rest:
                    alone.append(Commitment(Strength.ANNOUNCED, letters.end, letters.letters))
        position += len(line) + 1
    known = {option.letter for option in answer.options}
    if filled == len(labeled) + len(alone) > 1:
        # A list of options, by letter or with their words: a choice unless it is the whole question.
        union = frozenset().union(*(c.letters for c in alone), *(found.letters for found in labeled))
        if union != known:
            yield Commitment(Strength.ANNOUNCED, len(text), union)
        return
    yield from alone
    if len(labeled) == 1 and filled == 1:
        yield Commitment(Strength.ANNOUNCED, labeled[0].end, labeled[0].letters)
    yield from _opening(answer)


def _after_number(line: str) -> int:
    """Where a line begins, its number left out: ``1. B``."""
    number = _NUMBER.match(line)
    assert number is not None
    return number.end()


def _named(answer: Answer, start: int, stop: int) -> Letters | None:
    """Read a line that is an option's words and its letter in brackets: ``Doxycycline (C)``."""
    line = _BRACKETED_END.search(answer.text, max(start, stop - 20), stop)
    if line is None:
        return None
    words = answer.low[start : line.start()].strip(" .。,;:!\"'")
    known = any(option.letter == line.group(1) and option.own == words for option in answer.options)
    return Letters(frozenset(line.group(1)), start, stop, own=True) if known else None


def _opening(answer: Answer) -> Iterator[Commitment]:
    """Yield the letters with which a text begins, unless they begin a list or are judged at once."""
    text = answer.text
    letters, _ = read_letters(text, answer.low, 0, answer.options, small=False)
    if letters is not None:
        if answer.single and len(combined(letters.letters, answer.options)) > 1:
            return  # as in "A, B and C are seen in measles. D is not."
        labels = list(_labels(text))
        # Options are listed from A on; who goes back to A has answered before.
        answered = letters.own and labels[:1] == list(letters.letters) and labels[1:2] < labels[:1]
        first = set() if answered else {option.letter for option in answer.options} & set(labels)
        ends = text[letters.end : letters.end + 1] in ("", *".。,;:!、)\n-") or CLEAN_END.match(
            text, letters.end
        )
        judged = (
            RIGHT_AFTER.match(text, letters.end) is not None
            or judgement(text, letters.end) is not None
            or judged_beside(text, letters.end) is not None
            or HEDGED.match(text, letters.end) is not None
            or doubted(text, letters.end)
        )
        if (letters.own or ends) and len(first | letters.letters) == len(letters.letters) and not judged:
            yield Commitment(Strength.OPENING, letters.end, letters.letters)
        return
    yield from _opening_words(answer)


def _opening_words(answer: Answer) -> Iterator[Commitment]:
    """Yield the options with whose words a text begins: ``Doxycycline.``, ``Doxycycline (C): …``, ``腹痛、腹泻``."""
    spoken = option_at(answer.low, 0, answer.options)
    if spoken is None:
        return
    text, end = answer.text, spoken.end
    pointed = POINTED_AT.match(text, end) or POINTED_AT.match(text, end + 1)
    named, stop = list_of_options(answer.low, spoken, answer.options, single=answer.single)
    if len(named) > 1:
        end = stop
        named = combined(named, answer.options) if answer.single else named
        if answer.single and len(named) > 1:
            return
    elif pointed and _group(pointed) == spoken.letter:
        end = pointed.end()
    if _lists_more(answer, spoken) and len(named) == 1 and end == spoken.end:
        return
    if end == len(text) or text[end] in ".。,;:!\n":
        yield Commitment(Strength.OPENING, end, named)


def _lists_more(answer: Answer, spoken: Spoken) -> bool:
    """Whether more options are named in the same breath: ``Fever, cough and rash are …``."""
    joint = _JOINT.match(answer.low, spoken.end)
    return joint is not None and option_at(answer.low, joint.end(), answer.options) is not None


def _labels(text: str) -> Iterator[str]:
    """Yield the letters that label options at the beginning of a line, or anywhere in the first line.

    Further on, below a heading for reasons, and behind words as in ``digoxin (A) slows the rate``, options are only spoken of.
    """
    reasons = _REASONS.search(text)
    text = text[: reasons.start()] if reasons else text
    first = text.find("\n") if "\n" in text else len(text)
    for label in INLINE_LABEL.finditer(text):
        at = label.start(1)
        line = text.rfind("\n", 0, at) + 1
        begins = not text[line:at].strip(" (-•+")
        spoken_of = text[at - 1 : at] == "(" and text[max(0, at - 3) : at - 1].strip()[-1:].isalnum()
        if begins or (at < first and not spoken_of):
            yield label.group(1)
