"""A gated MLP whose experts are whole MLPs: the same weights, each with a LoRA of its own (MixLoRA).

arXiv 2404.15159. For a token x with the weights w_i of its chosen experts, and a LoRA of expert i at each of
the three linears (or at some of them)::

    G = W_g x,  U = W_u x                                       once, whoever is chosen
    h_i = act(G + s B_gi A_gi x) * (U + s B_ui A_ui x)           the nonlinearity is inside the expert
    y   = sum_i w_i (W_d h_i + s B_di A_di h_i)
        = W_d (sum_i w_i h_i) + s sum_i B_di A_di (w_i h_i)      W_d once as well

so that an expert is no sum of corrections of single linears, but the base's three products are not repeated
for each expert. The router lies in front of the block, without bias.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from medbench.errors import ModelError
from medbench.models.architecture.config import MoLoRAConfig
from medbench.models.architecture.mixture import Impl, Mixture

# Up to so many tokens every expert computes all of them, which needs no look at who chose it.
_FEW_TOKENS = 64


class MoLoRABlock(Mixture):
    """An MLP that is a mixture of itself with different LoRAs.

    Args:
        base: The MLP, with ``gate_proj``, ``up_proj``, ``down_proj`` and its activation ``act_fn``.
        config: Number, rank, scaling and gate of the experts, and the linears that carry their LoRA.
        layer: Index of the decoder layer.
        impl: ``stacked`` (see the module's description), or ``loop``: the published arithmetic, the whole MLP
            expert by expert, the oracle of the tests.

    Attributes:
        molora_router: [E, hidden].
        molora_a: Rows of all A_i by linear, [E*r, in].
        molora_b: Columns of all B_i by linear, [out, E*r].
    """

    def __init__(self, base: nn.Module, config: MoLoRAConfig, *, layer: int, impl: Impl = "stacked") -> None:
        super().__init__(config, layer=layer, projection="mlp", impl=impl)
        self.base = base
        self.act_fn = _activation(base, config.activation)
        linears = {name: _linear(base, name) for name in config.projections}
        rows = config.num_experts * config.rank
        like = next(base.parameters())
        hidden = _linear(base, "gate").in_features
        self.molora_router = nn.Parameter(like.new_empty(config.num_experts, hidden))
        self.molora_a = nn.ParameterDict(
            {name: nn.Parameter(like.new_empty(rows, linear.in_features)) for name, linear in linears.items()}
        )
        self.molora_b = nn.ParameterDict(
            {
                name: nn.Parameter(like.new_empty(linear.out_features, rows))
                for name, linear in linears.items()
            }
        )
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Start as LoRA does: random A and router, zero B, so that the output is the base MLP's."""
        for weight in (self.molora_router, *self.molora_a.values()):
            nn.init.kaiming_uniform_(weight, a=5**0.5)
        for weight in self.molora_b.values():
            nn.init.zeros_(weight)

    def parts(self) -> dict[str, Tensor]:
        """``router``, and ``<linear>_a`` and ``<linear>_b`` of each linear with LoRA."""
        found: dict[str, Tensor] = {"router": self.molora_router}
        for name in self.config.projections:
            found |= {f"{name}_a": self.molora_a[name], f"{name}_b": self.molora_b[name]}
        return found

    def fill(self, parts: Mapping[str, Tensor]) -> None:
        """Take over weights, named and shaped as :meth:`parts` has them; they are frozen."""
        self.molora_router = nn.Parameter(parts["router"], requires_grad=False)
        for name in self.config.projections:
            self.molora_a[name] = nn.Parameter(parts[f"{name}_a"], requires_grad=False)
            self.molora_b[name] = nn.Parameter(parts[f"{name}_b"], requires_grad=False)

    def forward(self, x: Tensor) -> Tensor:
        """Map x [..., hidden] to [..., hidden]."""
        tokens = x.reshape(-1, x.shape[-1])
        choice, weights = self.route(F.linear(tokens, self.molora_router))
        if not self.scaling:  # switched off, whatever the weights add up to
            y: Tensor = self.base(tokens)
        else:
            gates = weights.new_zeros(len(tokens), self.num_experts).scatter_(1, choice, weights)
            y = (self._loop if self.impl == "loop" else self._stacked)(tokens, gates.to(tokens.dtype))
        return y.view(x.shape)

    def _stacked(self, x: Tensor, gates: Tensor) -> Tensor:
        down = _linear(self.base, "down")
        gate: Tensor = _linear(self.base, "gate")(x)
        up: Tensor = _linear(self.base, "up")(x)
        low = {name: F.linear(x, self.molora_a[name]) for name in ("gate", "up") if name in self.molora_a}
        mixed = torch.zeros_like(gate)
        low_down = x.new_zeros(len(x), self.num_experts * self.rank)
        # How many tokens chose an expert is not known while a CUDA graph is recorded.
        all_tokens = len(x) <= _FEW_TOKENS or (x.is_cuda and torch.cuda.is_current_stream_capturing())
        for expert in range(self.num_experts):
            rows = slice(expert * self.rank, (expert + 1) * self.rank)
            if all_tokens:
                mine: Tensor | slice = slice(None)
                hidden = self._hidden(gate, up, low, rows) * gates[:, expert, None]
                mixed += hidden
            else:
                mine = gates[:, expert].nonzero()[:, 0]
                parts = {name: value[mine] for name, value in low.items()}
                hidden = self._hidden(gate[mine], up[mine], parts, rows) * gates[mine, expert, None]
                mixed.index_add_(0, mine, hidden)
            if "down" in self.molora_a:
                low_down[mine, rows] = F.linear(hidden, self.molora_a["down"][rows])
        y: Tensor = down(mixed)
        if down.bias is not None:  # which every expert has, by its weight
            y = y + (gates.sum(1, keepdim=True) - 1) * down.bias
        if "down" in self.molora_a:
            y = y.addmm_(low_down, self.molora_b["down"].t(), alpha=self.scaling)
        return y

    def _hidden(self, gate: Tensor, up: Tensor, low: Mapping[str, Tensor], rows: slice) -> Tensor:
        """The inner states of one expert, [N, intermediate], of the base's and of ``A x``."""
        if "gate" in low:
            b = self.molora_b["gate"][:, rows]
            gate = torch.addmm(gate, low["gate"][:, rows], b.t(), alpha=self.scaling)
        if "up" in low:
            b = self.molora_b["up"][:, rows]
            up = torch.addmm(up, low["up"][:, rows], b.t(), alpha=self.scaling)
        hidden: Tensor = self.act_fn(gate) * up
        return hidden

    def _loop(self, x: Tensor, gates: Tensor) -> Tensor:
        total = torch.zeros_like(x)
        for expert in range(self.num_experts):
            mine = gates[:, expert].nonzero()[:, 0]
            inner = self.act_fn(self._expert("gate", x[mine], expert)) * self._expert("up", x[mine], expert)
            total[mine] += gates[mine, expert, None] * self._expert("down", inner, expert)
        return total

    def _expert(self, name: str, x: Tensor, expert: int) -> Tensor:
        """One of an expert's linears."""
        y: Tensor = _linear(self.base, name)(x)
        if name not in self.molora_a:
            return y
        rows = slice(expert * self.rank, (expert + 1) * self.rank)
        return (
            y + F.linear(F.linear(x, self.molora_a[name][rows]), self.molora_b[name][:, rows]) * self.scaling
        )


def _linear(base: nn.Module, name: str) -> nn.Linear:
    return cast("nn.Linear", base.get_submodule(f"{name}_proj"))


def _activation(base: nn.Module, name: str | None) -> Callable[[Tensor], Tensor]:
    if name is None:
        own: Callable[[Tensor], Tensor] = base.act_fn  # type: ignore[assignment]
        return own
    from transformers.activations import ACT2FN

    if name not in ACT2FN:
        raise ModelError(f"act_fn is {name!r}, an activation that transformers does not know")
    named: Callable[[Tensor], Tensor] = ACT2FN[name]
    return named
