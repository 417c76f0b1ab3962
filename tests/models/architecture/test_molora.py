"""The mixture's arithmetic: the stacked form against the published one, routing, observers."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

from medbench.errors import ModelError
from medbench.models import MoLoRAConfig, MoLoRALinear, add_molora, molora_linears, set_impl
from medbench.models.architecture.mixture import Impl

FORMS: tuple[Impl, ...] = ("stacked", "loop")


def _mixture(
    config: MoLoRAConfig,
    in_features: int = 12,
    out_features: int = 10,
    *,
    dtype: torch.dtype = torch.float64,
    bias: bool = False,
    seed: int = 0,
) -> MoLoRALinear:
    generator = torch.Generator().manual_seed(seed)

    def random(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64).to(dtype)

    base = nn.Linear(in_features, out_features, bias=bias, dtype=dtype)
    base.weight = nn.Parameter(random(out_features, in_features), requires_grad=False)
    module = MoLoRALinear(base, config, layer=0, projection="gate")
    module.fill({name: random(*part.shape) for name, part in module.parts().items()})
    return module


def _run(module: MoLoRALinear, x: Tensor, impl: Impl) -> Tensor:
    module.impl = impl
    with torch.no_grad():
        y: Tensor = module(x)
    return y


@torch.no_grad()
def _by_hand(module: MoLoRALinear, x: Tensor) -> Tensor:
    """The formula, token by token, from the arXiv paper; no code in common with either form."""
    rank, out = module.rank, []
    for token in x:
        y = module.base.weight @ token
        if module.base.bias is not None:
            y = y + module.base.bias
        if module.router_weight is None:
            chosen, gates = [0], [1.0]
        else:
            bias = 0.0 if module.router_bias is None else module.router_bias
            logits = (module.router_weight @ token + bias).tolist()
            chosen = sorted(range(len(logits)), key=lambda i: -logits[i])[: module.top_k]
            total = math.fsum(math.exp(logits[i]) for i in chosen)
            gates = [math.exp(logits[i]) / total for i in chosen]
        for i, gate in zip(chosen, gates, strict=True):
            rows = slice(i * rank, (i + 1) * rank)
            a = module.lora_a if module.config.shared_a else module.lora_a[rows]
            y = y + gate * module.scaling * (module.lora_b[:, rows] @ (a @ token))
        for i in range(module.config.shared_experts):
            shared_a, shared_b = module.parts()["shared_a"], module.parts()["shared_b"]
            rows = slice(i * rank, (i + 1) * rank)
            y = y + module.scaling * (shared_b[:, rows] @ (shared_a[rows] @ token))
        out.append(y)
    return torch.stack(out)


@st.composite
def _configs(draw: st.DrawFn) -> MoLoRAConfig:
    num_experts = draw(st.integers(1, 9))
    return MoLoRAConfig(
        num_experts=num_experts,
        top_k=draw(st.integers(1, num_experts)),
        rank=draw(st.integers(1, 6)),
        alpha=draw(st.floats(0.1, 64)),
        use_rslora=draw(st.booleans()),
        router_bias=draw(st.booleans()),
        shared_experts=draw(st.integers(0, 2)),
        shared_a=draw(st.booleans()),
    )


@settings(max_examples=60, deadline=None)
@given(
    config=_configs(),
    in_features=st.integers(1, 20),
    out_features=st.integers(1, 20),
    batch=st.lists(st.integers(1, 4), min_size=1, max_size=2),
    bias=st.booleans(),
    seed=st.integers(0, 2**20),
)
def test_forms_agree_with_the_formula(
    config: MoLoRAConfig, in_features: int, out_features: int, batch: list[int], bias: bool, seed: int
) -> None:
    module = _mixture(config, in_features, out_features, bias=bias, seed=seed)
    x = torch.randn(
        *batch, in_features, generator=torch.Generator().manual_seed(seed + 1), dtype=torch.float64
    )
    truth = _by_hand(module, x.reshape(-1, in_features)).view(*batch, out_features)
    bound = 1e-10 * max(1.0, float(truth.abs().max()))
    assert (_run(module, x, "stacked") - truth).abs().max() <= bound
    assert (_run(module, x, "loop") - truth).abs().max() <= bound


@pytest.mark.parametrize("impl", ["stacked", "loop"])
def test_no_tokens_give_no_outputs(impl: Impl) -> None:
    module = _mixture(MoLoRAConfig(4, 2, 3, 6))
    assert _run(module, torch.zeros(0, 12, dtype=torch.float64), impl).shape == (0, 10)


def test_input_is_left_alone() -> None:
    module = _mixture(MoLoRAConfig(4, 2, 3, 6))
    x = torch.ones(2, 5, 12, dtype=torch.float64)
    _run(module, x, "stacked")
    assert torch.equal(x, torch.ones_like(x))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_router_bias_is_inside_the_product(dtype: torch.dtype) -> None:
    """The router's logits must be rounded once, as one linear layer with a bias rounds them."""
    module = _mixture(MoLoRAConfig(8, 2, 4, 8), 64, 32, dtype=dtype)
    x = torch.randn(200, 64, generator=torch.Generator().manual_seed(3)).to(dtype)
    seen: list[Tensor] = []
    module.observer = lambda _module, logits, _choice, _weights: seen.append(logits)
    _run(module, x, "stacked")
    assert module.router_weight is not None
    assert module.router_bias is not None
    exact = x.double() @ module.router_weight.double().t() + module.router_bias.double()
    inside = (seen[0].double() - exact).abs()
    outside = (F.linear(x, module.router_weight) + module.router_bias).double() - exact
    assert inside.mean() < outside.abs().mean()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_stacked_is_as_exact_as_the_loop_in_16_bit(dtype: torch.dtype) -> None:
    module = _mixture(MoLoRAConfig(8, 2, 16, 32), 64, 48, dtype=dtype)
    x = torch.randn(500, 64, generator=torch.Generator().manual_seed(5)).to(dtype)
    oracle = _mixture(MoLoRAConfig(8, 2, 16, 32), 64, 48).to(torch.float64)
    oracle.load_state_dict({name: value.double() for name, value in module.state_dict().items()})
    oracle.base.weight = nn.Parameter(module.base.weight.double(), requires_grad=False)
    choices: list[Tensor] = []
    for each in (module, oracle):
        each.observer = lambda _module, _logits, choice, _weights: choices.append(choice.sort(dim=1).values)
    truth = _run(oracle, x.double(), "loop")
    errors = {impl: (_run(module, x, impl).double() - truth).abs() for impl in FORMS}
    same = (choices[0] == choices[1]).all(1) & (choices[0] == choices[2]).all(1)
    assert same.float().mean() > 0.95
    assert errors["stacked"][same].mean() <= errors["loop"][same].mean()
    assert errors["stacked"][same].square().mean() <= errors["loop"][same].square().mean()


@pytest.mark.parametrize("impl", ["stacked", "loop"])
def test_observer_sees_the_routing_of_every_token(impl: Impl) -> None:
    module = _mixture(MoLoRAConfig(5, 3, 2, 4))
    x = torch.randn(2, 7, 12, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    seen = []
    module.observer = lambda *call: seen.append(call)
    _run(module, x, impl)
    (call,) = seen
    who, logits, choice, weights = call
    assert who is module
    assert (logits.shape, choice.shape, weights.shape) == ((14, 5), (14, 3), (14, 3))
    assert module.router_weight is not None
    expected = x.view(-1, 12) @ module.router_weight.t() + module.router_bias
    torch.testing.assert_close(logits, expected)
    assert torch.equal(choice, expected.topk(3).indices)
    torch.testing.assert_close(weights.sum(1), torch.ones(14, dtype=torch.float64))


def test_observer_is_not_called_without_a_router() -> None:
    module = _mixture(MoLoRAConfig(1, 1, 2, 4))
    module.observer = lambda *_: pytest.fail("nothing was chosen")
    _run(module, torch.ones(3, 12, dtype=torch.float64), "stacked")


def test_gates_stay_in_float32_in_16_bit() -> None:
    module = _mixture(MoLoRAConfig(4, 2, 2, 4), dtype=torch.bfloat16)
    seen: list[Tensor] = []
    module.observer = lambda _module, _logits, _choice, weights: seen.append(weights)
    _run(module, torch.ones(3, 12, dtype=torch.bfloat16), "stacked")
    assert seen[0].dtype == torch.float32


def test_first_routing_takes_the_lowest_index_among_equals() -> None:
    module = _mixture(MoLoRAConfig(6, 3, 2, 4))
    zero = torch.zeros(6, 12, dtype=torch.float64)
    parts = {name: part.detach() for name, part in module.parts().items()} | {"router": zero}
    module.fill(parts | {"router_bias": torch.tensor([0.0, 1, 0, 1, 0, 1]).double()})
    module.routing = "first"
    seen: list[Tensor] = []
    module.observer = lambda _module, _logits, choice, _weights: seen.append(choice)
    _run(module, torch.ones(4, 12, dtype=torch.float64), "stacked")
    assert seen[0].tolist() == [[1, 3, 5]] * 4
    module.fill(parts | {"router_bias": torch.zeros(6, dtype=torch.float64)})
    _run(module, torch.ones(4, 12, dtype=torch.float64), "stacked")
    assert seen[1].tolist() == [[0, 1, 2]] * 4


def test_first_routing_equals_topk_without_ties() -> None:
    module = _mixture(MoLoRAConfig(6, 3, 2, 4))
    x = torch.randn(50, 12, generator=torch.Generator().manual_seed(8), dtype=torch.float64)
    published = _run(module, x, "stacked")
    module.routing = "first"
    assert torch.equal(_run(module, x, "stacked"), published)


def test_training_moves_the_router_bias_and_nothing_before_it() -> None:
    module = _mixture(MoLoRAConfig(4, 2, 3, 6))
    for parameter in (module.molora_in, module.molora_b, module.molora_in_bias):
        assert parameter is not None
        parameter.requires_grad_(True)
    x = torch.randn(20, 12, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    gradients = {}
    for impl in FORMS:
        module.impl = impl
        module.zero_grad()
        module(x).square().sum().backward()
        assert module.molora_in_bias is not None
        assert module.molora_in_bias.grad is not None
        assert torch.equal(module.molora_in_bias.grad[:12], torch.zeros(12, dtype=torch.float64))
        gradients[impl] = torch.cat([module.molora_in.grad.flatten(), module.molora_in_bias.grad])  # type: ignore[union-attr]
    torch.testing.assert_close(gradients["stacked"], gradients["loop"])
    assert gradients["stacked"][-4:].abs().max() > 0


def test_a_fresh_mixture_changes_nothing() -> None:
    base = nn.Linear(12, 10)
    module = MoLoRALinear(base, MoLoRAConfig(4, 2, 3, 6), layer=0, projection="up")
    x = torch.randn(5, 12, generator=torch.Generator().manual_seed(2))
    torch.testing.assert_close(module(x), base(x))
    assert module.molora_in.abs().min() > 0


class _MLP(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.gate_proj, self.up_proj, self.down_proj = nn.Linear(4, 6), nn.Linear(4, 6), nn.Linear(6, 4)


class _Decoder(nn.Module):
    def __init__(self, layers: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.ModuleDict({"mlp": _MLP()}) for _ in range(layers))


def test_mixtures_are_added_and_listed_in_order() -> None:
    model = _Decoder(11)
    added = add_molora(model, MoLoRAConfig(4, 2, 3, 6))
    listed = molora_linears(model)
    assert added == listed
    places = [(module.layer, module.projection) for module in listed]
    assert places == [(layer, name) for layer in range(11) for name in ("gate", "up", "down")]
    set_impl(model, "loop")
    assert {module.impl for module in listed} == {"loop"}


def test_a_model_without_the_projections_is_refused() -> None:
    with pytest.raises(ModelError, match="no MLP"):
        add_molora(nn.Sequential(nn.Linear(3, 3)), MoLoRAConfig(4, 2, 3, 6))


def test_an_unknown_form_is_refused() -> None:
    with pytest.raises(ModelError, match="unknown impl 'magic'"):
        set_impl(_Decoder(1), "magic")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"num_experts": 0}, "num_experts is 0"),
        ({"top_k": 5}, "num_experts_per_token is 5"),
        ({"top_k": 0}, "num_experts_per_token is 0"),
        ({"rank": 0}, "rank r is 0"),
        ({"alpha": 0.0}, "lora_alpha is 0.0"),
        ({"alpha": float("nan")}, "lora_alpha is nan"),
    ],
)
def test_impossible_shapes_are_refused(values: dict[str, float], message: str) -> None:
    good: dict[str, float] = {"num_experts": 4, "top_k": 2, "rank": 8, "alpha": 16.0}
    with pytest.raises(ModelError, match=message):
        MoLoRAConfig(**(good | values))  # type: ignore[arg-type]


@pytest.mark.parametrize(("use_rslora", "scaling"), [(False, 2.0), (True, 8.0)])
def test_scaling(use_rslora: bool, scaling: float) -> None:
    assert MoLoRAConfig(8, 2, 16, 32, use_rslora).scaling == scaling
