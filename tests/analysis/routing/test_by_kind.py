"""Rates of experts by task and kind of task, against counting token by token."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medbench.analysis import load_runs
from medbench.analysis.routing.by_kind import regroup, specialization, task_groups
from medbench.analysis.routing.gains import shared_gains
from medbench.analysis.routing.summary import task_similarity
from medbench.errors import AnalysisError
from tests.analysis.factory import FakeTask, write_routing, write_run

# (task, document, layer, projection) -> the experts each of its tokens chose
Choices = dict[tuple[str, int, int, str], np.ndarray[Any, Any]]


def _frame(choices: Choices, experts: int) -> pd.DataFrame:
    rows = []
    for (task, document, layer, projection), chosen in choices.items():
        together = np.zeros((experts, experts), np.int64)
        for token in chosen:
            together[np.ix_(token, token)] += 1
        for expert in range(experts):
            rows.append(
                {
                    "model": "m",
                    "run": "r",
                    "task": task,
                    "document": document,
                    "phase": "prompt",
                    "layer": layer,
                    "projection": projection,
                    "expert": expert,
                    "tokens": len(chosen),
                    "count": together[expert, expert],
                    "mass": together[expert, expert] / chosen.shape[1],
                    "top1": int((chosen[:, 0] == expert).sum()),
                    "prob": len(chosen) / experts,
                    "entropy": 0.0,
                    "near_ties": 0,
                    "coactive": together[expert],
                }
            )
    return pd.DataFrame(rows)


def _random(experts: int, k: int, seed: int) -> Choices:
    rng = np.random.default_rng(seed)
    return {
        (task, document, layer, projection): np.argsort(rng.random((tokens, experts)), axis=1)[:, :k]
        for task in ("a", "b")
        for document, tokens in enumerate(rng.integers(1, 6, 3))
        for layer in (0, 1)
        for projection in ("gate", "up")
    }


@given(st.integers(2, 6), st.integers(1, 3), st.integers(0, 10_000))
@settings(max_examples=25, deadline=None)
def test_rates_are_counted_token_by_token(experts: int, k: int, seed: int) -> None:
    k = min(k, experts - 1)
    choices = _random(experts, k, seed)
    frame = _frame(choices, experts)
    slow: dict[Any, float] = {}
    for task in ("a", "b"):
        for layer in (0, 1):
            for projection in ("gate", "up"):
                tokens = [
                    set(token.tolist())
                    for (t, _, one, two), chosen in choices.items()
                    if (t, one, two) == (task, layer, projection)
                    for token in chosen
                ]
                for expert in range(experts):
                    slow[task, layer, projection, expert] = sum(expert in s for s in tokens) / len(tokens)
    found = specialization(frame, draws=20).set_index(["task", "layer", "projection", "expert"])
    assert found["rate"].to_dict() == pytest.approx(slow)
    assert found["chance"].tolist() == pytest.approx([k / experts] * len(found))
    other = {key: slow[("b" if key[0] == "a" else "a", *key[1:])] for key in slow}
    assert found["elsewhere"].to_dict() == pytest.approx(other)
    across = specialization(frame, across_routers=True, draws=20).set_index(["task", "expert"])["rate"]
    for task in ("a", "b"):
        for expert in range(experts):
            each = [rate for (t, _, _, e), rate in slow.items() if (t, e) == (task, expert)]
            assert across[task, expert] == pytest.approx(sum(each) / 4)


def test_tasks_with_experts_of_their_own_are_beyond_chance() -> None:
    rng = np.random.default_rng(0)
    choices = {
        (task, document, 0, "gate"): np.array([[2 * pair, 2 * pair + 1]] * int(rng.integers(2, 9)))
        for pair, task in enumerate(("a", "b"))
        for document in range(6)
    }
    found = specialization(_frame(choices, 4)).set_index(["task", "expert"])
    assert found["rate"].to_dict() == {("a", 0): 1, ("a", 1): 1, ("a", 2): 0, ("a", 3): 0} | {
        ("b", 0): 0,
        ("b", 1): 0,
        ("b", 2): 1,
        ("b", 3): 1,
    }
    assert (found["low"] == found["rate"]).all()  # every document is alike
    assert (found["elsewhere"] == 1 - found["rate"]).all()
    assert (found["chance"] == 0.5).all()


def test_intervals_of_chance_routing_cover_chance() -> None:
    inside = []
    for seed in range(40):
        rng = np.random.default_rng(seed)
        choices = {
            ("a", document, 0, "gate"): np.argsort(rng.random((30, 4)), axis=1)[:, :2]
            for document in range(40)
        }
        found = specialization(_frame(choices, 4), seed=seed, draws=200)
        inside += ((found["low"] <= 0.5) & (found["high"] >= 0.5)).tolist()
    assert 0.88 <= np.mean(inside) <= 0.99


def test_intervals_resample_documents_and_not_tokens() -> None:
    # Documents that are each of one mind: 10 of them are 10 observations, however long they are.
    choices = {
        ("a", document, 0, "gate"): np.full((200, 1), document % 2, dtype=np.int64) for document in range(10)
    }
    found = specialization(_frame(choices, 2), draws=2_000)
    assert found["rate"].tolist() == [0.5, 0.5]
    # The standard error of a share of 10 is 0.158.
    assert (found["high"] - found["low"]).tolist() == pytest.approx([0.6, 0.6], abs=0.11)


def test_without_single_documents_there_is_no_interval() -> None:
    frame = _frame({("a", -1, 0, "gate"): np.array([[0], [1]])}, 2)
    found = specialization(frame)
    assert found["rate"].tolist() == [0.5, 0.5]
    assert found["low"].isna().all()
    assert found["elsewhere"].isna().all()
    assert (found["documents"] == 0).all()


def test_groups_keep_their_documents_apart() -> None:
    choices = _random(4, 2, 1)
    frame = _frame(choices, 4)
    grouped = regroup(frame, {"a": "kind", "b": "kind"})
    assert grouped["document"].nunique() == 6
    assert (grouped["task"] == "kind").all()
    one = specialization(grouped, draws=20)
    both = specialization(frame, draws=20)
    assert (one["documents"] == 6).all()
    tokens = frame[frame["expert"] == 0].groupby(["task", "layer", "projection"])["tokens"].sum()
    for row in one.to_dict("records"):
        place = {"layer": row["layer"], "projection": row["projection"], "expert": row["expert"]}
        match = both[(both[list(place)] == pd.Series(place)).all(axis=1)].set_index("task")["rate"]
        weight = [tokens[task, row["layer"], row["projection"]] for task in ("a", "b")]
        assert row["rate"] == pytest.approx(np.average([match["a"], match["b"]], weights=weight))
    assert regroup(frame, {"b": "only"})["document"].nunique() == 3
    assert len(task_similarity(grouped, draws=5)) == 1


def _runs(tmp_path: Path, skills: tuple[float, ...], seed: int, model: str) -> Any:
    tasks = [
        FakeTask(f"t{i}", n=60, skill=skill, language="zh" if i % 2 else "en")
        for i, skill in enumerate(skills)
    ]
    routing = write_routing([task.name for task in tasks], lean=3.0, documents=5, seed=1)
    return load_runs(write_run(tmp_path, model, tasks, routing=routing, seed=seed))


def test_kinds_come_from_the_scores(tmp_path: Path) -> None:
    runs = _runs(tmp_path, (0.5, 0.5), 0, "m")
    assert task_groups(runs) == {"t0": "en-exam", "t1": "zh-exam"}
    assert task_groups(runs, ["language"]) == {"t0": "en", "t1": "zh"}
    with pytest.raises(AnalysisError, match="grouped"):
        task_groups(runs, ["color"])


def test_shared_gains_against_a_slow_correlation(tmp_path: Path) -> None:
    skills = (0.2, 0.9, 0.4, 0.7, 0.5)
    later = next(iter(_runs(tmp_path, skills, 0, "later")))
    earlier = next(iter(_runs(tmp_path, (0.3,) * 5, 1, "earlier")))
    found = shared_gains(later, earlier, draws=500)
    assert found.tasks == 5
    assert len(found.pairs) == 10
    scores = [
        run.tables.scores().to_pandas().query("main").set_index("task")["value"] for run in (later, earlier)
    ]
    gain = scores[0] - scores[1]
    table = later.tables.routing(None)
    assert table is not None
    pairs = task_similarity(table.to_pandas().assign(model="", run=""), draws=1)
    similar = pairs.set_index(["task", "other"])["similarity"]
    x, y = [], []
    for row in found.pairs.to_dict("records"):
        assert row["gain"] == pytest.approx(gain[row["task"]])
        assert row["similarity"] == pytest.approx(similar[row["task"], row["other"]])
        x.append(row["similarity"])
        y.append(-abs(gain[row["task"]] - gain[row["other"]]))
    assert found.correlation == pytest.approx(float(np.corrcoef(x, y)[0, 1]))
    assert 0 < found.p_value <= 1


def test_equal_checkpoints_share_no_gains(tmp_path: Path) -> None:
    run = next(iter(_runs(tmp_path, (0.2, 0.9, 0.4, 0.7), 0, "m")))
    found = shared_gains(run, run, draws=50)
    assert np.isnan(found.correlation)
    assert np.isnan(found.p_value)
    assert (found.pairs["apart"] == 0).all()
    few = next(iter(_runs(tmp_path / "few", (0.2, 0.9), 0, "m")))
    with pytest.raises(AnalysisError, match="at least 4"):
        shared_gains(few, few)
