"""Reproducible arithmetic, and which form of it is chosen."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

from medbench.models import load_model, molora_linears
from medbench.models.architecture.impl_choice import choose_impl
from medbench.models.architecture.molora import MoLoRALinear
from tests.models.made_checkpoints import Source
from tests.models.made_engines import tiny_model


@pytest.fixture
def restored() -> Iterator[None]:
    """What deterministic arithmetic sets is the whole process's."""
    matmul = torch.backends.cuda.matmul
    before = matmul.allow_fp16_reduced_precision_reduction, matmul.allow_bf16_reduced_precision_reduction
    yield
    torch.use_deterministic_algorithms(False)
    matmul.allow_fp16_reduced_precision_reduction, matmul.allow_bf16_reduced_precision_reduction = before


@pytest.mark.usefixtures("restored")
def test_equal_logits_go_to_the_lowest_expert(merged: Source) -> None:
    model = load_model(*merged, deterministic=True)
    assert torch.are_deterministic_algorithms_enabled()
    seen: list[Tensor] = []
    module = molora_linears(model)[0]
    module.molora_in[module.num_experts * module.rank :] = 0
    assert module.molora_in_bias is not None
    module.molora_in_bias[:] = 0
    module.observer = lambda _module, _logits, choice, _weights: seen.append(choice)
    module(torch.randn(3, module.base.in_features))
    assert seen[0].tolist() == [list(range(module.top_k))] * 3


@pytest.mark.usefixtures("restored")
def test_it_is_not_the_default(merged: Source) -> None:
    assert {module.routing for module in molora_linears(load_model(*merged))} == {"topk"}
    assert not torch.are_deterministic_algorithms_enabled()


def test_without_a_gpu_the_stacked_form_is_chosen() -> None:
    model = tiny_model()
    assert choose_impl(model) == "stacked"
    assert {module.impl for module in molora_linears(model)} == {"stacked"}
    assert choose_impl(torch.nn.Linear(1, 1)) == "stacked"


@pytest.mark.parametrize(
    ("error", "seconds", "chosen"),
    [(0.0, 0.5, "fused"), (0.0, 2.0, "stacked"), (1.0, 0.5, "stacked")],
    ids=["right and faster", "right and slower", "faster and wrong"],
)
def test_the_fused_form_must_be_right_and_faster(
    monkeypatch: pytest.MonkeyPatch, error: float, seconds: float, chosen: str
) -> None:
    def timed(module: MoLoRALinear, impl: str, x: Tensor) -> tuple[Tensor, float]:
        module.impl = "stacked"
        return module(x) + (error if impl == "fused" else 0.0), seconds if impl == "fused" else 1.0

    monkeypatch.setattr("medbench.models.architecture.impl_choice.require_fused", lambda *_: None)
    monkeypatch.setattr("medbench.models.architecture.mixtures.require_fused", lambda *_: None)
    monkeypatch.setattr("medbench.models.architecture.impl_choice._timed", timed)
    assert choose_impl(tiny_model()) == chosen


def test_a_kernel_that_cannot_be_compiled_is_not_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    def timed(_module: MoLoRALinear, impl: str, x: Tensor) -> tuple[Tensor, float]:
        if impl == "fused":
            raise RuntimeError("no compiler")
        return x, 1.0

    monkeypatch.setattr("medbench.models.architecture.impl_choice.require_fused", lambda *_: None)
    monkeypatch.setattr("medbench.models.architecture.impl_choice._timed", timed)
    assert choose_impl(tiny_model()) == "stacked"
