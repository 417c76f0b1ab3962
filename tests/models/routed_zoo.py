"""Small random models that are mixtures of experts themselves, and their routers counted token by token."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch

from medbench.models import RoutingCounts
from tests.models.native import _COMMON, _GROUPED, _LATENT, NATIVE

_FOUR: dict[str, Any] = {"num_experts": 4, "num_experts_per_tok": 2}
_LOCAL: dict[str, Any] = {"num_local_experts": 4, "num_experts_per_tok": 2}

# Name -> model_type and what differs from the common configuration.
ROUTED: dict[str, tuple[str, dict[str, Any]]] = {
    **NATIVE,
    "mixtral top 1": ("mixtral", {"num_local_experts": 4, "num_experts_per_tok": 1}),
    "olmoe normalized": ("olmoe", {**_FOUR, "norm_topk_prob": True}),
    "qwen2_moe middle dense": (
        "qwen2_moe",
        {
            **_FOUR,
            "num_hidden_layers": 3,
            "mlp_only_layers": [1],
            "moe_intermediate_size": 12,
            "shared_expert_intermediate_size": 12,
            "decoder_sparse_step": 1,
        },
    ),
    "deepseek_v2 greedy": ("deepseek_v2", {**_GROUPED, **_LATENT, "topk_method": "greedy"}),
    "deepseek_v3 of one group": ("deepseek_v3", {**_GROUPED, **_LATENT, "n_group": 1, "topk_group": 1}),
    "phimoe": ("phimoe", _LOCAL),
    "granitemoe": ("granitemoe", _LOCAL),
    "granitemoeshared": ("granitemoeshared", {**_LOCAL, "shared_intermediate_size": 12}),
    "ernie4_5_moe": (
        "ernie4_5_moe",
        {
            "moe_num_experts": 4,
            "moe_k": 2,
            "moe_intermediate_size": 12,
            "moe_num_shared_experts": 1,
            "moe_layer_start_index": 1,
        },
    ),
    "dots1": ("dots1", {**_GROUPED, "num_local_experts": 8, "head_dim": 8}),
    "minimax_m2": ("minimax_m2", {**_LOCAL, "head_dim": 8, "rotary_dim": 8}),
    "hunyuan_v1_moe": ("hunyuan_v1_moe", {"num_experts": 4, "moe_topk": 2, "head_dim": 8}),
    "aria_text": ("aria_text", {"moe_num_experts": 4, "moe_topk": 2, "moe_num_shared_experts": 2}),
}
SIGMOID = {"deepseek_v3", "deepseek_v3 of one group", "glm4_moe", "dots1", "minimax_m2"}
_LATENT_NAMES = ("deepseek_v2", "deepseek_v2 greedy", "deepseek_v3", "deepseek_v3 of one group")
DENSE = {
    "qwen3_moe first dense": {0},
    "qwen2_moe middle dense": {1},
    **{name: {0} for name in (*_LATENT_NAMES, "glm4_moe", "dots1", "ernie4_5_moe")},
}
SHARED = {
    **dict.fromkeys(("qwen2_moe", "qwen2_moe middle dense", "granitemoeshared", "hunyuan_v1_moe"), 1),
    **dict.fromkeys((*_LATENT_NAMES, "glm4_moe", "dots1", "ernie4_5_moe"), 1),
    "aria_text": 2,
}


def routed_model(name: str, seed: int = 0, **more: Any) -> Any:
    """A model with random weights, biases and corrections."""
    from transformers import AutoConfig, AutoModelForCausalLM

    kind, changes = ROUTED[name]
    special = {"pad_token_id": None, "bos_token_id": None, "eos_token_id": None}
    auto: Any = AutoModelForCausalLM
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = auto.from_config(
            AutoConfig.for_model(kind, **{**_COMMON, **special, **changes, **more})
        ).eval()
        for value in model.state_dict().values():
            if value.is_floating_point():
                value.copy_(0.3 * torch.randn(value.shape))
    return model.requires_grad_(False)


class Seen(NamedTuple):
    """What went through one block for N tokens.

    Attributes:
        logits: [N, E], as ``output_router_logits`` has them.
        choice: [N, k], as the experts received it.
        weights: [N, k], likewise.
    """

    logits: torch.Tensor
    choice: torch.Tensor
    weights: torch.Tensor


def watch(model: Any, tokens: Sequence[int]) -> dict[int, Seen]:
    """Run one sequence by the model itself; what its experts received, by layer."""
    received: dict[int, tuple[torch.Tensor, torch.Tensor]] = {}
    logits: dict[int, torch.Tensor] = {}
    handles = []

    def hear(layer: int) -> Callable[..., None]:
        def hook(_: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            given = [*args, *kwargs.values()][1:3]
            index, weights = given if not given[0].is_floating_point() else reversed(given)
            received[layer] = (index.reshape(-1, index.shape[-1]), weights.reshape(-1, weights.shape[-1]))

        return hook

    def see(layer: int) -> Callable[..., None]:
        def hook(_: Any, __: Any, output: Any) -> None:
            logits[layer] = output[0].reshape(-1, output[0].shape[-1])

        return hook

    for name, module in model.named_modules():
        parts = name.split(".")
        if parts[-1] == "experts":
            layer = next(int(part) for part in parts if part.isdigit())
            handles.append(module.register_forward_pre_hook(hear(layer), with_kwargs=True))
        elif type(module).__name__.lower().endswith(("router", "gatingv1", "moev1gate")):
            layer = next(int(part) for part in parts if part.isdigit())
            handles.append(module.register_forward_hook(see(layer)))
    try:
        with torch.no_grad():
            model(input_ids=torch.tensor([list(tokens)]), use_cache=False)
    finally:
        for handle in handles:
            handle.remove()
    assert received.keys() == logits.keys()
    return {layer: Seen(logits[layer], *received[layer]) for layer in sorted(received)}


Slow = dict[tuple[Any, str, int], dict[str, Any]]


def count_slowly(name: str, model: Any, sequences: Sequence[tuple[Any, list[int], int, int]]) -> Slow:
    """Count one token after another, from the definitions.

    Args:
        name: Of the model.
        model: The model.
        sequences: (label, tokens, tokens of the prompt, first token to count).
    """
    counts: Slow = {}
    for label, tokens, prompt, first in sequences:
        for layer, (logits, choice, weights) in watch(model, tokens).items():
            for place in range(first, len(tokens)):
                phase = "prompt" if place < prompt else "generated"
                _add(
                    counts.setdefault((label, phase, layer), defaultdict(lambda: 0)),
                    name,
                    *(part[place].double().tolist() for part in (logits, choice, weights)),
                )
    return counts


def _sigmoid(logit: float) -> float:
    return 1 / (1 + math.exp(-logit))


def _add(
    cell: dict[str, Any], name: str, logits: list[float], choice: list[float], weights: list[float]
) -> None:
    experts = len(logits)
    gates = dict(zip(map(int, choice), weights, strict=True))
    score = _sigmoid if name in SIGMOID else math.exp
    scores = [score(logit) for logit in logits]
    shares = np.array(scores) / sum(scores)
    one = np.array([float(expert in gates) for expert in range(experts)])
    best = max(gates, key=lambda expert: gates[expert])
    cell["tokens"] += 1
    cell["count"] += one
    cell["mass"] += np.array([gates.get(expert, 0.0) for expert in range(experts)]) / sum(gates.values())
    cell["top1"] += np.eye(experts)[best]
    cell["prob"] += shares
    cell["entropy"] += -float((shares * np.log(shares)).sum())
    cell["coactive"] += np.outer(one, one)


def assert_counts(found: RoutingCounts, slow: Slow) -> None:
    """Hold recorded counts against slow ones."""
    assert {(label, phase) for label, phase in found.labels} == {key[:2] for key in slow}
    assert set(found.layers) == {key[2] for key in slow}
    assert found.projections == ("mlp",)
    for (label, phase, layer), cell in slow.items():
        s = found.labels.index((label, phase))
        at = (s, found.layers.index(layer), 0)
        assert found.tokens[s] == cell["tokens"]
        for name in ("count", "top1", "coactive"):
            assert (getattr(found, name)[at] == cell[name]).all(), name
        for name in ("mass", "prob", "entropy"):
            np.testing.assert_allclose(
                getattr(found, name)[at], cell[name], rtol=1e-4, atol=1e-4, err_msg=name
            )
