"""A router as everything that records or traces sees it, whatever module of a model it is.

A mixture of LoRA experts has a router in front of each linear layer of an MLP; a model that is a mixture of
experts itself has one for the whole MLP. Both are a :class:`Router`: where it lies, what it chooses among,
and a way to hear what it chose for every token of a forward.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import NamedTuple

import torch
from torch import Tensor


class RouterOutputs(NamedTuple):
    """What routers put out, for N tokens; of several routers stacked in front, [M, N, …].

    Attributes:
        logits: [N, E]; their softmax is what the router makes of the experts.
        choice: [N, k] experts, the one with the largest weight first.
        weights: [N, k], which add up to 1.
        margin: [N, 1] how far the last expert chosen lies above the first one left, by what the router ranks
            experts by; ``None`` if that is the logits.
    """

    logits: Tensor
    choice: Tensor
    weights: Tensor
    margin: Tensor | None = None

    def first(self, tokens: int) -> RouterOutputs:
        """Those of the first tokens of stacked ones (views)."""
        return self.mapped(lambda part: part[:, :tokens])

    def cut(self, routers: tuple[int, int], tokens: tuple[int, int]) -> RouterOutputs:
        """A part of stacked ones, by first and last place (views)."""
        return self.mapped(lambda part: part[slice(*routers), slice(*tokens)])

    def mapped(self, change: Callable[[Tensor], Tensor]) -> RouterOutputs:
        """Something done to every tensor."""
        margin = None if self.margin is None else change(self.margin)
        return RouterOutputs(change(self.logits), change(self.choice), change(self.weights), margin)

    @classmethod
    def stacked(cls, parts: list[RouterOutputs]) -> RouterOutputs:
        """Those of several routers, one behind the other; all have margins, or none has."""
        margins = [part.margin for part in parts if part.margin is not None]
        return cls(
            torch.stack([part.logits for part in parts]),
            torch.stack([part.choice for part in parts]),
            torch.stack([part.weights for part in parts]),
            torch.stack(margins) if margins else None,
        )


class Router(ABC):
    """A router of a model.

    Args:
        layer: Index of the decoder layer.
        projection: The linear layer whose experts it chooses: ``gate``, ``up`` or ``down``; ``mlp`` if they
            are whole MLPs.
        num_experts: Experts that it chooses among.
        top_k: Experts chosen for each token.
        always_on: Experts beside them that serve every token, and are never chosen.
    """

    def __init__(
        self, layer: int, projection: str, num_experts: int, top_k: int, *, always_on: int = 0
    ) -> None:
        self.layer = layer
        self.projection = projection
        self.num_experts = num_experts
        self.top_k = top_k
        self.always_on = always_on

    @property
    @abstractmethod
    def device(self) -> torch.device:
        """Where its outputs lie."""

    @abstractmethod
    def observed(self, observer: Observer) -> AbstractContextManager[None]:
        """Call the observer with the outputs of every forward, for as long as a block runs."""


Observer = Callable[[Router, RouterOutputs], None]
