"""A generation request: how its tokens are chosen, when it ends, its state in between, and its answer."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor

from medbench.errors import ModelError
from medbench.models.engines.native.decoding import Processors
from medbench.models.engines.native.prefixes import Prefix
from medbench.models.routing.counts import CreditSpan

_UNFINISHED = "\ufffd"  # decoded in place of a character whose bytes are incomplete

FinishReason = Literal["eos", "stop", "length"]


class Generation(NamedTuple):
    """What a prompt was continued with.

    Attributes:
        token_ids: The new tokens; with ``eos`` the last is an end token, with ``stop`` the last completes a
            stop string.
        finish_reason: ``eos``: an end token; ``stop``: a stop string; ``length``: the limit of new tokens.
    """

    token_ids: list[int]
    finish_reason: FinishReason


# (indices of the requests that finished, what they were continued with)
GenerationCallback = Callable[[Sequence[int], Sequence[Generation]], None]


@dataclass(frozen=True)
class Sampling:
    """Random decoding of one request.

    Attributes:
        temperature: Divides the logits; above 0.
        top_k: Number of most likely tokens to draw from; 0: all.
        top_p: Only the most likely tokens that together reach this probability.
        seed: The same seed gives the same tokens, whatever else is in the batch.
    """

    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0
    seed: int = 0

    def __post_init__(self) -> None:
        if not self.temperature > 0 or self.temperature == float("inf"):
            raise ModelError(f"the temperature must be above 0, not {self.temperature}")
        if self.top_k < 0:
            raise ModelError(f"top_k must be 0 or more, not {self.top_k}")
        if not 0 < self.top_p <= 1:
            raise ModelError(f"top_p must lie between 0 and 1, not {self.top_p}")


class Sampler:
    """Draws the tokens of one request, one after another."""

    def __init__(self, sampling: Sampling) -> None:
        self._sampling = sampling
        self._drawn = 0
        self._generator = self._start()

    def _start(self) -> np.random.Generator:
        return np.random.Generator(np.random.Philox(self._sampling.seed % 2**64))

    def rewind(self, drawn: int) -> None:
        """Go back to the state after so many tokens: those behind will be drawn again."""
        if drawn != self._drawn:
            self._drawn, self._generator = drawn, self._start()
            self._generator.random(drawn)

    def draw(self, logits: Tensor) -> int:
        """Draw a token from logits [V]: sort by probability, cut off, pick a point in the cumulative sum."""
        chosen = self._sampling
        scaled = logits.double() / chosen.temperature
        if chosen.top_k:
            values, order = torch.topk(scaled, min(chosen.top_k, len(scaled)))
        else:
            values, order = torch.sort(scaled, descending=True, stable=True)
        reached = torch.softmax(values, dim=0).cumsum(0)
        # The token that crosses top_p is kept.
        kept = int((reached < chosen.top_p).sum()) + 1
        reached = reached[:kept]
        self._drawn += 1
        point = self._generator.random() * float(reached[-1])
        place = int(
            torch.searchsorted(
                reached, torch.tensor([point], dtype=reached.dtype, device=reached.device), right=True
            )
        )
        return int(order[min(place, len(reached) - 1)])


class StopStrings:
    """Looks for stop strings in one text, token by token.

    Each step decodes only the last few tokens. A stop string may span tokens and may be a special token.

    Args:
        tokenizer: Decodes tokens.
        stops: The strings; empty ones are ignored.
        counts: Function of the text so far: whether stop strings count yet; ``None``: always.
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
        self._context = ""  # text of ids that are kept as context for later ones

    def add(self, token: int) -> bool:
        """Take the next token; return whether a stop string is now in the text."""
        if not self._stops:
            return False
        self._ids.append(token)
        self._all.append(token)
        text = self._decode(self._ids)
        if text.endswith(_UNFINISHED) and len(self._ids) < 16:
            return False
        self._tail += text[len(self._context) :]
        found = any(stop in self._tail for stop in self._stops)
        # One token is kept: some tokenizers decode the first token of a text without its space.
        self._ids = self._ids[-1:]
        self._context = self._decode(self._ids)
        self._tail = self._tail[-(self._longest - 1) :] if self._longest > 1 else ""
        return found and (self._counts is None or self._counts(self._decode(self._all)))

    def _decode(self, tokens: Sequence[int]) -> str:
        return str(
            self._tokenizer.decode(tokens, skip_special_tokens=False, clean_up_tokenization_spaces=False)
        )


@dataclass(frozen=True)
class GenerationRequest:
    """One prompt and when to stop.

    Attributes:
        prompt: Token ids, at least one.
        max_new_tokens: Limit of new tokens.
        eos: End tokens.
        stops: Watches for stop strings, or ``None``.
        allowed: Ids of the only tokens to choose among, or ``None``.
        sampler: Draws tokens; ``None``: the most likely token is taken.
        processors: Change the logits before a token is chosen, or ``None``.
        counted: Leading tokens of the prompt to leave out of the router counts.
    """

    prompt: tuple[int, ...]
    max_new_tokens: int
    eos: frozenset[int]
    stops: StopStrings | None = None
    allowed: tuple[int, ...] | None = None
    sampler: Sampler | None = None
    processors: Processors | None = None
    counted: int = 0


@dataclass(eq=False)
class Row:
    """A request that is active or waiting, and the owner of its router counts.

    Attributes:
        index: Its index among the requests.
        request: What is asked.
        prefix: The shared prefix that it continues from, until it is in the KV cache itself.
        new: The tokens generated so far.
        length: Tokens in the KV cache.
        counted: Tokens, from the start, whose router choices were counted.
    """

    index: int
    request: GenerationRequest
    prefix: Prefix | None = None
    new: list[int] = field(default_factory=list)
    length: int = 0
    counted: int = 0

    @property
    def reserved(self) -> int:
        """The most tokens it may have at its end."""
        return len(self.request.prompt) + self.request.max_new_tokens

    @property
    def tokens(self) -> tuple[int, ...]:
        """Prompt and new tokens."""
        return (*self.request.prompt, *self.new)

    @property
    def size(self) -> int:
        """Number of those tokens."""
        return len(self.request.prompt) + len(self.new)

    @property
    def to_feed(self) -> int:
        """Tokens to feed when it is admitted."""
        return self.size - (len(self.prefix.tokens) if self.prefix else 0)

    def credit_spans(self, first: int, last: int, start: int) -> Iterable[CreditSpan]:
        """Credit tokens ``first`` to ``last`` of the row, which stand at ``start`` in the pack, to the row.

        Tokens that were counted before are left out.
        """
        prompt_stop = min(max(len(self.request.prompt), first), last)
        uncounted = min(max(self.counted, first), last)
        by = start - first
        if uncounted < prompt_stop:
            prefix = self.prefix if not self.counted else None
            yield CreditSpan(self, 0, uncounted + by, prompt_stop + by, 1, prefix, grows=True)
        if (begin := max(uncounted, prompt_stop)) < last:
            yield CreditSpan(self, 1, begin + by, last + by, grows=True)

    def rewind(self) -> None:
        """Take back a token that was drawn in a step that failed."""
        if self.request.sampler is not None:
            self.request.sampler.rewind(len(self.new))

    def choose(self, logits: Tensor, best: int | None = None) -> int | None:
        """The next token; ``None`` if the logits are not finite.

        Args:
            logits: Of the whole vocabulary, [V].
            best: Index of the largest, if known.
        """
        request = self.request
        if request.processors is not None:
            logits, best = request.processors(self.tokens, logits), None
        if request.allowed is not None:
            return self.choose_among(logits[torch.tensor(request.allowed, device=logits.device)])
        if best is None:
            top, place = logits.max(dim=0)
            if not bool(torch.isfinite(top)):
                return None
            best = int(place)
        return best if request.sampler is None else request.sampler.draw(logits)

    def choose_among(self, logits: Tensor) -> int | None:
        """The next token out of the allowed ones, by their logits."""
        top, place = logits.max(dim=0)
        if not bool(torch.isfinite(top)):
            return None
        sampler, allowed = self.request.sampler, self.request.allowed or ()
        return allowed[int(place) if sampler is None else sampler.draw(logits)]

    def ends_with(self, token: int) -> FinishReason | None:
        """Why the row ends with this token, if it does; call once per new token."""
        request = self.request
        if token in request.eos:
            return "eos"
        if request.stops is not None and request.stops.add(token):
            return "stop"
        return "length" if len(self.new) >= request.max_new_tokens else None


def cut_at(text: str, stops: Sequence[str], start: int = 0) -> str:
    """The text before the earliest stop string at or after ``start``."""
    ends = [text.find(stop, start) for stop in stops if stop]
    return text[: min((end for end in ends if end >= 0), default=len(text))]
