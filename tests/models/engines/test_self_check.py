"""The engine's self-check: switches and windows are exact, and planted faults are found in any format."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import pytest
import torch
from torch import Tensor

from medbench.errors import ModelError
from medbench.models import Engine
from medbench.models.engines.native import attention, generation_pass, scoring_pass
from medbench.models.engines.native.forward import PackedModel
from medbench.models.engines.native.packing import KVCache, Pack
from medbench.models.engines.native.rope import RopeSwitches
from tests.models.tiny_zoo import LONGROPE, own_score, own_tokens, some_tokens, zoo_model

_LONG: dict[str, Any] = {"rope_parameters": LONGROPE, "original_max_position_embeddings": 32}
_SCALED: dict[str, Any] = {
    "rope_parameters": {**LONGROPE, "long_mscale": 1.2, "short_mscale": 1.1},
    "original_max_position_embeddings": 32,
}
_DYNAMIC: dict[str, Any] = {"rope_parameters": {"rope_type": "dynamic", "factor": 2.0, "rope_theta": 10000.0}}
_WINDOW: dict[str, Any] = {"sliding_window": 8}
_SOME: dict[str, Any] = {"sliding_window": 8, "layer_types": ["full_attention", "sliding_attention"]}
_USED: dict[str, Any] = {"sliding_window": 8, "use_sliding_window": True}
_MOE: dict[str, Any] = {
    "num_experts_per_tok": 2,
    "num_local_experts": 4,
    "num_experts": 4,
    "moe_intermediate_size": 16,
}
_SHARED: dict[str, Any] = {**_MOE, **_USED, "shared_expert_intermediate_size": 16, "max_window_layers": 0}

MODELS: list[tuple[str, str, dict[str, Any]]] = [
    ("longrope", "phi3", _LONG),
    ("longrope in llama", "llama", _LONG),
    ("longrope and window", "phi3", {**_LONG, "sliding_window": 40}),
    ("mask only", "phimoe", {**_MOE, **_WINDOW}),
    ("mask and scales by length", "phimoe", {**_MOE, **_SCALED}),
    ("window in some layers", "qwen2", {**_USED, "max_window_layers": 1}),
    ("window", "mistral", _WINDOW),
    ("window over mixtures", "mixtral", {**_MOE, **_WINDOW}),
    ("window over shared experts", "qwen2_moe", _SHARED),
    ("window by layer type", "olmo3", _SOME),
    ("window of the other kind", "starcoder2", _WINDOW),
    ("local rope", "gemma3_text", {**_SOME, "head_dim": 8}),
    ("dynamic", "llama", _DYNAMIC),
]


def _requests() -> tuple[list[tuple[list[int], list[int]]], list[list[int]]]:
    prefix = some_tokens(20, 1)
    contexts = [prefix + some_tokens(length, length) for length in (1, 2, 10, 11, 12, 13, 30, 60)]
    contexts += [some_tokens(length, length) for length in (5, 31, 32, 33, 34, 90)]
    requests = [(context, some_tokens(more, more)) for context in contexts for more in (1, 1, 2, 4)]
    return requests, contexts


@pytest.mark.parametrize(("model_type", "changes"), [m[1:] for m in MODELS], ids=[m[0] for m in MODELS])
@pytest.mark.parametrize("budget", [24, 4096])
def test_what_depends_on_a_sequence_depends_on_nothing_else(
    model_type: str, changes: dict[str, Any], budget: int
) -> None:
    model = zoo_model(model_type, **changes)
    engine = Engine(model, max_batch_tokens=budget)
    assert engine.kind == "packed", engine.why_reference
    requests, prompts = _requests()
    scores = [score.logprob for score in engine.score(requests)]
    assert scores == pytest.approx([own_score(model, *request) for request in requests], abs=1e-4)
    some = prompts[1::3]
    made = [generation.token_ids for generation in engine.generate(some, max_new_tokens=6)]
    assert made == [own_tokens(model, prompt, 6) for prompt in some]


def test_switches_are_found_where_they_are() -> None:
    for model_type, changes in (("phi3", _LONG), ("llama", _LONG), ("phimoe", {**_MOE, **_SCALED})):
        assert RopeSwitches(zoo_model(model_type, **changes), 128).switches == (32,)
    assert RopeSwitches(zoo_model("llama"), 128).switches == ()
    switches = RopeSwitches(zoo_model("phi3", **_LONG), 128)
    assert [switches.stretch(length) for length in (1, 32, 33, 128)] == [0, 0, 1, 1]
    alike = {**LONGROPE, "long_factor": LONGROPE["short_factor"]}
    assert RopeSwitches(zoo_model("llama", rope_parameters=alike), 128).switches == ()


def test_angles_that_change_at_no_named_length_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    model = zoo_model("llama")
    rotary: Any = type(model.base_model.rotary_emb)
    plain = rotary.forward

    def turned(self: Any, x: Tensor, position_ids: Tensor) -> Any:
        cos, sin = plain(self, x, position_ids)
        return cos * (1 + (position_ids.max() > 50)), sin

    monkeypatch.setattr(rotary, "forward", turned)
    with pytest.raises(ModelError, match="lengths that the configuration does not name"):
        RopeSwitches(model, 128)
    assert Engine(model).kind == "reference"


_Plant = Callable[[pytest.MonkeyPatch], None]


def _logits(change: Callable[[Tensor], Tensor]) -> _Plant:
    plain = PackedModel.logits

    def faulty(self: PackedModel, hidden: Tensor, only: Tensor | None = None) -> Tensor:
        return change(plain(self, hidden, only))

    return lambda patch: patch.setattr(PackedModel, "logits", faulty)


def _positions(change: Callable[[Tensor], Tensor]) -> _Plant:
    plain = PackedModel.hidden

    def faulty(self: PackedModel, ids: Tensor, positions: Tensor, pack: Pack) -> Tensor:
        return plain(self, ids, change(positions), pack)

    return lambda patch: patch.setattr(PackedModel, "hidden", faulty)


def _sees_all(past: int, context: int, branches: Sequence[int], **like: Any) -> Tensor:
    total = context + sum(branches)
    return torch.zeros(total, past + total, **like)


def _stay(self: KVCache, source: int, target: int, length: int) -> None:
    del self, source, target, length


def _same(self: RopeSwitches, stretch: int) -> AbstractContextManager[None]:
    del self, stretch
    return nullcontext()


FAULTS: list[tuple[str, _Plant]] = [
    ("capped", _logits(lambda logits: 4 * torch.tanh(logits / 4))),
    ("scaled up", _logits(lambda logits: 1.05 * logits)),
    ("scaled down", _logits(lambda logits: 0.95 * logits)),
    ("window ignored", lambda patch: patch.setattr(attention._Rule, "causal_up_to", lambda *_: True)),
    ("switch ignored", lambda patch: patch.setattr(RopeSwitches, "at", _same)),
    ("one switch for all", lambda patch: patch.setattr(RopeSwitches, "stretch", lambda *_: 0)),
    ("positions stop", _positions(lambda positions: positions.clamp(max=15))),
    ("positions doubled", _positions(lambda positions: positions * 2)),
    ("mask dropped from scoring", lambda patch: patch.setattr(scoring_pass, "tree_mask", _sees_all)),
    ("mask dropped from generation", lambda patch: patch.setattr(generation_pass, "tree_mask", _sees_all)),
    ("keys never moved", lambda patch: patch.setattr(KVCache, "move", _stay)),
]  # fmt: skip
FORMATS = [torch.float32, torch.bfloat16, torch.float16]


@pytest.mark.parametrize("dtype", FORMATS, ids=str)
@pytest.mark.parametrize("plant", [plant for _, plant in FAULTS], ids=[name for name, _ in FAULTS])
def test_planted_faults_are_found_in_any_format(
    plant: _Plant, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = zoo_model("phi3", dtype, **_LONG, sliding_window=24)
    plant(monkeypatch)
    engine = Engine(model)
    assert engine.kind == "reference"
    assert "does not compute what it computes by itself" in engine.why_reference


@pytest.mark.parametrize("dtype", FORMATS, ids=str)
def test_without_a_fault_the_same_model_is_packed(dtype: torch.dtype) -> None:
    engine = Engine(zoo_model("phi3", dtype, **_LONG, sliding_window=24))
    assert engine.kind == "packed", engine.why_reference
