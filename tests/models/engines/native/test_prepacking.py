"""Linear layers that multiply by packed weights compute what they compute by themselves."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from medbench.models import Engine
from medbench.models.engines.native import prepacking
from medbench.models.engines.native.prepacking import PrepackedWeights, packs
from tests.models.made_engines import tiny_model

_packing = pytest.mark.skipif(not packs(torch.float32), reason="this build of torch packs no weights")


def _layer(dtype: torch.dtype = torch.float32, *, bias: bool = True) -> nn.Linear:
    torch.manual_seed(0)
    return nn.Linear(48, 70, bias=bias, dtype=dtype)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("shape", [(1,), (3,), (65,), (1, 7)])
@torch.no_grad()
def test_the_product_is_the_layers(dtype: torch.dtype, bias: bool, shape: tuple[int, ...]) -> None:
    layer = _layer(dtype, bias=bias)
    x = torch.randn(*shape, 48, dtype=dtype)
    expected = layer(x)
    weights = PrepackedWeights(layer)
    assert (weights.product(layer) is not layer) == packs(dtype)
    with weights.installed():
        assert ("forward" in layer.__dict__) == packs(dtype)
        inside = layer(x)
    tolerance = 1e-5 if dtype == torch.float32 else 2e-2
    for found in (inside, weights.product(layer)(x)):
        assert found.shape == expected.shape
        torch.testing.assert_close(found, expected, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@torch.no_grad()
def test_without_the_instructions_a_layer_stays_plain(
    monkeypatch: pytest.MonkeyPatch, dtype: torch.dtype
) -> None:
    monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: False)
    assert not packs(torch.bfloat16)
    layer = _layer(dtype)
    weights = PrepackedWeights(layer)
    assert (weights.product(layer) is layer) == (not packs(dtype))
    x = torch.randn(3, 48, dtype=dtype)
    expected = layer(x)
    with weights.installed():
        torch.testing.assert_close(layer(x), expected, rtol=1e-5, atol=1e-5)


@_packing
@torch.no_grad()
def test_layers_are_as_they_were_afterwards() -> None:
    model = nn.Sequential(_layer(), nn.ReLU())
    weights = PrepackedWeights(model)
    with weights.installed():
        assert "forward" in model[0].__dict__
    assert "forward" not in model[0].__dict__
    with pytest.raises(RuntimeError), weights.installed():
        model(torch.ones(2, 3))  # of the wrong width
    assert "forward" not in model[0].__dict__


def test_a_changed_weight_is_packed_anew() -> None:
    layer = _layer()
    weights = PrepackedWeights(layer)
    x = torch.randn(5, 48)
    with torch.no_grad():
        before = weights.product(layer)(x)
        layer.weight.mul_(2)
        layer.bias.mul_(2)
        torch.testing.assert_close(weights.product(layer)(x), 2 * before)
        layer.weight = nn.Parameter(torch.zeros(70, 48))
        torch.testing.assert_close(weights.product(layer)(x), layer.bias.expand(5, -1))


def test_an_engine_sees_weights_that_are_trained_between_its_calls() -> None:
    model = tiny_model()
    engine = Engine(model)
    requests = [([1, 2, 3], [4, 5])]
    (before,) = engine.score(requests)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(1.5)
    (after,) = engine.score(requests)
    assert after.logprob != pytest.approx(before.logprob, abs=1e-3)
    assert after.logprob == pytest.approx(Engine(model).score(requests)[0].logprob, abs=1e-6)


@torch.no_grad()
def test_what_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    class Quantized(nn.Linear):
        pass

    hooked = _layer()
    hooked.__dict__["forward"] = hooked.forward
    layers = [_layer(torch.float16), _layer(torch.float64), Quantized(4, 4), hooked]
    weights = PrepackedWeights(nn.ModuleList(layers))
    assert all(weights.product(layer) is layer for layer in layers)
    monkeypatch.setattr(prepacking, "free_memory", lambda _: 4 * 48 * 70 * 4 - 1)
    layer = _layer()
    assert PrepackedWeights(layer).product(layer) is layer
    monkeypatch.setattr(prepacking, "free_memory", lambda _: 4 * 48 * 70 * 4)
    assert (PrepackedWeights(layer).product(layer) is not layer) == packs(torch.float32)


@_packing
@pytest.mark.parametrize("fault", ["refuses", "differs"])
@torch.no_grad()
def test_a_layer_that_cannot_be_packed_rightly_stays_plain(
    monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    def reorder(weight: torch.Tensor, _tokens: int) -> torch.Tensor:
        if fault == "refuses":
            raise RuntimeError("no such instructions")
        wrong: torch.Tensor = genuine(weight * 1.01, _tokens)
        return wrong

    genuine = torch.ops.mkldnn._reorder_linear_weight
    monkeypatch.setattr(torch.ops.mkldnn, "_reorder_linear_weight", reorder)
    layer = _layer()
    weights = PrepackedWeights(layer)
    assert weights.product(layer) is layer
    with weights.installed():
        assert "forward" not in layer.__dict__
