"""Parity with the authors' implementation on the golden checkpoints."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import torch
from torch import Tensor

from medbench.models import MoLoRALinear, convert, load_model, molora_linears, set_impl
from medbench.models.architecture.mixture import Impl
from tests.models.made_checkpoints import GOLDEN_CASES, Source, expected, golden
from tests.models.made_engines import less_exact

if TYPE_CHECKING:
    from transformers import PreTrainedModel

FORMS: tuple[Impl, ...] = ("stacked", "loop")
# Router margins below this are ties as far as float32 can tell.
_NEAR_TIE = 1e-4


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def _source(shared: Path, case: str, layout: str, tmp_path: Path) -> Source:
    if layout != "converted":
        return golden(shared, case, layout)
    adapter = golden(shared, case, "adapter")
    return Source(convert(adapter.path, tmp_path / "converted", adapter.base))


def _logits(model: PreTrainedModel, ids: Tensor) -> Tensor:
    with torch.no_grad():
        logits: Tensor = model(ids).logits[0]
    return logits


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize("layout", ["adapter", "merged", "converted"])
@pytest.mark.parametrize("case", GOLDEN_CASES)
def test_logits_and_router_choices(
    shared: Path, tmp_path: Path, case: str, layout: str, attention: str
) -> None:
    source = _source(shared, case, layout, tmp_path)
    model = load_model(*source)
    model.set_attn_implementation(attention)
    golden_tensors = expected(shared, case)
    seen: dict[str, tuple[Tensor, Tensor]] = {}
    for module in molora_linears(model):
        name = f"prefill.router_logits.model.layers.{module.layer}.mlp.{module.projection}_proj"
        module.observer = lambda _module, logits, choice, _weights, name=name: seen.update(
            {name: (logits, choice)}
        )
    ids, published = golden_tensors["prefill.input_ids"], golden_tensors["prefill.logits"]
    difference = (_logits(model, ids) - published).abs().amax(1)
    # At a few tokens float32 rounding grows past any fixed bound, in the published logits too; how far
    # depends on the order in which a processor sums. Their distance from float64 says where, and how far.
    exact = _logits(load_model(*source, dtype="float64"), ids)
    rounding = (published.double() - exact).abs().amax(1)
    assert (rounding <= 5e-4).float().mean() >= 0.9
    assert (difference <= (2 * rounding).clamp(min=1e-3)).all()
    routers = {name for name in golden_tensors if name.startswith("prefill.router_logits.")}
    assert seen.keys() == routers
    for name in routers:
        top = golden_tensors[name].topk(3, dim=1)
        clear = top.values[:, 1] - top.values[:, 2] > _NEAR_TIE
        chosen, theirs = seen[name][1].sort(dim=1).values, top.indices[:, :2].sort(dim=1).values
        assert clear.any()
        assert torch.equal(chosen[clear], theirs[clear])


@pytest.mark.parametrize("case", GOLDEN_CASES)
def test_forms_agree(shared: Path, case: str) -> None:
    model = load_model(*golden(shared, case, "merged"), dtype="float64")
    ids = expected(shared, case)["prefill.input_ids"]
    stacked = _logits(model, ids)
    set_impl(model, "loop")
    # transformers normalizes in float32 whatever the model's dtype, and rounding amplifies the last bits.
    torch.testing.assert_close(stacked, _logits(model, ids), rtol=0, atol=1e-6)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@pytest.mark.parametrize("case", GOLDEN_CASES)
def test_16_bit_mixtures_are_as_exact_as_the_loop(shared: Path, case: str, dtype: str) -> None:
    """Every mixture on the inputs that it sees, against float64 on the same 16-bit weights."""
    model = load_model(*golden(shared, case, "merged"), dtype=dtype)
    inputs: dict[MoLoRALinear, Tensor] = {}
    for module in molora_linears(model):
        module.register_forward_pre_hook(lambda module, args: inputs.update({module: args[0]}))
    _logits(model, expected(shared, case)["prefill.input_ids"])
    errors: dict[Impl, list[float]] = {"stacked": [], "loop": []}
    for module, x in inputs.items():
        (stacked, chosen), (loop, chosen_by_loop) = (_output(module, x, impl) for impl in ("stacked", "loop"))
        truth, best = _output(module.double(), x.double(), "loop")
        agreed = (chosen == best).all(1) & (chosen_by_loop == best).all(1)
        assert agreed.float().mean() > 0.9
        scale = truth[agreed].square().mean().sqrt()
        errors["stacked"].append(float((stacked - truth)[agreed].square().mean().sqrt() / scale))
        errors["loop"].append(float((loop - truth)[agreed].square().mean().sqrt() / scale))
    assert len(errors["stacked"]) == 9
    assert 0 < sum(errors["stacked"]) <= sum(errors["loop"])


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@pytest.mark.parametrize("case", GOLDEN_CASES)
def test_16_bit_logits_are_as_exact_as_the_loops(shared: Path, case: str, dtype: str) -> None:
    """The whole model on 400 tokens, compared token by token, since near-ties decide the largest errors."""
    source = golden(shared, case, "merged")
    texts = json.loads((source.path.parent / "expected.json").read_bytes())["generations"]
    prompts = [torch.tensor([text["prompt_ids"] + text["new_ids"]]) for text in texts]
    model = load_model(*source, dtype=dtype)
    oracle = load_model(*source, dtype="float64", impl="loop")
    oracle.load_state_dict({name: tensor.double() for name, tensor in model.state_dict().items()})
    truth = torch.cat([_logits(oracle, ids) for ids in prompts])
    error = {}
    for impl in FORMS:
        set_impl(model, impl)
        logits = torch.cat([_logits(model, ids) for ids in prompts]).double()
        error[impl] = (logits - truth).abs().median(1).values
    assert (error["stacked"] > 0).any()
    assert not less_exact(error["stacked"], error["loop"])


def _output(module: MoLoRALinear, x: Tensor, impl: Impl) -> tuple[Tensor, Tensor]:
    """Run one mixture: its output [N, out] in float64, and the experts chosen [N, k] in ascending order."""
    chosen: list[Tensor] = []
    module.impl = impl
    module.observer = lambda _module, _logits, choice, _weights: chosen.append(choice.sort(dim=1).values)
    with torch.no_grad():
        return module(x[0]).double(), chosen[0]
