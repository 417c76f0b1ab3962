"""Every causal architecture of transformers is answered as it answers itself, or refused for what is true."""

from __future__ import annotations

from collections import Counter
from importlib.metadata import version
from pathlib import Path

import pytest
import torch

from tests.models.zoo import LENGTH, architectures, parameters, tiny_model
from tests.models.zoo_table import Row, read_rows, written_for
from tests.models.zoo_trial import TOLERANCE, try_architecture

# Of every kind: batched, with windows, mixtures, latent attention; states, caps, own attention; not causal.
QUICK = [
    *("llama", "gpt2", "gemma4_text", "qwen3_moe", "deepseek_v3"),
    *("gemma2", "mamba", "falcon_h1", "qwen3_next", "gpt_oss"),
    *("doge", "xlnet"),
]
_EVERY = 6  # of which .ci/run tries one


def _sampled(names: list[str]) -> list[object]:
    marks = [[pytest.mark.slow], [pytest.mark.slow, pytest.mark.ci]]
    return [pytest.param(name, marks=marks[place % _EVERY == 0]) for place, name in enumerate(names)]


@pytest.mark.parametrize("architecture", [*QUICK, *_sampled([n for n in architectures() if n not in QUICK])])
def test_answers_are_the_models_own(tmp_path: Path, architecture: str) -> None:
    trial = try_architecture(architecture, tmp_path / "model")
    assert trial.verdict != "wrong", trial.why
    if trial.verdict in ("packed", "reference"):
        assert trial.off <= TOLERANCE
        assert trial.texts
    else:
        assert trial.why
    assert (trial.why == "") == (trial.verdict == "packed")
    if version("transformers") == written_for():
        assert Row.of(trial) == read_rows()[architecture]


def test_the_table_has_all_architectures() -> None:
    rows = read_rows()
    counts = Counter(row.way for row in rows.values())
    assert set(counts) <= {"batched", "one row at a time", "refused", "not tried"}
    assert counts["batched"] + counts["one row at a time"] >= 150
    assert all(row.why for row in rows.values() if row.way != "batched")
    if version("transformers") == written_for():
        assert list(rows) == architectures()


@pytest.mark.parametrize("architecture", QUICK)
def test_tiny_models_are_tiny_and_tell_tokens_apart(architecture: str) -> None:
    model = tiny_model(architecture)
    assert parameters(model) < 1_000_000
    ids = torch.arange(5, 45)[None]
    with torch.no_grad():
        logits = model(input_ids=ids).logits[0]
    assert bool(torch.isfinite(logits).all())
    assert float(logits.std()) > 0.02
    assert not torch.allclose(logits[10], logits[30], atol=1e-2)


@pytest.mark.parametrize("architecture", ["mistral", "gemma3_text", "gpt_oss", "phi3"])
def test_windows_are_shorter_than_what_is_asked(architecture: str) -> None:
    windows = {value for key, value in tiny_model(architecture).config.to_dict().items() if "window" in key}
    assert all(value is None or value < LENGTH // 4 for value in windows if not isinstance(value, bool))
