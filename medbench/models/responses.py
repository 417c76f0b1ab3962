"""Generated text that knows how it came about."""

from __future__ import annotations

__all__ = ["Response"]


class Response(str):
    """A generated text. Anything that takes a string takes it; scoring may ask for more.

    Attributes:
        truncated: Whether generation ran into its token limit.
        first_pass: The text of the first pass.
        second_pass: The text of the second pass; ``None`` if there was none.
    """

    truncated: bool
    first_pass: str
    second_pass: str | None

    __slots__ = ("first_pass", "second_pass", "truncated")

    def __new__(
        cls,
        text: str,
        *,
        truncated: bool = False,
        first_pass: str | None = None,
        second_pass: str | None = None,
    ) -> Response:
        """Make a response; without ``first_pass`` the whole text is the first pass."""
        response = super().__new__(cls, text)
        response.truncated = truncated
        response.first_pass = text if first_pass is None else first_pass
        response.second_pass = second_pass
        return response

    def __reduce__(self) -> tuple[object, ...]:
        return (_restore, (str(self), self.truncated, self.first_pass, self.second_pass))


def _restore(text: str, truncated: bool, first_pass: str, second_pass: str | None) -> Response:
    return Response(text, truncated=truncated, first_pass=first_pass, second_pass=second_pass)
