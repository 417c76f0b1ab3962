"""What every mixture of LoRA experts has, wherever its experts lie: a router, its rule, and who looks on."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from medbench.models.architecture.config import MoLoRAConfig

Impl = Literal["stacked", "fused", "loop"]
Routing = Literal["topk", "first"]

# (module, logits [N, E], choice [N, k], weights [N, k]) for the N tokens of the forward, in their order.
Observer = Callable[["Mixture", Tensor, Tensor, Tensor], None]
# logits [N, E] -> choice [N, k'], best first, and weights [N, k'], in float32 at least
Rule = Callable[[Tensor], tuple[Tensor, Tensor]]


class Mixture(nn.Module):
    """A mixture of LoRA experts.

    Args:
        config: Number, rank, scaling and form of the experts.
        layer: Index of the decoder layer.
        projection: The linear whose output the experts correct, or ``mlp`` if they are whole MLPs.
        impl: Form of the arithmetic.

    Attributes:
        scaling: Factor on the output of every expert that is chosen; 0 switches them off.
        observer: Called with the routing of every forward; ``None`` costs nothing. Not called with one
            expert, where there is nothing to choose.
        router: Chooses in place of the published rule (see :mod:`medbench.models.routing.ablation`);
            ``None``, the rule itself, costs nothing.
        routing: ``topk`` as published; ``first`` takes the lowest index among equal logits on every device
            (``torch.topk`` leaves that open), as ``fused`` always does.
    """

    observer: Observer | None
    router: Rule | None

    def __init__(self, config: MoLoRAConfig, *, layer: int, projection: str, impl: Impl) -> None:
        super().__init__()
        self.layer = layer
        self.projection = projection
        self.num_experts = config.num_experts
        self.top_k = config.top_k
        self.rank = config.rank
        self.scaling = config.scaling
        self.config = config
        self.impl: Impl = impl
        self.routing: Routing = "topk"
        self.observer = None
        self.router = None

    @property
    def device(self) -> torch.device:
        """Where it computes."""
        return next(iter(self.parts().values())).device

    def parts(self) -> dict[str, Tensor]:
        """The weights of experts and router, by name (views)."""
        raise NotImplementedError

    def fill(self, parts: Mapping[str, Tensor]) -> None:
        """Take over weights, named and shaped as :meth:`parts` has them; they are frozen."""
        raise NotImplementedError

    def route(self, logits: Tensor) -> tuple[Tensor, Tensor]:
        """Choose experts: indices [N, k], best first, and their weights [N, k], in float32 at least.

        A router with ``top_p`` gives all experts, those that it does not keep with weight 0, and is observed
        with weights that add up to 1.
        """
        if self.router is not None:
            choice, weights = self.router(logits)
        elif self.config.top_p:
            choice, weights = self.nucleus(logits)
        else:
            if self.routing == "first" or self.impl == "fused":
                choice = _first_k(logits, self.top_k)
                best = logits.gather(1, choice)
            else:
                best, choice = torch.topk(logits, self.top_k, dim=1)
            wide = torch.float64 if logits.dtype == torch.float64 else torch.float32
            weights = F.softmax(best, dim=1, dtype=wide)
        if self.observer is not None:
            shares = weights / weights.sum(1, keepdim=True) if self.config.top_p else weights
            self.observer(self, logits, choice, shares)
        return choice, weights

    def nucleus(self, logits: Tensor) -> tuple[Tensor, Tensor]:
        """Keep the likeliest experts, up to the first with which their probabilities exceed ``top_p``."""
        wide = torch.float64 if logits.dtype == torch.float64 else torch.float32
        probabilities = F.softmax(logits, dim=1, dtype=wide)
        if self.config.temperature > 0:
            probabilities = probabilities / self.config.temperature  # as published: these, not the logits
        weights, choice = probabilities.sort(dim=1, descending=True, stable=True)
        # Shifted rather than `cumsum - weights`, which rounds to the other side of top_p now and then.
        before = F.pad(weights.cumsum(1)[:, :-1], (1, 0))
        return choice, weights.masked_fill(before > self.config.top_p, 0.0)

    def extra_repr(self) -> str:
        """Describe the experts in the model's printout."""
        return (
            f"layer={self.layer}, projection={self.projection}, num_experts={self.num_experts}, "
            f"top_k={self.top_k}, rank={self.rank}, scaling={self.scaling:g}, impl={self.impl}"
        )


def _first_k(logits: Tensor, k: int) -> Tensor:
    """Return the indices [N, k] of the k largest logits [N, E], the lowest index first among equals."""
    rest = logits
    chosen = []
    for _ in range(k):
        best = rest.argmax(dim=1, keepdim=True)
        chosen.append(best)
        rest = rest.scatter(1, best, float("-inf"))
    return torch.cat(chosen, dim=1)
