"""Windows and rope switches too far away to reach are made short, and faults beyond them are found."""

from __future__ import annotations

import logging
from typing import Any

import pytest
import torch

from medbench.models import Engine
from medbench.models.engines.lengths import shortened, window_lengths
from tests.models.engines.test_self_check import FAULTS
from tests.models.tiny_zoo import LONGROPE, some_tokens, zoo_model

_FAR = {"max_position_embeddings": 8192}
_LONG_WINDOW: dict[str, Any] = {**_FAR, "sliding_window": 4096}
_ROPE = {**LONGROPE, "original_max_position_embeddings": 4096}
_LONG_SWITCH: dict[str, Any] = {**_FAR, "rope_parameters": _ROPE, "original_max_position_embeddings": 4096}
_MOE = {"num_experts_per_tok": 2, "num_local_experts": 4}
_ONE = ["full_attention", "sliding_attention"]

FAR: list[tuple[str, str, dict[str, Any]]] = [
    ("window", "mistral", _LONG_WINDOW),
    ("mask only", "phimoe", {**_LONG_WINDOW, **_MOE}),
    ("window over mixtures", "mixtral", {**_LONG_WINDOW, **_MOE}),
    ("some layers", "olmo3", {**_LONG_WINDOW, "layer_types": _ONE}),
    ("local rope", "gemma3_text", {**_LONG_WINDOW, "layer_types": _ONE, "head_dim": 8}),
    ("used", "qwen2", {**_LONG_WINDOW, "use_sliding_window": True, "max_window_layers": 1}),
    ("starcoder2", "starcoder2", _LONG_WINDOW),
    ("switch", "phi3", _LONG_SWITCH),
    ("switch in llama", "llama", _LONG_SWITCH),
    ("switch and window", "phi3", {**_LONG_SWITCH, "sliding_window": 4000}),
]
_IDS = [case[0] for case in FAR]


@pytest.fixture(autouse=True)
def _dear(monkeypatch: pytest.MonkeyPatch) -> None:
    """No sequence of a thousand tokens is worth its time."""
    for module in ("self_check", "reference"):
        monkeypatch.setattr(
            f"medbench.models.engines.{module}.affordable", lambda _model, tokens, _device: tokens < 1000
        )


def _said(caplog: pytest.LogCaptureFixture) -> list[logging.LogRecord]:
    return [record for record in caplog.records if record.name.startswith("medbench.")]


@pytest.mark.parametrize(("model_type", "changes"), [case[1:] for case in FAR], ids=_IDS)
def test_what_is_far_away_is_tried_nearby(
    model_type: str, changes: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    engine = Engine(zoo_model(model_type, **changes))
    assert engine.described == {"engine": "native"}
    assert not _said(caplog)


_BEYOND = {"window": ("window ignored",), "switch": ("switch ignored", "one switch for all")}


@pytest.mark.parametrize(("name", "model_type", "changes"), FAR, ids=_IDS)
def test_faults_beyond_it_are_found(
    monkeypatch: pytest.MonkeyPatch, name: str, model_type: str, changes: dict[str, Any]
) -> None:
    plants = dict(FAULTS)
    kinds = (
        ("switch", "window")
        if name == "switch and window"
        else ("switch",)
        if "switch" in name
        else ("window",)
    )
    for fault in (fault for kind in kinds for fault in _BEYOND[kind]):
        with monkeypatch.context() as patch:
            plants[fault](patch)
            engine = Engine(zoo_model(model_type, **changes))
        assert engine.kind == "reference", fault
        assert "does not compute what it computes by itself" in engine.why_reference


@pytest.mark.parametrize(("name", "model_type", "changes"), FAR)
def test_the_model_is_afterwards_what_it_was(name: str, model_type: str, changes: dict[str, Any]) -> None:
    del name
    model = zoo_model(model_type, **changes)
    ids = torch.tensor([some_tokens(40, 1)])
    before, config = model(input_ids=ids, use_cache=False).logits, model.config.to_dict()
    own = [window_lengths(model), dict(model.config.rope_parameters)]
    short = {4096: 12, 4000: 18}
    with shortened(model, short):
        changed = model(input_ids=ids, use_cache=False).logits
    assert not torch.equal(before, changed)
    assert torch.equal(model(input_ids=ids, use_cache=False).logits, before)
    assert model.config.to_dict() == config
    assert [window_lengths(model), dict(model.config.rope_parameters)] == own


def test_it_is_put_back_after_an_error() -> None:
    model = zoo_model("mistral", **_LONG_WINDOW)
    with pytest.raises(ValueError, match="stop"), shortened(model, {4096: 12}):
        raise ValueError("stop")
    assert model.config.sliding_window == 4096


@pytest.mark.parametrize("asked", ["score", "generate"])
def test_what_cannot_be_tried_is_recorded_and_said_when_it_matters(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, asked: str
) -> None:
    monkeypatch.setattr("medbench.models.engines.lengths.names_length", lambda _name: False)
    engine = Engine(zoo_model("mistral", max_position_embeddings=2048, sliding_window=1000))
    assert engine.described == {"engine": "native", "engine_untried": [1000]}
    engine.score([([5] * 900, [6])])
    assert not _said(caplog)
    for _ in range(2):
        if asked == "score":
            engine.score([([5] * 1001, [6])])
        else:
            engine.generate([[5] * 999], max_new_tokens=3)
    [record] = _said(caplog)
    assert record.levelno == logging.WARNING
    assert "more than 1000 tokens" in record.getMessage()
