r"""Where a response reasons and where it answers: only what stands outside of reasoning is ever scored.

Reasoning models write their drafts into a block before the answer. A draft is no answer: text inside a block is
never read, and a response that ends inside one, or right behind one, has not answered. Every function that
scores a response takes its text from :func:`parts`, so that the block is cut once and for all metrics alike.

The marks are those of the models' own chat templates and model cards: tags (``<think>``, ``<seed:think>``,
``◁think▷``, ``[THINK]``), special tokens (``<unused94>``, ``<|begin_of_thought|>``, ``<|START_THINKING|>``,
``<|im_start|>think``), gpt-oss channels, and the headings of HuatuoGPT-o1, Granite and Apriel.
"""

# Chinese characters are counted as two columns here.
# ruff: noqa: E501

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

__all__ = ["Parts", "TagPair", "closing_mark", "is_mark", "is_open", "parts", "split"]

TagPair = tuple[str, str]
"""The marks that open and close a block, such as ``("<a>", "</a>")``."""

_WORD = r"(?:think(?:ing)?|thoughts?|reason(?:ing)?|reflect(?:ion)?|analysis|scratchpad|cot|chain_of_thought|inner_monologue|思考|推理)"
_NAME = rf"(?:[a-z]{{1,12}}[:_-]|ant)?{_WORD}(?:_[a-z0-9_]{{1,64}}|过程)?"
_OF = r"[_▁ ]?(?:of)?[_▁ ]?"
_OPEN = (
    rf"[<＜]\s?{_NAME}(?:\s[^<>\n]{{0,80}})?[>＞]",
    rf"<[|｜](?:(?:begin|start){_OF})?{_WORD}(?:[_▁](?:start|begin))?[|｜]>",
    r"◁\s?think(?:ing)?\s?▷",
    r"\[THINK\]",
    r"<unused94>(?:thought\b)?",
    r"<\|im_start\|>think\b",
    r"<\|channel>\s?thought\b",
    r"<\|channel\|>\s?analysis<\|message\|>",
)
_CLOSE = (
    rf"[<＜]\s?/\s?{_NAME}\s?[>＞]",
    rf"<[|｜](?:end{_OF}|/){_WORD}[|｜]>|<[|｜]{_WORD}[_▁](?:end|stop)[|｜]>",
    r"◁\s?/\s?think(?:ing)?\s?▷",
    r"\[/THINK\]",
    r"<unused95>",
    r"<\|im_start\|>answer\b",
    r"<channel\|>",
)
# What closes a mark whose name does not say it.
_CLOSED_BY = {
    "<unused94>": "<unused95>",
    "<|im_start|>think": "<|im_start|>answer",
    "<|channel>": "<channel|>",
    "<|channel|>": "<|end|><|start|>assistant<|channel|>final<|message|>",
}
# Headings count only where a response begins with them. Without the second, "here is my thought process" are
# ordinary words, whereas a heading of its own is a format that was left unfinished.
_HEADINGS = (
    (
        re.compile(r"\s*#{1,4}\s?(?:Thinking|Reasoning|思考过程?|推理过程?)\s*:?\s*\n", re.IGNORECASE),
        re.compile(
            r"^#{1,4}\s?(?:(?:The\s)?Final\s(?:Response|Answer)|Response|Answer|Conclusion|最终(?:回答|答案)|回答|答案|结论)\b[ \t]*:?",
            re.IGNORECASE | re.MULTILINE,
        ),
        True,
    ),
    (
        re.compile(r"\s*Here(?:'s| is) my thought process:", re.IGNORECASE),
        re.compile(r"Here(?:'s| is) my response:", re.IGNORECASE),
        False,
    ),
    (
        re.compile(r"\s*Here are my reasoning steps:", re.IGNORECASE),
        re.compile(r"\[BEGIN FINAL RESPONSE\]"),
        False,
    ),
)
_CHANNEL = re.compile(
    r"<\|channel\|>\s?(?P<name>\w+)[^<>\n]{0,80}(?:<\|constrain\|>[^<>\n]{0,40})?<\|message\|>"
)
_CHANNEL_END = re.compile(r"<\|(?:end|return|call|start|channel)\|>")
# The same without its special tokens, as a decoder that skips them leaves it.
_BARE_CHANNEL = re.compile(r"\A\s*analysis(?=[A-Z\u4e00-\u9fff])")
_BARE_FINAL = "assistantfinal"
# Around an answer behind a block.
_FRAME = re.compile(
    r"\s*(?:<\|(?:begin|end)_of_solution\|>|<\|(?:START|END)_RESPONSE\|>|\[(?:BEGIN|END) FINAL RESPONSE\])\s*"
)
_WRAPPED = re.compile(
    r"\A\s*<(answer|final_answer|response|output|solution)>\s*(.*?)\s*(?:</\1>\s*)?\Z",
    re.DOTALL | re.IGNORECASE,
)


class Parts(NamedTuple):
    """A response in two.

    Attributes:
        thinking: What stands inside reasoning blocks; ``None`` where there is no block.
        answer: What stands outside. Without a block it is the response, unchanged.
        unfinished: Whether the response ends inside a block.
        start: Where in the response the answer begins; its length where reasoning is all there is.
    """

    thinking: str | None
    answer: str
    unfinished: bool = False
    start: int = 0

    @property
    def lost(self) -> bool:
        """Whether reasoning is all there is: such a response has not answered, and no metric credits it."""
        return self.thinking is not None and not self.answer.strip()


def parts(response: str) -> Parts:
    """Return the parts of what a scorer is given.

    Args:
        response: Text, or a :class:`medbench.models.Response`, which knows its parts from the prompt too.
    """
    known = getattr(response, "parts", None)
    return known if isinstance(known, Parts) else split(response)


def split(text: str, tags: Sequence[TagPair] = (), *, opened: bool = False) -> Parts:
    """Cut reasoning out of a text.

    Args:
        text: What a model wrote.
        tags: Marks of the model's own, beside the known ones.
        opened: Whether the prompt ended inside a block, so that the text begins with reasoning.
    """
    if not opened and (headed := _headed(text)):
        return headed
    if (channels := _channels(text, opened)) is not None:
        return channels
    marks = list(_marks(tuple(tags)).finditer(text))
    return _blocks(text, marks, opened) if marks or opened else Parts(None, text)


def is_open(prompt: str, tags: Sequence[TagPair] = ()) -> bool:
    """Whether a prompt ends with the mark that opens a block, as some chat templates leave it."""
    return _last_mark(prompt.rstrip(), tags) is not None


def closing_mark(text: str, prompt: str = "", tags: Sequence[TagPair] = ()) -> str | None:
    """Return what closes the block in which a response ends, or ``None`` if it ends in none.

    Args:
        text: What a model wrote.
        prompt: What it was asked with, whose end may have opened the block.
        tags: Marks of the model's own.
    """
    if not split(text, tags, opened=is_open(prompt, tags)).unfinished:
        return None
    if _BARE_CHANNEL.match(text):
        return _BARE_FINAL
    marks = [match.group() for match in _marks(tuple(tags)).finditer(text) if match["open"]]
    mark = marks[-1] if marks else _last_mark(prompt.rstrip(), tags)
    return "\n\n## Final Response\n\n" if mark is None else _counterpart(mark, tags)


def is_mark(token: str, tags: Sequence[TagPair] = ()) -> bool:
    """Whether a special token is a mark, which a decoder must not skip."""
    if token in ("<|channel|>", "<|message|>", "<|start|>", "<|end|>", "<|constrain|>"):
        return True
    return _marks(tuple(tags)).fullmatch(token) is not None or _FRAME.fullmatch(token) is not None


@lru_cache(maxsize=16)
def _marks(tags: tuple[TagPair, ...]) -> re.Pattern[str]:
    opening = [*(re.escape(first) for first, _ in tags), *_OPEN]
    closing = [*(re.escape(last) for _, last in tags), *_CLOSE]
    empty = rf"[<＜]\s?{_NAME}\s?/[>＞]"
    return re.compile(
        f"(?P<empty>{empty})|(?P<close>{'|'.join(closing)})|(?P<open>{'|'.join(opening)})", re.IGNORECASE
    )


def _last_mark(text: str, tags: Sequence[TagPair]) -> str | None:
    """The opening mark with which a text ends."""
    tail = text[-200:]
    ends = [mark for mark in _marks(tuple(tags)).finditer(tail) if mark.end() == len(tail)]
    return ends[0].group() if ends and ends[0]["open"] else None


def _counterpart(mark: str, tags: Sequence[TagPair]) -> str:
    """What closes the block that ``mark`` opens, with the line breaks around it that models write."""
    for first, last in tags:
        if mark.casefold() == first.casefold():
            return f"\n{last}\n\n"
    for first, last in _CLOSED_BY.items():
        if mark.startswith(first):
            return last if "channel" in first else f"\n{last}\n"
    if mark.startswith(("<|", "<｜")):
        for first, last in (("begin", "end"), ("BEGIN", "END"), ("start", "end"), ("START", "END")):
            if first in mark:
                return f"\n{mark.replace(first, last)}\n\n"
    name = re.sub(r"(?<=\w)\s[^<>]*(?=[>＞]$)", "", mark)
    return "\n" + re.sub(r"^([<＜◁\[][|｜]?)\s?", r"\1/", name) + "\n\n"


def _blocks(text: str, marks: Sequence[re.Match[str]], opened: bool) -> Parts:
    """Walk from mark to mark, counting how deep in blocks the text is."""
    bounds = [0, *(edge for mark in marks for edge in mark.span()), len(text)]
    pieces = [text[start:stop] for start, stop in zip(bounds[::2], bounds[1::2], strict=True)]
    last = max((number for number, piece in enumerate(pieces) if piece.strip()), default=0)
    depth = int(opened)
    inside: list[str] = []
    outside: list[tuple[str, int]] = []
    fresh = opened  # nothing but white space since a block was opened
    for number, piece in enumerate(pieces):
        if depth:
            inside.append(piece)
        else:
            outside.append((piece, bounds[2 * number]))
        fresh = fresh and not piece.strip()
        if number == len(marks):
            break
        mark = marks[number]
        if mark["open"]:
            # A template that opens a block and a model that opens it once more mean one block.
            depth += not fresh
            fresh = True
        elif mark["close"] and depth:
            depth -= 1
            fresh = False
        elif mark["close"] and (number < last or outside[0][0].strip()):
            # The prompt opened this block. Behind an answer, with nothing after it, the mark is a slip.
            inside += [piece for piece, _ in outside]
            outside = [("", 0)]
    start = next((place for piece, place in outside if piece.strip()), len(text))
    thinking = "\n".join(filter(None, map(str.strip, inside)))
    return Parts(thinking, _answer([piece for piece, _ in outside]), depth > 0, start)


def _answer(outside: Sequence[str]) -> str:
    """What stands outside of blocks, without the marks that frame an answer behind one."""
    text, framed = _FRAME.subn("\n", "\n".join(piece for piece in outside if piece.strip()))
    wrapped = _WRAPPED.match(text)
    if wrapped:
        return wrapped.group(2)
    return text.strip() if framed else text.lstrip()


def _channels(text: str, opened: bool) -> Parts | None:
    """Read gpt-oss's messages: the final channel answers, the others think."""
    final = None
    thinking: list[str] = []
    last = None
    start = len(text)
    for channel in _CHANNEL.finditer(text):
        if last is None and opened:
            thinking.append(_CHANNEL_END.split(text[: channel.start()])[0].strip())
        last = channel["name"].lower()
        end = _CHANNEL_END.search(text, channel.end())
        body = text[channel.end() : end.start() if end else len(text)]
        if last == "final":
            final, start = body, channel.end()
        else:
            thinking.append(body.strip())
    if last is not None:
        return Parts("\n".join(thinking), (final or "").strip(), final is None, start)
    if _BARE_CHANNEL.match(text) is None:
        return None
    drafted, found, answer = text.partition(_BARE_FINAL)
    return Parts(drafted.strip().removeprefix("analysis"), answer.strip(), not found, len(text) - len(answer))


def _headed(text: str) -> Parts | None:
    """Read the formats that mark reasoning with a heading."""
    for opening, closing, binding in _HEADINGS:
        begin = opening.match(text)
        if begin is None:
            continue
        end = closing.search(text, begin.end())
        if end is not None:
            return Parts(
                text[begin.end() : end.start()].strip(), _answer([text[end.end() :]]), start=end.end()
            )
        if binding:
            return Parts(text[begin.end() :].strip(), "", unfinished=True, start=len(text))
    return None
