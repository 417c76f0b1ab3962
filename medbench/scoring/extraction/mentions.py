"""What an answer says of letters and options in passing: verdicts, asides, an option's own words."""

# Chinese characters are counted as two columns here.
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
from medbench.scoring.extraction.options import Spoken, spoken_options
from medbench.scoring.extraction.phrases import (
    ANSWER_AFTER,
    APART,
    CALLED_WRONG,
    CLAUSE_BREAK,
    CLEAN_END,
    NEGATED,
    RECOMMENDS,
    RIGHT_AFTER,
    SETS_ASIDE,
    TURN,
    VERDICT_MARK,
    WRONG_BUT_ASKED_FOR,
    WRONG_ONE_IS,
    WRONG_ONES,
)
from medbench.scoring.extraction.weighing import HEDGED_BEFORE, conditional, ranked

__all__ = ["curt", "mentions", "words"]

_RIGHT = 120
# In a text of this length a lone mention of an option is the answer; in a longer one it may be an aside.
_SHORT = 160
_CURT = 40
_MENTION = re.compile(
    r"(?<![A-Za-z0-9\-])(?:选项\s?|[Oo]ptions?\s|[Cc]hoices?\s)?[\"'(\[]{0,2}[A-J](?![a-z0-9]|'[A-Za-z])"
)
_NAMED = re.compile(
    r"\b(?:vitamin|vit\.?|hepatitis|hep\.?|type|group|influenza|class|factor|protein|complement|grade|stage|category|immunoglobulin|serotype|strain"
    r"|phase|figure|table|model|interferon|toxin|amphotericin|polymyxin|cyclosporine?|coenzyme|receptor|section|level|cyclin"
    r"|troponin|apolipoprotein|child-pugh|lead|blood|case|patient|drug|plan|part|step)\s$"
    r"|(?:维生素|维他命|甲型|乙型|流感|型|蛋白|因子|免疫球蛋白|肌钙蛋白|患者|病人|图|表|药物|方案|组|干扰素|辅酶|补体|毒素)\s?$",
    re.IGNORECASE,
)
_LOOSE = re.compile(
    r"(?:\b(?:is|are|be)(?:\s(?:option|choice))?|首选|[是为选]|考虑(?:为|是)?|[:→])\s?$", re.IGNORECASE
)
_DECORATION = re.compile(r"(?:选项|options?|choices?)?[\s\"'(\[]{0,6}$", re.IGNORECASE)
# Another letter, which is no option, is named in the same breath; or all but this one.
_JOINED = re.compile(r"[A-Z]\s?(?:和|与|及|或|、|/|&|\b(?:and|or)\b)\s?$|\b[Ee]xcept(?:\sfor)?\s?$|除了?\s?$")
# The answer to a question with several right answers may be all of them.
EVERY_ONE = re.compile(
    r"全选|[三四五六]项全[都是]?[对选是]|全部(?:选择|入选|正确|都?对|都?是)|(?:以上|上述|所有)(?:选项|各项|说法|五项|几项|全部)?(?:[都均皆全]{1,2})(?:是|对|正确|符合)"
    r"|\ball\s(?:of\s)?(?:the\s|these\s)?(?:above|options|choices|statements|of\sthem)?\s?(?:are\s)?(?:correct|right|true)\b|^all\s(?:of\s)?the\sabove\.?$"
)
# "The wrong treatment is …", "The exception is …".
WRONG_IS = re.compile(
    r"(?:错误|不正确|不对|不当|不属于|不包括|有误|不恰当|例外)[^,.。;\n]{0,12}(?:是|为)[:\s\"]{0,2}$|\b(?:exception|odd\sone(?:\sout)?|false\sone|wrong\sone)\s(?:here\s)?(?:is|would\sbe)\s(?:an?\s|the\s)?\"?$",
    re.IGNORECASE,
)
_SEPARATOR = re.compile(r"[\s,;、/&+]{0,4}(?:(?:and|or)\b|[和与及或])?\s{0,2}", re.IGNORECASE)


def mentions(answer: Answer) -> Iterator[Commitment]:
    """Yield what the text says about letters wherever they occur."""
    text = answer.text
    turns = [turn.end() for turn in TURN.finditer(text)]
    marked = _marked(text)
    right: dict[str, int] = {}
    wrong: dict[str, int] = {}
    set_apart = [apart.span() for apart in APART.finditer(text)]
    better = ranked(text)
    set_apart += [(start, end) for start, end, _ in better]
    merely: list[Commitment] = []
    possible: set[frozenset[str]] = set()
    for mention, denied in _letter_mentions(answer):
        if any(start <= mention.start < stop for start, stop in set_apart):
            continue
        letters, end = mention.letters, mention.end
        supposed = taken_back(text, mention.start) or conditional(text, mention.start)
        turned = any(0 <= mention.start - turn <= _RIGHT for turn in turns)
        hedged = HEDGED_BEFORE.search(_before(text, mention.start)) is not None
        if hedged:
            possible.add(letters)
        verdict = marked.get(mention.start, False if denied else _verdict(text, end, supposed))
        if WRONG_BUT_ASKED_FOR.match(text, end) and not supposed:
            yield Commitment(Strength.ANNOUNCED, end, letters)
        elif verdict is False:
            for letter in letters:
                right.pop(letter, None)
                if CALLED_WRONG.match(text, end) or not NEGATED.match(text, end):
                    wrong[letter] = end
        elif verdict is None and doubted(text, end):
            continue
        elif (match := ANSWER_AFTER.match(text, end)) and not supposed:
            if not doubted(text, match.end()):
                yield Commitment(Strength.ANNOUNCED, end, letters)
        elif verdict is True:
            if turned:
                yield Commitment(Strength.ANNOUNCED, end, letters)
            right |= dict.fromkeys(letters, end)
        elif not supposed and CLEAN_END.match(text, end) and not enumerates(answer, mention):
            strength = _passing(answer, mention, turned)
            if strength == Strength.MENTION and hedged:
                merely.append(Commitment(strength, end, letters))
            elif strength is not None:
                yield Commitment(strength, end, letters)
    if len(possible) == 1:
        yield from merely
    if not right:
        right |= {letter: end for _, end, letter in better}
    for apart in APART.finditer(text):
        letter = (apart["zh"] or apart["all_but"] or apart["but"]).upper()
        if apart["no"]:
            right[letter] = apart.end()
        elif answer.asks_for_wrong:
            wrong[letter] = apart.end()
        elif apart["yes"] and not answer.single:
            others = [option.letter for option in answer.options if option.letter != letter]
            right |= dict.fromkeys(others, apart.end())
    chosen = right
    # Asked for the wrong one, some write "A wrong" of the answer, others of everything but the answer: the rarer
    # verdict is the choice.
    if answer.asks_for_wrong and wrong and (not right or len(wrong) <= len(right)):
        chosen = wrong
    if chosen:
        yield Commitment(Strength.VERDICT, max(chosen.values()), frozenset(chosen))


def _marked(text: str) -> dict[int, bool]:
    """What marks in front of options say of them, by where the options begin.

    A mark in the middle of a line may belong to what precedes it, unless the text begins with one.
    """
    marks = list(VERDICT_MARK.finditer(text))
    leading = bool(marks) and not text[: marks[0].start()].strip()
    return {mark.end(): mark["yes"] is not None for mark in marks if leading or mark["begins"] is not None}


def _letter_mentions(answer: Answer) -> Iterator[tuple[Letters, bool]]:
    """Yield every list of letters that is not part of a name, and whether a denial follows it."""
    text, low, options = answer[:3]
    position = 0
    while found := _MENTION.search(text, position):
        letters, stop = read_letters(text, low, found.start(), options)
        position = max(found.end(), stop)
        bracketed = found.group().startswith("(")
        if not bracketed and _NAMED.search(text[max(0, found.start() - 20) : found.start()]):
            continue
        if letters is not None:
            yield letters, False
        if letters is None or letters.end < stop:
            # What a denial cut off.
            start = found.start() if letters is None else letters.end
            rest, _ = read_letters(text[:stop], low[:stop], _skip_separator(text, start), options)
            if rest is not None:
                yield rest, NEGATED.match(text, stop) is not None


def _skip_separator(text: str, position: int) -> int:
    separator = _SEPARATOR.match(text, position)
    assert separator is not None
    return separator.end()


def _verdict(text: str, end: int, supposed: bool) -> bool | None:
    """Whether the text calls the letters before ``end`` right or wrong, or ``None``."""
    beside = judged_beside(text, end)
    if beside is not None:
        return beside
    right = RIGHT_AFTER.match(text, end)
    if right is not None:
        return None if supposed or doubted(text, right.end()) else True
    return judgement(text, end)


def _passing(answer: Answer, mention: Letters, turned: bool) -> Strength | None:
    """Say how much a letter at the end of a clause counts."""
    text = answer.text
    left = _before(text, mention.start)
    if WRONG_ONE_IS.search(left):
        return Strength.WRONG_ONE
    if WRONG_ONES.search(left):
        return Strength.WRONG_ONE if answer.asks_for_wrong else None
    if turned and not INLINE_LABEL.match(text, mention.start):
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


def _before(text: str, start: int) -> str:
    return _DECORATION.sub("", left_of(text, start))


def _sentence_around(text: str, start: int, end: int) -> str:
    """Return the sentence that holds ``text[start:end]``, at most a few lines of it."""
    left = re.split(r"[.。;!?\n]\s|[。;!?\n]", text[max(0, start - 2 * _RIGHT) : start])[-1]
    right = re.split(r"[.。;!?\n]\s|[。;!?\n]", text[end : end + _RIGHT])[0]
    return left + text[start:end] + right


def words(answer: Answer) -> Iterator[Commitment]:
    """Yield the one option whose words the text uses without denying them."""
    text, low, options = answer[:3]
    whole = low.strip(" .。,;:!\"'")
    for option in options:
        if option.text and option.text == whole:
            yield Commitment(Strength.WORDS, len(text), frozenset(option.letter))
            return
    if not answer.single and len(text) <= _CURT and _names_every_one(text, low):
        yield Commitment(Strength.WORDS, len(text), frozenset(option.letter for option in options))
        return
    if answer.asks_for_wrong and (called := _called_wrong(answer)):
        yield Commitment(Strength.WORDS, len(text), called)
        return
    if answer.asks_for_wrong and len(text) > _CURT:
        # Every option is discussed on the way to the wrong one.
        return
    denied = {
        letter
        for mention, denial in _letter_mentions(answer)
        for letter in mention.letters
        if denial or taken_back(text, mention.start)
    }
    spoken = [
        found
        for found in spoken_options(text, low, options)
        if found.letter not in denied and _recommended(text, found)
    ]
    if len({found.letter for found in spoken}) == 1:
        yield Commitment(Strength.WORDS, spoken[-1].end, frozenset(spoken[-1].letter))


def _names_every_one(text: str, low: str) -> bool:
    found = EVERY_ONE.search(low)
    return found is not None and not taken_back(text, found.start())


def _called_wrong(answer: Answer) -> frozenset[str]:
    """The one option whose words are called wrong, which is what was asked for."""
    called = frozenset(
        spoken.letter
        for spoken in spoken_options(answer.text, answer.low, answer.options)
        if (
            CALLED_WRONG.match(answer.text, spoken.end) or WRONG_IS.search(left_of(answer.text, spoken.start))
        )
        and not taken_back(answer.text, spoken.start)
    )
    return called if len(called) == 1 else frozenset()


def curt(answer: Answer) -> Iterator[Commitment]:
    """Yield the one letter that a short text speaks of without denying it: ``Definitely C!``."""
    if len(answer.text) > _CURT:
        return
    found = list(_letter_mentions(answer))
    letters = {letter for mention, _ in found for letter in mention.letters}
    if len(letters) != 1 or any(_set_aside(answer.text, mention, denied) for mention, denied in found):
        return
    yield Commitment(Strength.WORDS, found[-1][0].end, frozenset(letters))


def _set_aside(text: str, mention: Letters, denied: bool) -> bool:
    left = _before(text, mention.start)
    return (
        denied
        or _JOINED.search(left) is not None
        or taken_back(text, mention.start)
        or conditional(text, mention.start)
        or doubted(text, mention.end)
        or NEGATED.match(text, mention.end) is not None
        or judged_beside(text, mention.end) is False
        or WRONG_ONES.search(left) is not None
    )


def _recommended(text: str, spoken: Spoken) -> bool:
    """Whether an option's words are used to answer: alone in a short text, or in a sentence that recommends."""
    if taken_back(text, spoken.start) or NEGATED.match(text, spoken.end) or doubted(text, spoken.end):
        return False
    if conditional(text, spoken.start):
        return False
    sentence = _sentence_around(text, spoken.start, spoken.end)
    clause = CLAUSE_BREAK.split(left_of(text, spoken.start))[-1]
    if SETS_ASIDE.search(clause):
        return False
    if len(text) <= _SHORT:
        return True
    return not SETS_ASIDE.search(sentence) and RECOMMENDS.search(sentence) is not None
