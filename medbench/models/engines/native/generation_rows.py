"""What generation is asked, what it answers, and the state of a request in between."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from medbench.models.engines.native.decoding import Processors
from medbench.models.engines.native.packing import KeyValues
from medbench.models.engines.native.sampling import Sampler
from medbench.models.engines.native.stopping import StopStrings
from medbench.models.routing.recorder import Owned

__all__ = ["FinishReason", "Generation", "GenerationCallback", "GenerationRequest", "Prefix", "Row"]

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
class GenerationRequest:
    """One prompt and when to stop.

    Attributes:
        prompt: Token ids, at least one.
        max_new_tokens: Limit of new tokens.
        eos: End tokens.
        stops: Watches for stop strings, or ``None``.
        allowed: Ids of the only tokens to choose among, or ``None``.
        sampler: Draws tokens; ``None``: the likeliest is taken.
        processors: Change the logits that tokens are chosen from, or ``None``.
        counted: Tokens of the prompt, from its start, that are left out of the router counts.
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
class Prefix:
    """The common start of several prompts; its store is filled when first needed."""

    tokens: tuple[int, ...]
    waiting: int
    store: KeyValues | None = None


@dataclass(eq=False)
class Row:
    """A request at work or waiting."""

    index: int
    request: GenerationRequest
    prefix: Prefix | None = None
    new: list[int] = field(default_factory=list)
    length: int = 0  # tokens in the store
    counted: int = 0  # tokens whose router choices were counted

    @property
    def reserved(self) -> int:
        """Tokens it may come to hold."""
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

    def owned(self, first: int, last: int, start: int) -> Iterable[Owned]:
        """Who counts tokens ``first`` to ``last`` of the row, standing at ``start`` in the pack."""
        border = min(max(len(self.request.prompt), first), last)
        first_new = min(max(self.counted, first), last)
        prefix = self.prefix if not self.counted else None
        yield Owned(self.index, 0, start + first_new - first, start + border - first, 1, prefix, grows=True)
        begin = max(first_new, border)
        yield Owned(self.index, 1, start + begin - first, start + last - first, grows=True)

    def choose(self, logits: Tensor, likeliest: int | None = None) -> int | None:
        """The next token; ``None`` where what it is chosen from is not finite.

        Args:
            logits: Of the whole vocabulary, [V].
            likeliest: Where they are largest, if that is known.
        """
        request = self.request
        if request.processors is not None:
            logits, likeliest = request.processors(self.tokens, logits), None
        if request.allowed is not None:
            return self.choose_among(logits[torch.tensor(request.allowed, device=logits.device)])
        if likeliest is None:
            top, place = logits.max(dim=0)
            if not bool(torch.isfinite(top)):
                return None
            likeliest = int(place)
        return likeliest if request.sampler is None else request.sampler.draw(logits)

    def choose_among(self, logits: Tensor) -> int | None:
        """The next token of the allowed ones, of which there are some, by their logits."""
        top, place = logits.max(dim=0)
        if not bool(torch.isfinite(top)):
            return None
        sampler, allowed = self.request.sampler, self.request.allowed or ()
        return allowed[int(place) if sampler is None else sampler.draw(logits)]

    def ends_with(self, token: int) -> FinishReason | None:
        """Why the row ends with this token, if it does; to be asked once for every new token."""
        request = self.request
        if token in request.eos:
            return "eos"
        if request.stops is not None and request.stops.add(token):
            return "stop"
        return "length" if len(self.new) >= request.max_new_tokens else None
