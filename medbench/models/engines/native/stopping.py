"""When a generated text is complete: stop strings, found as the text grows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

__all__ = ["StopStrings", "cut_at"]

_UNFINISHED = "\ufffd"  # what a tokenizer writes for a character whose bytes are not all there yet


class StopStrings:
    """Watches one text for stop strings, token by token.

    Each step decodes the last few tokens only. A stop string may span tokens and may be a special token.

    Args:
        tokenizer: Decodes tokens.
        stops: The strings; empty ones are ignored.
        counts: Says of the text so far whether stop strings count in it yet; ``None``: always.
    """

    def __init__(
        self, tokenizer: Any, stops: Sequence[str], counts: Callable[[str], bool] | None = None
    ) -> None:
        self._tokenizer = tokenizer
        self._counts = counts
        self._all: list[int] = []
        self._stops = [stop for stop in stops if stop]
        self._longest = max((len(stop) for stop in self._stops), default=0)
        self._tail = ""
        self._ids: list[int] = []
        self._settled = ""  # text of the ids that only give context to later ones

    def add(self, token: int) -> bool:
        """Take the next token; return whether a stop string is now in the text."""
        if not self._stops:
            return False
        self._ids.append(token)
        self._all.append(token)
        text = self._decode(self._ids)
        if text.endswith(_UNFINISHED) and len(self._ids) < 16:
            return False
        self._tail += text[len(self._settled) :]
        found = any(stop in self._tail for stop in self._stops)
        # One token is kept, since some tokenizers write the first token of a text without its space.
        self._ids = self._ids[-1:]
        self._settled = self._decode(self._ids)
        self._tail = self._tail[-(self._longest - 1) :] if self._longest > 1 else ""
        return found and (self._counts is None or self._counts(self._decode(self._all)))

    def _decode(self, tokens: Sequence[int]) -> str:
        return str(
            self._tokenizer.decode(tokens, skip_special_tokens=False, clean_up_tokenization_spaces=False)
        )


def cut_at(text: str, stops: Sequence[str], start: int = 0) -> str:
    """The text before the earliest of the stop strings that stand at ``start`` or behind."""
    ends = [text.find(stop, start) for stop in stops if stop]
    return text[: min((end for end in ends if end >= 0), default=len(text))]
