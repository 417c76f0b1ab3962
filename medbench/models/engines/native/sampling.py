"""Choosing the next token: greedily, or at random in a way that belongs to the request alone."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from medbench.errors import ModelError

__all__ = ["Sampler", "Sampling"]


@dataclass(frozen=True)
class Sampling:
    """Random decoding of one request.

    Attributes:
        temperature: Divides the logits; above 0.
        top_k: Only the so many likeliest tokens; 0 for all.
        top_p: Only the likeliest tokens that together reach this probability.
        seed: With the same seed a request gets the same tokens, whatever else is in the batch.
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
        self._generator = np.random.Generator(np.random.Philox(sampling.seed % 2**64))

    def draw(self, logits: Tensor) -> int:
        """Draw a token from logits [V]: the tokens by falling probability, cut, and a point in their sum."""
        chosen = self._sampling
        scaled = logits.double() / chosen.temperature
        if chosen.top_k:
            values, order = torch.topk(scaled, min(chosen.top_k, len(scaled)))
        else:
            values, order = torch.sort(scaled, descending=True, stable=True)
        reached = torch.softmax(values, dim=0).cumsum(0)
        # The token that crosses top_p still belongs to the kept ones.
        kept = int((reached < chosen.top_p).sum()) + 1
        reached = reached[:kept]
        point = self._generator.random() * float(reached[-1])
        place = int(
            torch.searchsorted(
                reached, torch.tensor([point], dtype=reached.dtype, device=reached.device), right=True
            )
        )
        return int(order[min(place, len(reached) - 1)])
