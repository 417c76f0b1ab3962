"""Changed routers against arithmetic written out expert by expert."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, get_args

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from medbench.common.choices import Projection
from medbench.errors import ModelError
from medbench.models import (
    Ablation,
    Engine,
    MoLoRAConfig,
    MoLoRALinear,
    ablated,
    molora_linears,
    parse_ablation,
    sweep,
)
from medbench.models.architecture.mixture import Impl
from medbench.models.routing.ablation import FORMS
from tests.models.made_engines import tiny_model

FORM_LIST = [
    Ablation("expert", (1,)),
    Ablation("expert", (0, 3)),
    Ablation("expert", (0, 1, 2)),
    Ablation("top1"),
    Ablation("uniform"),
    Ablation("average"),
    Ablation("off"),
]


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def _linear(seed: int = 0, experts: int = 4, k: int = 2) -> MoLoRALinear:
    torch.manual_seed(seed)
    config = MoLoRAConfig(num_experts=experts, top_k=k, rank=3, alpha=6)
    module = MoLoRALinear(torch.nn.Linear(7, 5).double(), config, layer=0, projection="gate")
    torch.nn.init.normal_(module.molora_b)
    assert module.molora_in_bias is not None
    torch.nn.init.normal_(module.molora_in_bias)
    with torch.no_grad():
        module.molora_in_bias[: experts * 3] = 0
    return module.requires_grad_(False)


def _slow(module: MoLoRALinear, x: list[float], ablation: Ablation) -> Any:
    """One token, in plain Python."""
    a = module.lora_a.view(module.num_experts, module.rank, -1).numpy()
    b = module.lora_b.view(-1, module.num_experts, module.rank).numpy()
    router, bias = module.router_weight, module.router_bias
    assert router is not None
    assert bias is not None
    token = np.array(x)
    logits = (router.numpy() @ token + bias.numpy()).tolist()
    left = [e for e in range(module.num_experts) if e not in ablation.experts]
    ranked = sorted(left, key=lambda e: -logits[e])
    chosen = {"top1": ranked[:1], "average": ranked, "off": []}.get(ablation.form, ranked[: module.top_k])
    if ablation.form in ("uniform", "average"):
        weights = [1 / len(chosen)] * len(chosen)
    else:
        total = sum(math.exp(logits[e]) for e in chosen)
        weights = [math.exp(logits[e]) / total for e in chosen]
    y = module.base.weight.numpy() @ token + module.base.bias.numpy()
    for expert, weight in zip(chosen, weights, strict=True):
        y = y + weight * module.scaling * (b[:, expert] @ (a[expert] @ token))
    return y


@pytest.mark.parametrize("impl", ["stacked", "loop"])
@pytest.mark.parametrize("ablation", FORM_LIST, ids=str)
def test_every_form_is_its_definition(ablation: Ablation, impl: Impl) -> None:
    module = _linear()
    module.impl = impl
    x = torch.randn(11, 7, dtype=torch.float64)
    intact = module(x)
    scaling = module.scaling
    expected = np.stack([_slow(module, row, ablation) for row in x.tolist()])
    with ablated(module, ablation):
        changed = module(x)
    assert changed.numpy() == pytest.approx(expected, abs=1e-6)  # gates are float32
    assert not torch.allclose(changed, intact)
    assert module.router is None
    assert module.scaling == scaling
    assert torch.equal(module(x), intact)


@given(st.integers(2, 6), st.integers(1, 3), st.integers(0, 10_000))
@settings(max_examples=30, deadline=None)
def test_removed_experts_are_never_chosen(experts: int, k: int, seed: int) -> None:
    module = _linear(seed, experts, min(k, experts))
    gone = tuple(int(e) for e in np.random.default_rng(seed).permutation(experts)[: experts - 1][:2])
    seen: list[Any] = []
    module.observer = lambda _m, _l, choice, weights: seen.append((choice, weights))
    with ablated(module, Ablation("expert", gone)):
        module(torch.randn(9, 7, dtype=torch.float64))
    ((choice, weights),) = seen
    assert not np.isin(choice.numpy(), gone).any()
    assert weights.sum(dim=1).numpy() == pytest.approx(np.ones(9))
    assert choice.shape[1] == min(module.top_k, experts - len(gone))


def test_place_limits_the_change() -> None:
    model = tiny_model()
    for place in (
        Ablation("off", layer=1),
        Ablation("top1", projection="up"),
        Ablation("off", (), 0, "down"),
    ):
        with ablated(model, place):
            for module in molora_linears(model):
                touched = module.router is not None or module.scaling == 0
                assert touched == (
                    place.layer in (None, module.layer) and place.projection in (None, module.projection)
                )


def test_an_error_inside_leaves_the_model_as_it_was() -> None:
    module = _linear()
    scaling = module.scaling
    with pytest.raises(ZeroDivisionError), ablated(module, Ablation("off")):
        raise ZeroDivisionError
    assert (module.router, module.scaling) == (None, scaling)


def test_the_engine_answers_for_the_changed_model() -> None:
    model = tiny_model()
    prompts = [[3, 4, 5, 6], [7, 8]]
    engine = Engine(model, routing="off")
    intact = engine.score([(prompt, [9, 10]) for prompt in prompts])
    with ablated(model, Ablation("off")):
        off = engine.score([(prompt, [9, 10]) for prompt in prompts])
        for module in molora_linears(model):
            assert module.scaling == 0
        expected = []
        for prompt in prompts:
            logits = torch.log_softmax(model(torch.tensor([[*prompt, 9]])).logits[0].double(), dim=-1)
            expected.append(float(logits[-2, 9] + logits[-1, 10]))
    assert [score.logprob for score in off] == pytest.approx(expected, abs=1e-4)
    assert [score.logprob for score in off] != pytest.approx([score.logprob for score in intact], abs=1e-6)
    again = engine.score([(prompt, [9, 10]) for prompt in prompts])
    assert [score.logprob for score in again] == [score.logprob for score in intact]


@given(
    st.sampled_from(FORMS),
    st.lists(st.integers(0, 99), min_size=1, max_size=3, unique=True),
    st.none() | st.integers(0, 99),
    st.sampled_from([None, *get_args(Projection)]),
)
def test_names_are_read_back(form: Any, experts: list[int], layer: int | None, projection: Any) -> None:
    ablation = Ablation(form, tuple(experts) if form == "expert" else (), layer, projection)
    assert parse_ablation(str(ablation)) == ablation


@pytest.mark.parametrize(
    "text", ["", "expert", "expert:", "top1:3", "off@", "off@x", "off@1.", "expert:1,2", "none", "expert:-1"]
)
def test_other_names_are_refused(text: str) -> None:
    with pytest.raises(ModelError):
        parse_ablation(text)


def test_sweeps_name_every_expert_of_every_place() -> None:
    model = tiny_model()
    linears = molora_linears(model)
    experts = linears[0].num_experts
    others = len(FORMS) - 1
    assert len(sweep(model)) == experts + others
    assert len(sweep(model, "layers", ())) == experts * len({module.layer for module in linears})
    assert len(set(sweep(model, "linears", ()))) == experts * len(linears)
    with pytest.raises(ModelError):
        sweep(model, "somewhere")


@pytest.mark.parametrize(
    "ablation", [Ablation("expert", (99,)), Ablation("expert", (0, 1, 2, 3)), Ablation("top1", layer=99)]
)
def test_what_the_model_lacks_is_refused(ablation: Ablation) -> None:
    model = tiny_model()
    with pytest.raises(ModelError), ablated(model, ablation):
        raise AssertionError("nothing may run")
    assert all(module.router is None for module in molora_linears(model))


def test_plain_models_are_refused() -> None:
    with pytest.raises(ModelError, match="no routers"), ablated(torch.nn.Linear(2, 2), Ablation("off")):
        pass
