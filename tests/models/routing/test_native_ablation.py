"""Changed routers of mixtures of experts, against experts that are handed the change themselves."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

import pytest
import torch
from torch import Tensor

from medbench.errors import ModelError
from medbench.models import Ablation, Engine, ablated, parse_ablation, sweep
from tests.models.routed_zoo import DENSE, ROUTED, routed_model, watch

_TEXT = [3, 1, 4, 1, 5, 9, 2, 6, 5, 3, 5, 8, 9, 7, 9]
_RULED = "phimoe"  # its routers choose by a rule of their own
_MASKED = [name for name in ROUTED if name != _RULED and name != "mixtral top 1"]

Change = Callable[[Tensor, Tensor, int], tuple[Tensor, Tensor]]


def _top1(index: Tensor, weights: Tensor, _: int) -> tuple[Tensor, Tensor]:
    best = weights.argmax(-1, keepdim=True)
    return index.gather(-1, best), weights.sum(-1, keepdim=True)


def _uniform(index: Tensor, weights: Tensor, _: int) -> tuple[Tensor, Tensor]:
    return index, weights * 0 + weights.sum(-1, keepdim=True) / weights.shape[-1]


def _average(index: Tensor, weights: Tensor, experts: int) -> tuple[Tensor, Tensor]:
    everyone = torch.arange(experts).repeat(len(index), 1)
    return everyone, weights.sum(-1, keepdim=True).repeat(1, experts) / experts


def _off(index: Tensor, weights: Tensor, _: int) -> tuple[Tensor, Tensor]:
    return index, weights * 0


_FORMS: dict[str, Change] = {"top1": _top1, "uniform": _uniform, "average": _average, "off": _off}


def _logits(model: Any) -> Tensor:
    with torch.no_grad():
        found: Tensor = model(input_ids=torch.tensor([_TEXT]), use_cache=False).logits[0]
    return found


def _experts(model: Any) -> list[Any]:
    return [module for name, module in model.named_modules() if name.endswith(".experts")]


def _handed(model: Any, change: Change) -> Tensor:
    """The model's logits with the change made to what its experts receive."""

    def hook(module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        names = ["hidden", *kwargs] if len(args) == 1 else []
        hidden, index, weights = [*args, *kwargs.values()]
        if index.is_floating_point():
            weights, index = change(weights, index, module.num_experts)[::-1]
            index, weights = weights, index
        else:
            index, weights = change(index, weights, module.num_experts)
        if names:
            return (hidden,), dict(zip(names[1:], (index, weights), strict=True))
        return (hidden, index, weights), {}

    with ExitStack() as stack:
        for module in _experts(model):
            stack.callback(module.register_forward_pre_hook(hook, with_kwargs=True).remove)
        return _logits(model)


@pytest.mark.parametrize("form", _FORMS)
@pytest.mark.parametrize("name", ROUTED)
def test_forms(name: str, form: str) -> None:
    model = routed_model(name)
    expected = _handed(model, _FORMS[form])
    with ablated(model, parse_ablation(form)):
        found = _logits(model)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
    intact = _logits(model)
    # One expert has all the weight anyway, and the two of this model's routers often have the same.
    alike = {"mixtral top 1": ("top1", "uniform"), "phimoe": ("uniform",)}
    assert not torch.allclose(found, intact) or form in alike.get(name, ())
    assert all("forward" not in vars(module) for module in model.modules())


@pytest.mark.parametrize("ranks", [(0,), (1,), (0, 1)])
@pytest.mark.parametrize("name", _MASKED)
def test_experts_that_are_gone_are_never_chosen(name: str, ranks: tuple[int, ...]) -> None:
    model = routed_model(name)
    first = min(set(range(3)) - DENSE.get(name, set()))
    before = watch(model, _TEXT)[first]
    busiest = before.choice.flatten().bincount().argsort(descending=True).tolist()
    gone = tuple(busiest[rank] for rank in ranks)
    with ablated(model, Ablation("expert", gone)):
        seen = watch(model, _TEXT)
    for _, choice, weights in seen.values():
        assert not torch.isin(choice, torch.tensor(gone)).any()
        assert all(len(set(row)) == choice.shape[1] for row in choice.tolist())
        assert (weights > 0).all()
    # Tokens that did not choose them go on as they did.
    after = seen[first]
    kept = ~torch.isin(before.choice, torch.tensor(gone)).any(1)
    assert torch.equal(before.choice[kept].sort(1).values, after.choice[kept].sort(1).values)
    torch.testing.assert_close(before.weights[kept].sort(1).values, after.weights[kept].sort(1).values)
    assert not kept.all()


@pytest.mark.parametrize("gone", range(4))
@pytest.mark.parametrize(("name", "normalized"), [("mixtral", True), ("olmoe", False), ("gpt_oss", True)])
def test_softmax_over_the_rest(name: str, normalized: bool, gone: int) -> None:
    model = routed_model(name)
    with ablated(model, Ablation("expert", (gone,))):
        seen = watch(model, _TEXT)[0]
    for logits, choice, weights in zip(*seen, strict=True):
        rest = [expert for expert in range(4) if expert != gone]
        best = sorted(rest, key=lambda expert: -float(logits[expert]))[:2]
        assert sorted(choice.tolist()) == sorted(best)
        scale = logits[best].exp().sum() if normalized else logits.exp().sum()
        torch.testing.assert_close(weights, logits[choice].exp() / scale)


@pytest.mark.parametrize("gone", range(8))
def test_sigmoid_with_a_bias_and_groups_over_the_rest(gone: int) -> None:
    model = routed_model("deepseek_v3")
    router = model.model.layers[1].mlp.gate
    with ablated(model, Ablation("expert", (gone,))):
        seen = watch(model, _TEXT)[1]
    for logits, choice, weights in zip(*seen, strict=True):
        scores = logits.sigmoid()
        biased = scores + router.e_score_correction_bias
        groups = biased.view(router.num_group, -1).topk(2, dim=1).values.sum(1).topk(2).indices.tolist()
        allowed = [expert for expert in range(8) if expert // 2 in groups and expert != gone]
        best = sorted(allowed, key=lambda expert: -float(biased[expert]))[:2]
        assert sorted(choice.tolist()) == sorted(best)
        torch.testing.assert_close(
            weights, scores[choice] / scores[best].sum() * router.routed_scaling_factor
        )


@pytest.mark.parametrize(
    ("name", "text", "why"),
    [
        ("mixtral", "expert:4", "no expert 4"),
        ("mixtral", "expert:0+1+2", "fewer experts would be left than the 2"),
        ("mixtral", "expert:0+1+2+3", "no expert would be left"),
        ("mixtral", "top1@2", "no router lies at"),
        ("mixtral", "top1@0.gate", "no router lies at"),
        ("qwen3_moe first dense", "off@0", "no router lies at"),
        ("qwen2_moe middle dense", "uniform@1.mlp", "no router lies at"),
        ("deepseek_v2", "expert:0+1+2", "fewer experts would be left"),
        ("deepseek_v3", "expert:0+1+2", "fewer experts would be left"),
        ("glm4_moe", "expert:5+6+7", "fewer experts would be left"),
        ("phimoe", "expert:0", "a rule of its own"),
        ("phimoe", "expert:9", "no expert 9"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_runs(name: str, text: str, why: str) -> None:
    model = routed_model(name)
    with pytest.raises(ModelError, match=why), ablated(model, parse_ablation(text)):
        raise AssertionError("nothing may run")
    assert all("forward" not in vars(module) for module in model.modules())


@pytest.mark.parametrize("layer", range(2))
def test_a_layer_alone(layer: int) -> None:
    model = routed_model("mixtral")
    before = watch(model, _TEXT)
    with ablated(model, parse_ablation(f"expert:1@{layer}.mlp")):
        after = watch(model, _TEXT)
    assert [bool((seen.choice == 1).any()) for seen in after.values()] == [layer == 1, layer == 0]
    assert all((seen.choice == 1).any() for seen in before.values())


@pytest.mark.parametrize(("where", "count"), [("everywhere", 4), ("layers", 8), ("linears", 8)])
def test_a_sweep_names_each_expert_at_each_place(where: str, count: int) -> None:
    model = routed_model("mixtral")
    found = sweep(model, where)
    assert len(found) == count + 4
    for ablation in found:
        assert parse_ablation(str(ablation)) == ablation
        with ablated(model, ablation):
            assert torch.isfinite(_logits(model)).all()


@pytest.mark.parametrize("form", ["expert:1", *_FORMS])
@pytest.mark.parametrize("name", ["mixtral", "qwen2_moe", "deepseek_v3", "gpt_oss"])
def test_the_engine_answers_with_the_change(name: str, form: str) -> None:
    model = routed_model(name)
    with ablated(model, parse_ablation(form)):
        logp = _logits(model).double().log_softmax(-1)
        [score] = Engine(model, routing="off").score([(_TEXT[:-1], _TEXT[-1:])])
    assert score.logprob == pytest.approx(float(logp[-2, _TEXT[-1]]), abs=1e-4)
