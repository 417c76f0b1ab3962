"""Generated text that knows how it came about."""

from __future__ import annotations

from collections.abc import Sequence

from medbench.scoring.reasoning import Parts, TagPair, split


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
        closed: Whether reasoning that was left unfinished was closed, and the answer asked for.
        thinking_tokens: Number of tokens of the reasoning, 0 where there is none; ``None`` if nobody counted.
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
        closing: str = "",
        tags: Sequence[TagPair] = (),
        opened: bool = False,
    ) -> Response:
        """Make a response.

        Args:
            text: All that was written.
            truncated: Whether generation ran into its token limit.
            first_pass: The text of the first pass; ``None``: all of it.
            second_pass: The text of the second pass, with which ``text`` ends.
            closing: What closed reasoning that was left unfinished, behind the first pass.
            tags: Marks of the model's own around reasoning.
            opened: Whether the prompt ended inside a reasoning block.
        """
        first = text if first_pass is None else first_pass
        parts = split(text, tags, opened=opened)
        if second_pass is not None and text.startswith(first) and _unfinished(first, tags, opened):
            # What was appended to unfinished reasoning asks for the answer: it is no part of the reasoning.
            drafted = split(first, tags, opened=opened).thinking
            parts = split(text[len(first) + len(closing) :].lstrip(), tags)
            parts = parts._replace(thinking="\n".join(filter(None, (drafted, parts.thinking))))
        response = super().__new__(cls, parts.answer)
        response.raw = text
        response.parts = parts
        response.truncated = truncated
        response.first_pass = first
        response.second_pass = second_pass
        response.closed = bool(closing)
        response.thinking_tokens = None if parts.thinking else 0
        return response

    @property
    def answered(self) -> bool:
        """Whether anything was said outside of reasoning."""
        return bool(self.strip())

    def __reduce__(self) -> tuple[object, ...]:
        return (_restore, (str(self), {name: getattr(self, name) for name in self.__slots__}))


def _unfinished(text: str, tags: Sequence[TagPair], opened: bool) -> bool:
    return split(text, tags, opened=opened).unfinished


def _restore(answer: str, attributes: dict[str, object]) -> Response:
    response = str.__new__(Response, answer)
    for name, value in attributes.items():
        setattr(response, name, value)
    return response
