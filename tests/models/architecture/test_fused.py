"""The Triton kernel against float64, on a GPU or in Triton's interpreter."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from medbench.errors import ModelError
from medbench.models import MoLoRAConfig, load_model, molora_linears, set_impl
from medbench.models.architecture.fused import expand_, require_fused
from tests.conftest import CHECKOUT
from tests.models import made_checkpoints as cp
from tests.models.made_checkpoints import BASES, Source, refused

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")


@pytest.fixture
def kernel() -> None:
    """Demand a GPU or Triton's interpreter, which must be chosen before triton is first imported."""
    if importlib.util.find_spec("triton") is None:
        pytest.skip("needs triton, which torch for CUDA brings along")
    if DEVICE.type == "cpu" and os.environ.get("TRITON_INTERPRET") != "1":
        pytest.skip("needs a GPU; run in Triton's interpreter by test_in_the_interpreter")


@pytest.mark.slow
@pytest.mark.ci
def test_in_the_interpreter() -> None:
    """Run this file's other tests in a process of their own, where there is triton but no GPU."""
    if importlib.util.find_spec("triton") is None or DEVICE.type == "cuda":
        pytest.skip("needs triton and no GPU")
    if os.environ.get("TRITON_INTERPRET") == "1":
        pytest.skip("this is that process")
    command = [sys.executable, "-m", "pytest", "-o", "addopts=", "-p", "no:cacheprovider", __file__]
    environment = os.environ | {"TRITON_INTERPRET": "1"}
    result = subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=300, cwd=CHECKOUT
    )
    assert result.returncode == 0, result.stdout
    assert "24 passed, 4 skipped" in result.stdout


@pytest.mark.parametrize("element", ["bf16", "fp16", "fp32"])
def test_it_compiles_for_hopper(element: str) -> None:
    """Triton needs no GPU to compile for one."""
    if importlib.util.find_spec("triton") is None or os.environ.get("TRITON_INTERPRET") == "1":
        pytest.skip("needs triton, not interpreted")
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    from medbench.models.architecture.fused_kernel import expand_kernel

    constants = {
        "EXPERTS": 8,
        "EXPERTS_PADDED": 8,
        "TOP_K": 2,
        "RANK": 16,
        "RANK_PADDED": 16,
        "BLOCK_TOKENS": 16,
        "BLOCK_OUT": 64,
        "WIDEN": False,
    }
    signature = dict.fromkeys(("y_ptr", "h_ptr", "b_ptr"), f"*{element}")
    signature |= dict.fromkeys(("tokens", "out_features", "stride_y", "stride_h", "stride_b"), "i32")
    signature |= {"scaling": "fp32"} | dict.fromkeys(constants, "constexpr")
    ordered = {name: signature[name] for name in expand_kernel.arg_names}
    source = ASTSource(fn=expand_kernel, signature=ordered, constexprs=constants)
    compiled = triton.compile(source, target=GPUTarget("cuda", 90, 32))
    assert compiled.asm["cubin"]
    assert ("mma" in compiled.asm["ptx"]) == (element != "fp32")


def _case(
    tokens: int, experts: int, top_k: int, rank: int, out: int, dtype: torch.dtype
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return y, h, b and the exact result for them."""
    generator = torch.Generator().manual_seed(tokens + out)
    rows = experts * rank
    y, h, b = (
        torch.randn(*shape, generator=generator).to(dtype)
        for shape in ((tokens, out), (tokens, rows + experts), (out, rows))
    )
    best, choice = h[:, rows:].double().topk(top_k, dim=1)
    gates = torch.zeros(tokens, experts, dtype=torch.float64).scatter_(
        1, choice, F.softmax(best, dim=1) * 2.5
    )
    gated = h[:, :rows].double().view(tokens, experts, rank) * gates.unsqueeze(2)
    return y, h, b, y.double() + gated.flatten(1) @ b.double().t()


@pytest.mark.usefixtures("kernel")
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize(
    ("tokens", "experts", "top_k", "rank", "out"),
    [
        (5, 4, 2, 8, 70),
        (17, 8, 2, 16, 64),
        (3, 3, 1, 5, 10),
        (33, 16, 4, 4, 130),
        (1, 2, 2, 20, 33),
        (0, 4, 2, 8, 9),
    ],
)
def test_kernel_against_float64(
    tokens: int, experts: int, top_k: int, rank: int, out: int, dtype: torch.dtype
) -> None:
    y, h, b, truth = _case(tokens, experts, top_k, rank, out, dtype)
    inputs = [tensor.to(DEVICE) for tensor in (y, h, b)]
    kept = [tensor.clone() for tensor in inputs[1:]]
    result = expand_(*inputs, num_experts=experts, top_k=top_k, scaling=2.5)
    assert result is inputs[0]
    assert all(torch.equal(before, after) for before, after in zip(kept, inputs[1:], strict=True))
    # u*g is rounded to the element type before the product, y after it.
    unit = torch.finfo(dtype).eps
    bound = unit * (truth.abs() + 2.5 * h.abs().max() * b.abs().double().sum(1)) if tokens else truth
    assert ((result.cpu().double() - truth).abs() <= bound).all()


@pytest.mark.usefixtures("kernel")
def test_equal_logits_go_to_the_lowest_index() -> None:
    y, h, b, _ = _case(4, 6, 2, 4, 8, torch.float32)
    h[:, 24:] = torch.tensor([0.0, 1, 0, 1, 1, 0])
    result = expand_(y.to(DEVICE), h.to(DEVICE), b.to(DEVICE), num_experts=6, top_k=2, scaling=1.0).cpu()
    y, *_ = _case(4, 6, 2, 4, 8, torch.float32)
    expected = y + 0.5 * (h[:, 4:8] @ b[:, 4:8].t() + h[:, 12:16] @ b[:, 12:16].t())
    torch.testing.assert_close(result, expected)


@pytest.mark.usefixtures("kernel")
@pytest.mark.parametrize("experts", [1, 4])
def test_a_model_computes_the_same_in_every_form(tmp_path: Path, experts: int) -> None:
    molora = MoLoRAConfig(experts, min(2, experts), 3, 6)
    source = cp.write_adapter(tmp_path / "a", BASES["qwen2"], molora)
    model = load_model(*source, device=DEVICE.type, impl="fused")
    routed: list[Tensor] = []
    for module in molora_linears(model):
        module.observer = lambda _module, _logits, choice, _weights: routed.append(choice)
    ids = torch.tensor([[3, 14, 15, 9, 2, 6]], device=DEVICE)
    logits = {}
    for impl in ("fused", "stacked"):
        set_impl(model, impl)
        with torch.no_grad():
            logits[impl] = model(ids).logits
    torch.testing.assert_close(logits["fused"], logits["stacked"], rtol=0, atol=2e-4)
    half = len(routed) // 2
    assert half == (0 if experts == 1 else 6)
    assert all(torch.equal(a, b) for a, b in zip(routed[:half], routed[half:], strict=True))


@pytest.mark.usefixtures("kernel")
@pytest.mark.parametrize(
    ("dtype", "experts", "message"),
    [
        (torch.float32, 17, "at most 16 experts, not 17"),
        (torch.float64, 4, "does not compute in torch.float64"),
    ],
)
def test_what_the_kernel_does_not_do(dtype: torch.dtype, experts: int, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        require_fused(DEVICE, dtype, MoLoRAConfig(experts, 2, 4, 8))


def test_without_a_gpu_it_is_refused(adapter: Source, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    error = refused(adapter, "impl fused needs (triton|a CUDA device)", impl="fused")
    assert error.hint is not None
    assert "stacked" in error.hint
    model = load_model(*adapter)
    with pytest.raises(ModelError, match="impl fused needs"):
        set_impl(model, "fused")
    assert {module.impl for module in molora_linears(model)} == {"stacked"}
