"""The mixture of LoRA experts in front of one linear layer (MING-MOE, arXiv 2404.09027), and its relatives.

For a token x and the experts i = 1..E::

    logits = x S^T + b                                 S: [E, in], b: [E]
    K      = indices of the k largest logits
    w      = softmax(logits[K])
    y      = base(x) + sum_{i in K} w_i * scaling * B_i A_i x

The gate w_i * scaling commutes with B_i. With the rows of all A_i stacked to A: [E*r, in], the columns of all
B_i to B: [out, E*r], and the gates scattered to g: [E], the sum is one product, whatever the batch::

    y = base(x) + ((A x) * repeat_interleave(g, r)) B^T

       x ──┬── base ──────────────────────────────────┐
           │                  ┌─ A x ──────┐          │
           └── [A;S] x + [0;b]┤            × ── B ──── + ── y
                              └─ top-k, softmax, g ┘

Relatives differ in a few places only:

- dense gates (LoRAMoE, arXiv 2312.09979): k = E, so that w is the softmax over all logits;
- shared experts (MedCare): rows and columns of their own, with ``scaling`` for a gate, whatever the token;
- one A for all experts (HydraLoRA, arXiv 2404.19245): A has r rows, and A x is repeated E times;
- experts in attention (MoLA, arXiv 2402.08562): the same in front of other linears.

A softmax over all logits whose k largest values are renormalized is the softmax over the k largest.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from medbench.common.choices import Projection
from medbench.models.architecture.config import MoLoRAConfig
from medbench.models.architecture.fused import expand_
from medbench.models.architecture.mixture import Impl, Mixture


class MoLoRALinear(Mixture):
    """A linear layer with a mixture of LoRA experts added to its output.

    It holds the base layer instead of being an ``nn.Linear``: engines rewrite subclasses of that, and a
    quantized base layer works unchanged.

    Args:
        base: The layer whose output the experts correct; weight [out, in].
        config: Number, rank, scaling and form of the experts.
        layer: Index of the decoder layer.
        projection: Which linear of the layer this is.
        impl: ``stacked`` (see the module's description); ``fused``: the same with one CUDA kernel after the
            two products; or ``loop``: the published arithmetic, expert by expert, the oracle of the tests.

    Attributes:
        molora_in: The rows of A ([E*r, in], or [r, in] if it is shared), of the shared experts' A
            ([r*n, in]), and of the router ([E, in], none with one expert).
        molora_in_bias: Zeros for A, then the router's bias; ``None`` without one. The bias belongs in the
            product: added afterwards in 16 bit it flips one top-2 set in a thousand.
        molora_b: [out, E*r + r*n], the columns of all B_i, then those of the shared experts.
    """

    def __init__(
        self,
        base: nn.Linear,
        config: MoLoRAConfig,
        *,
        layer: int,
        projection: Projection,
        impl: Impl = "stacked",
    ) -> None:
        super().__init__(config, layer=layer, projection=projection, impl=impl)
        self.base = base
        like = base.weight
        self._rows = config.rank * (1 if config.shared_a else config.num_experts)
        self._router = self._rows + config.shared_rank  # the first row of the router
        rows = self._router + (config.num_experts if config.has_router else 0)
        biased = config.has_router and config.router_bias
        columns = config.num_experts * config.rank + config.shared_rank
        self.molora_in = nn.Parameter(like.new_empty(rows, base.in_features))
        self.molora_in_bias = nn.Parameter(like.new_empty(rows)) if biased else None
        self.molora_b = nn.Parameter(like.new_empty(base.out_features, columns))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Start as LoRA does: random A and router, zero B, so that the output is the base layer's."""
        nn.init.kaiming_uniform_(self.molora_in, a=5**0.5)
        nn.init.zeros_(self.molora_b)
        if self.molora_in_bias is not None:
            nn.init.zeros_(self.molora_in_bias)

    def fill(self, parts: Mapping[str, Tensor]) -> None:
        """Take over weights; they are frozen.

        Args:
            parts: ``a`` [E*r, in], the rows of expert 0 first, or [r, in] if it is shared; ``b`` [out, E*r],
                the columns of expert 0 first; ``router`` [E, in] and ``router_bias`` [E], ``shared_a``
                [r*n, in] and ``shared_b`` [out, r*n], where there are any.
        """
        rows = [parts[name] for name in ("a", "shared_a", "router") if name in parts]
        columns = [parts[name] for name in ("b", "shared_b") if name in parts]
        self.molora_in = nn.Parameter(_joined(rows, 0), requires_grad=False)
        self.molora_b = nn.Parameter(_joined(columns, 1), requires_grad=False)
        if "router_bias" in parts:
            bias = torch.cat([parts["a"].new_zeros(self._router), parts["router_bias"]])
            self.molora_in_bias = nn.Parameter(bias, requires_grad=False)

    @property
    def lora_a(self) -> Tensor:
        """The rows of all A_i, [E*r, in], or [r, in] if it is shared (a view)."""
        return self.molora_in[: self._rows]

    @property
    def lora_b(self) -> Tensor:
        """The columns of all B_i, [out, E*r] (a view)."""
        return self.molora_b[:, : self.num_experts * self.rank]

    @property
    def shared_lora(self) -> tuple[Tensor, Tensor] | None:
        """A [r*n, in] and B [out, r*n] of the experts that every token passes (views)."""
        if not self.config.shared_experts:
            return None
        return self.molora_in[self._rows : self._router], self.molora_b[:, self.num_experts * self.rank :]

    @property
    def router_weight(self) -> Tensor | None:
        """The router S, [E, in] (a view); ``None`` with one expert."""
        return self.molora_in[self._router :] if self.config.has_router else None

    @property
    def router_bias(self) -> Tensor | None:
        """The router's bias, [E] (a view); ``None`` without one."""
        return None if self.molora_in_bias is None else self.molora_in_bias[self._router :]

    def parts(self) -> dict[str, Tensor]:
        """The weights that there are, named as :meth:`fill` names them (views)."""
        shared = self.shared_lora or (None, None)
        found = {
            "a": self.lora_a,
            "b": self.lora_b,
            "router": self.router_weight,
            "router_bias": self.router_bias,
            "shared_a": shared[0],
            "shared_b": shared[1],
        }
        return {part: tensor for part, tensor in found.items() if tensor is not None}

    def forward(self, x: Tensor) -> Tensor:
        """Map x [..., in] to [..., out]."""
        tokens = x.reshape(-1, x.shape[-1])
        y = {"stacked": self._stacked, "fused": self._fused, "loop": self._loop}[self.impl](tokens)
        return y.view(*x.shape[:-1], y.shape[-1])

    def _stacked(self, x: Tensor) -> Tensor:
        bias: Tensor | None = self.molora_in_bias
        y: Tensor = self.base(x)
        if not self.config.has_router and not self.config.shared_experts:
            return y.addmm_(F.linear(x, self.molora_in), self.molora_b.t(), alpha=self.scaling)
        if bias is not None and bias.requires_grad:
            # Training must not move the zeros that stand before the router's bias.
            bias = F.pad(bias[self._router :], (self._router, 0))
        h = F.linear(x, self.molora_in, bias)
        return y.addmm_(self._gated(h), self.molora_b.t())

    def _gated(self, h: Tensor) -> Tensor:
        """What B is applied to, [N, columns of B], of the product with ``molora_in``."""
        tokens, experts = len(h), self.num_experts
        if self.config.has_router:
            choice, weights = self.route(h[:, self._router :])
            gates = weights.new_zeros(tokens, experts).scatter_(1, choice, weights * self.scaling)
            inner = h[:, : self._rows].view(tokens, self._rows // self.rank, self.rank)  # [N, E or 1, r]
            gated = (inner * gates.unsqueeze(2)).to(h.dtype).view(tokens, experts * self.rank)
        else:
            gated = h[:, : self._rows] * self.scaling
        if not self.config.shared_experts:
            return gated
        return torch.cat([gated, h[:, self._rows : self._router] * self.config.scaling], 1)

    def _fused(self, x: Tensor) -> Tensor:
        if not (self.config.has_router and self.config.fusible) or self.router is not None:
            return self._stacked(x)  # the kernel knows no other rule than the published one
        h = F.linear(x, self.molora_in, self.molora_in_bias)
        if self.observer is not None:
            self.route(h[:, self._router :])
        return expand_(
            self.base(x),
            h,
            self.molora_b,
            num_experts=self.num_experts,
            top_k=self.top_k,
            scaling=self.scaling,
        )

    def _loop(self, x: Tensor) -> Tensor:
        a = self.lora_a.view(-1, self.rank, x.shape[1])  # [E or 1, r, in]
        b = self.lora_b.view(-1, self.num_experts, self.rank)
        y: Tensor = self.base(x)
        if (shared := self.shared_lora) is not None:
            y = y + F.linear(F.linear(x, shared[0]), shared[1]) * self.config.scaling
        if self.router_weight is None:
            return y + F.linear(F.linear(x, a[0]), b[:, 0]) * self.scaling
        choice, weights = self.route(F.linear(x, self.router_weight, self.router_bias))
        total = x.new_zeros(len(x), len(b))
        for expert in range(self.num_experts):
            token, place = torch.where(choice == expert)
            output = F.linear(F.linear(x[token], a[expert % len(a)]), b[:, expert]) * self.scaling
            total[token] += weights[token, place, None].to(x.dtype) * output
        return y + total


def _joined(parts: list[Tensor], dim: int) -> Tensor:
    return parts[0] if len(parts) == 1 else torch.cat(parts, dim)
