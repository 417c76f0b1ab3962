"""Base weights in 8 and 4 bits."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from medbench.errors import ModelError
from medbench.models import Engine, load_model, molora_linears
from medbench.models.architecture.quantization import require_quantization
from tests.models.made_checkpoints import BASES, Source, refused, write_merged

KINDS = ("int8", "nf4")
# Relative to a layer's output: the step of 8 bits, and of 16 levels in blocks of 64.
ERRORS = {"int8": 0.02, "nf4": 0.15}
REQUESTS = [([1, 2, 3, 4], [5]), ([1, 2], [6, 7])]


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    if importlib.util.find_spec("bitsandbytes") is None:
        pytest.skip("needs bitsandbytes")
    return str(request.param)


@pytest.fixture
def wide(tmp_path: Path) -> Source:
    """Layers of the sizes that 4 bits take on a CPU."""
    shape = {"hidden_size": 64, "intermediate_size": 128, "num_attention_heads": 2, "num_key_value_heads": 2}
    return Source(write_merged(tmp_path / "wide", {**BASES["qwen2"], **shape}))


def test_only_the_base_is_quantized(wide: Source, kind: str) -> None:
    model = load_model(*wide, quantization=kind, dtype="bfloat16")
    plain = load_model(*wide, dtype="bfloat16")
    for module, exact in zip(molora_linears(model), molora_linears(plain), strict=True):
        assert not torch.is_floating_point(module.base.weight)
        assert torch.equal(module.molora_in, exact.molora_in)
        assert torch.equal(module.molora_b, exact.molora_b)
    body: Any = model.base_model
    assert not torch.is_floating_point(body.layers[0].self_attn.q_proj.weight)
    assert type(model.get_submodule("lm_head")) is nn.Linear
    assert body.embed_tokens.weight.dtype == torch.bfloat16


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_layer_computes_nearly_the_same(wide: Source, kind: str, dtype: str) -> None:
    module = molora_linears(load_model(*wide, quantization=kind, dtype=dtype))[0]
    exact = molora_linears(load_model(*wide))[0]
    x = torch.randn(5, exact.base.in_features, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        found, expected = module(x.to(module.molora_in.dtype)), exact(x)
    assert found.dtype == module.molora_in.dtype
    off = float((found.float() - expected).norm() / expected.norm())
    assert 0 < off < ERRORS[kind]


def test_the_engine_answers_the_same_alone_and_in_company(wide: Source, kind: str) -> None:
    engine = Engine(load_model(*wide, quantization=kind))
    together = engine.score(REQUESTS)
    alone = [engine.score([request])[0] for request in REQUESTS]
    for one, other in zip(together, alone, strict=True):
        assert one.logprob == pytest.approx(other.logprob, abs=1e-4)


def test_refusals(merged: Source, monkeypatch: pytest.MonkeyPatch) -> None:
    refused(merged, "unknown quantization 'int3'", quantization="int3")
    with pytest.raises(ModelError, match="float64" if importlib.util.find_spec("bitsandbytes") else "needs"):
        require_quantization("int8", torch.float64)
    if importlib.util.find_spec("bitsandbytes"):
        refused(merged, "multiples of 32 and 64", quantization="nf4")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    error = refused(merged, "needs bitsandbytes", quantization="nf4")
    assert "medbench[quantization]" in str(error)
