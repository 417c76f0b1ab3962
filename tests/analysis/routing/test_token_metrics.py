"""Agreement and repetition against counting token by token."""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations, pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medbench.analysis.routing.token_metrics import checkpoint_agreement, repetition, repetition_chance
from medbench.errors import AnalysisError, RunError
from medbench.runs.traces import Traces, read_traces, save_traces


def _traces(seed: int, experts: int = 4, k: int = 2, lengths: tuple[int, ...] = (5, 1, 7)) -> Traces:
    rng = np.random.default_rng(seed)
    tokens = sum(lengths)
    choice = np.argsort(rng.random((2, tokens, experts)), axis=2)[:, :, :k].astype(np.uint8)
    return Traces(
        model=f"m{seed}",
        routers=((0, "gate"), (1, "up")),
        num_experts=experts,
        documents=tuple(("task", i) for i in range(len(lengths))),
        phases=np.zeros(len(lengths), np.uint8),
        starts=np.zeros(len(lengths), np.int32),
        offsets=np.cumsum([0, *lengths]).astype(np.int64),
        tokens=np.arange(tokens, dtype=np.int32),
        choice=choice,
        gate=np.full_like(choice, 127),
    )


@given(st.integers(2, 6), st.integers(1, 3), st.integers(0, 1000), st.integers(0, 1000))
@settings(max_examples=30, deadline=None)
def test_agreement_is_counted_token_by_token(experts: int, k: int, seed: int, other: int) -> None:
    k = min(k, experts - 1)
    first, second = _traces(seed, experts, k), _traces(other, experts, k)
    found = checkpoint_agreement(first, second, draws=20)
    for i, row in enumerate(found.to_dict("records")):
        pairs = list(zip(first.choice[i].tolist(), second.choice[i].tolist(), strict=True))
        observed = sum(len(set(a) & set(b)) for a, b in pairs) / k / len(pairs)
        assert row["observed"] == pytest.approx(observed)
        assert row["kappa"] == pytest.approx((observed - k / experts) / (1 - k / experts))
        assert row["top1"] == pytest.approx(sum(a[0] == b[0] for a, b in pairs) / len(pairs))
        assert row["chance"] == pytest.approx(k / experts)


@given(st.integers(2, 6), st.integers(1, 3), st.integers(0, 1000))
@settings(max_examples=30, deadline=None)
def test_repetition_is_counted_pair_by_pair(experts: int, k: int, seed: int) -> None:
    traces = _traces(seed, experts, min(k, experts))
    found = repetition(traces, draws=20).set_index(["layer", "metric"])
    for i, (layer, _) in enumerate(traces.routers):
        shared, equal, pairs = 0, 0, 0
        for start, stop in zip(traces.offsets[:-1], traces.offsets[1:], strict=True):
            text = traces.choice[i, start:stop].tolist()
            for before, after in pairwise(text):
                pairs += 1
                shared += bool(set(before) & set(after))
                equal += before[0] == after[0]
        assert found.loc[(layer, "any"), "value"] == pytest.approx(shared / pairs)
        assert found.loc[(layer, "top1"), "value"] == pytest.approx(equal / pairs)
        assert (found["pairs"] == pairs).all()


@given(st.integers(1, 7), st.integers(1, 7))
def test_chance_of_repetition_by_enumeration(experts: int, k: int) -> None:
    k = min(k, experts)
    sets = [set(s) for s in combinations(range(experts), k)]
    hits = sum(bool(a & b) for a in sets for b in sets)
    assert repetition_chance(experts, k) == pytest.approx(hits / len(sets) ** 2)


def test_known_chances() -> None:
    assert repetition_chance(4, 2) == pytest.approx(0.8333, abs=1e-4)
    assert repetition_chance(8, 2) == pytest.approx(0.4643, abs=1e-4)


def test_random_choices_are_at_chance() -> None:
    lengths = (50,) * 100
    first, second = _traces(0, 8, 2, lengths), _traces(1, 8, 2, lengths)
    agreed = checkpoint_agreement(first, second)
    assert agreed["kappa"].tolist() == pytest.approx([0, 0], abs=0.03)
    assert ((agreed["low"] <= 0) & (agreed["high"] >= 0)).all()
    again = repetition(first)
    assert again["value"].tolist() == pytest.approx(again["chance"].tolist(), abs=0.03)


def test_identical_checkpoints_agree() -> None:
    found = checkpoint_agreement(_traces(0), _traces(0))
    for name in ("observed", "kappa", "low", "high", "top1"):
        assert found[name].tolist() == [1, 1]


def test_disjoint_choices_disagree_and_constant_ones_repeat() -> None:
    one = _traces(0)
    first = replace(one, choice=np.broadcast_to(np.array([0, 1], np.uint8), one.choice.shape))
    second = replace(one, choice=np.broadcast_to(np.array([2, 3], np.uint8), one.choice.shape))
    assert checkpoint_agreement(first, second)["kappa"].tolist() == [-1, -1]
    assert (repetition(first)["value"] == 1).all()


def test_what_cannot_be_compared_is_refused() -> None:
    first = _traces(0)
    with pytest.raises(AnalysisError, match="different tokens"):
        checkpoint_agreement(first, replace(first, tokens=first.tokens + 1))
    with pytest.raises(AnalysisError, match="different routers"):
        checkpoint_agreement(first, _traces(1, experts=5))
    with pytest.raises(AnalysisError, match="always agree"):
        checkpoint_agreement(_traces(0, 2, 2), _traces(1, 2, 2))
    with pytest.raises(AnalysisError, match="two tokens"):
        repetition(_traces(0, lengths=(1, 1)))


def test_traces_come_back_and_damage_is_refused(tmp_path: Path) -> None:
    traces = _traces(3)
    save_traces(traces, tmp_path / "t.npz")
    back = read_traces(tmp_path / "t.npz")
    assert (back.documents, back.routers, back.model) == (traces.documents, traces.routers, traces.model)
    for name in ("offsets", "tokens", "choice", "gate"):
        assert np.array_equal(getattr(back, name), getattr(traces, name))
    save_traces(replace(traces, num_experts=2), tmp_path / "wrong.npz")
    save_traces(replace(traces, offsets=traces.offsets[:-1]), tmp_path / "short.npz")
    (tmp_path / "cut.npz").write_bytes((tmp_path / "t.npz").read_bytes()[:200])
    (tmp_path / "text.npz").write_text("no archive")
    for name in ("wrong", "short", "cut", "text", "absent"):
        with pytest.raises(RunError, match="cannot be read"):
            read_traces(tmp_path / f"{name}.npz")
