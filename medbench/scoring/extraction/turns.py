"""Where a response stops answering and goes on with questions and turns that nobody asked for.

Base models, and chat models that miss their end token, continue the pattern of the prompt: another question, its
options, its answer. None of that is an answer to the question that was asked.
"""

# Chinese characters are counted as two columns here.
# ruff: noqa: E501

from __future__ import annotations

import re

from medbench.scoring.extraction.options import Option
from medbench.scoring.extraction.tidy import fold, lowered

__all__ = ["first_exam", "own_turn"]

_LEAD = r"^[ \t>*_\-]{0,6}(?:\#{1,6}[ \t]*)?[\[【(（<「*_ ]{0,4}(?:\d{1,3}[.、)）][ \t]*)?"
_TRAIL = r"[\]】)）>」*_ ]{0,4}"
_NUMBER = r"(?:\d{1,4}|[一二三四五六七八九十百]{1,4})"
_QUESTION = rf"""
    (?:now,?[ ])?(?:here(?:'s|[ ]is)[ ])?(?:an?[ ]|the[ ])?(?:(?:next|new|another|following|additional|sample|practice|follow[ -]?up)[ ])?
      question(?:[ ]?(?:no\.?[ ]?|number[ ])?\#?\d{{1,4}}(?:[ ]of[ ]\d{{1,4}})?)?{_TRAIL}[ ]?(?:[:：]|$)
  | question[ ]?\#?\d{{1,4}}{_TRAIL}[.)、]
  | q[ ]?\d{{0,4}}{_TRAIL}[:：] | q[ ]?\d{{1,4}}{_TRAIL}[.)、]
  | (?:problem|exercise|example|mcq)[ ]?\#?\d{{1,4}}{_TRAIL}[:：.)]
  | (?:下一个?|下一道|另一个?|另一道|新的?|练习|例|试|考|单选|多选|选择|原)?
      (?:题目|问题|题干|习题|试题|考题|例题|题|问|提问){_NUMBER}?{_TRAIL}[ ]?[:：]
  | (?:题目|问题|题干|例题|试题|下一题)[】\]]
  | 例[ ]?{_NUMBER}[ ]?[:：] | instruction{_TRAIL}[ ]?[:：]
  | 第[ ]?{_NUMBER}[ ]?[道个]?题{_TRAIL}(?:[ ]?[:：.、]|[ ]|$)
"""
_HEADING = r"\#{1,6}[ \t]*(?:question|instruction|input|prompt|问题|题目|指令|输入)s?\b[^\n]{0,20}$"
_SPEAKER = (
    rf"(?:human|user|student|asker|questioner|用户|人类|学生|提问者|提问人|问题人)(?:[ ]\d{{1,2}})?{_TRAIL}[ ]?[:：]"
    r"|\#{1,6}[ \t]*(?:human|user|用户|人类)\b"
)
_SPECIAL = (
    r"<\|im_start\|>(?!\s*(?:assistant|think|answer)\b) | <\|im_end\|> | <\|(?:endoftext|end_of_text|eot_id|eos|end|user|human|prompter)\|>"
    r"| <[|｜](?:User|end▁of▁sentence)[|｜]> | <\|start_header_id\|>\s*(?!assistant)\w | <start_of_turn>\s*(?!model)\w | <end_of_turn> | <eos> | </s>(?![^\n]{0,200}<s>) | \[INST\]"
)
_MARK = re.compile(
    rf"(?P<question>{_LEAD}(?:{_QUESTION}))|(?P<speaker>{_LEAD}(?:{_SPEAKER})|^[ \t]*{_HEADING})|(?P<special>{_SPECIAL}|^(?:user|human)[ \t]*$)",
    re.IGNORECASE | re.MULTILINE | re.VERBOSE,
)
# A question of an exam: a stem, options on lines of their own, and behind them a line that announces an answer.
_LABEL = r"[ \t]*\(?{}\s?[.、:：)．][ \t]*"
_EXAM = re.compile(
    rf"^(?P<stem>[^\n]{{4,}})\n{{1,3}}{_LABEL.format('A')}(?P<a>[^\n]+)\n{{1,2}}{_LABEL.format('B')}(?P<b>[^\n]+)",
    re.MULTILINE,
)
_STEM_END = re.compile(
    r"[?？:：_]\s*$|[(（]\s*[)）]|下列|以下|哪|除外|是\s*$|\b(?:which|what|following|except|most likely)\b",
    re.IGNORECASE,
)
_ANSWER_LINE = re.compile(
    r"^[ \t]*(?:correct\s)?(?:answer|ans|答案|正确答案|答)\s?[:：]", re.IGNORECASE | re.MULTILINE
)
_INLINE = re.compile(r"(?<=[.。!?\s])(?:Question|Human|User|题目|用户|人类)\s?\d{0,4}\s?[:：]")
_LIKE = 16  # characters by which a repeated question is recognized


def own_turn(text: str, question: str) -> str:
    """Return what a response says before it goes on with another question or somebody else's turn.

    The question that was asked may be repeated, and a response may begin with such a repetition.

    Args:
        text: The response, without reasoning.
        question: The question that was asked; empty if unknown.
    """
    for mark in _MARK.finditer(text):
        before = text[: mark.start()]
        if mark["question"] and (_repeats(text[mark.end() :], question) or not (question or before.strip())):
            continue
        return before
    return text


def first_exam(text: str, options: tuple[Option, ...]) -> str:
    """Return what stands before signs of another question that are sure only behind an answer.

    They are a question with options that are not the document's own, and a mark of :func:`own_turn` in the
    middle of a line.
    """
    ends = [len(text)]
    own = {option.letter: option.text for option in options}
    announced = max((line.end() for line in _ANSWER_LINE.finditer(text)), default=0)
    for exam in _EXAM.finditer(text):
        foreign = all(
            not own.get(letter) or lowered(own[letter])[:_LIKE] not in fold(exam[group])
            for letter, group in (("A", "a"), ("B", "b"))
        )
        if foreign and _STEM_END.search(exam["stem"][-200:]) and announced > exam.end():
            ends.append(exam.start())
            break
    if inline := _INLINE.search(text):
        ends.append(inline.start())
    return text[: min(ends)]


def _repeats(text: str, question: str) -> bool:
    said, asked = _bare(text[:400]), _bare(question[:2000])
    return bool(asked) and bool(said) and (said.startswith(asked[:_LIKE]) or said[:_LIKE] in asked)


def _bare(text: str) -> str:
    return re.sub(r"[\W_]+", "", text).casefold()
