"""Generated text that knows how it came about."""

from __future__ import annotations

from collections.abc import Sequence

from medbench.scoring.reasoning import Parts, TagPair, split

__all__ = ["Response"]


class Response(str):
    """A generated answer. Anything that takes a string takes it; scoring may ask for more.

    As a string it is what was said outside of reasoning, since that alone is ever scored: by our own
    functions, by filters and metrics of lm-eval, and by code that a task brings along.

    Attributes:
        raw: The whole text, reasoning included.
        parts: The same in parts.
        truncated: Whether generation ran into its token limit.
        first_pass: The text of the first pass, reasoning included.
        second_pass: The text of the second pass; ``None`` if there was none.
        closed: Whether reasoning that had run into the limit was closed, and the answer asked for.
        thinking_tokens: Number of tokens of the reasoning; ``None`` if nobody counted.
    """

    raw: str
    parts: Parts
    truncated: bool
    first_pass: str
    second_pass: str | None
    closed: bool
    thinking_tokens: int | None

    __slots__ = ("closed", "first_pass", "parts", "raw", "second_pass", "thinking_tokens", "truncated")

    def __new__(
        cls,
        text: str,
        *,
        truncated: bool = False,
        first_pass: str | None = None,
        second_pass: str | None = None,
        closed: bool = False,
        tags: Sequence[TagPair] = (),
        opened: bool = False,
    ) -> Response:
        """Make a response.

        Args:
            text: All that was written.
            truncated: Whether generation ran into its token limit.
            first_pass: The text of the first pass; ``None``: all of it.
            second_pass: The text of the second pass, with which ``text`` ends.
            closed: Whether reasoning that had run into the limit was closed.
            tags: Marks of the model's own around reasoning.
            opened: Whether the prompt ended inside a reasoning block.
        """
        first = text if first_pass is None else first_pass
        parts = split(text, tags, opened=opened)
        if parts.unfinished and second_pass is not None and text.startswith(first):
            # What was appended to unfinished reasoning asks for the answer: it is no part of the reasoning.
            parts = split(first, tags, opened=opened)._replace(answer=text[len(first) :].lstrip())
        response = super().__new__(cls, parts.answer)
        response.raw = text
        response.parts = parts
        response.truncated = truncated
        response.first_pass = first
        response.second_pass = second_pass
        response.closed = closed
        response.thinking_tokens = None
        return response

    def __reduce__(self) -> tuple[object, ...]:
        return (_restore, (str(self), {name: getattr(self, name) for name in self.__slots__}))


def _restore(answer: str, attributes: dict[str, object]) -> Response:
    response = str.__new__(Response, answer)
    for name, value in attributes.items():
        setattr(response, name, value)
    return response
