"""Gates that use every expert: their weights are what is shown, because all choose all."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.spatial.distance import jensenshannon

from medbench.analysis.routing import expert_load, router_summary, specialization, task_similarity
from medbench.statistics.corpus import Floats

_EXPERTS = 4
_PLACES = [(layer, projection) for layer in (0, 1) for projection in ("q", "up")]


def _weights(seed: int, tokens: int) -> dict[tuple[str, int, int, str], Floats]:
    """Gate weights ``[tokens, E]`` by task, document and router."""
    rng = np.random.default_rng(seed)
    return {
        (task, document, *place): rng.dirichlet(np.linspace(0.2, 2, _EXPERTS) * (1 + seed), tokens)
        for task in ("a", "b")
        for document in range(3)
        for place in _PLACES
    }


def _frame(weights: dict[tuple[str, int, int, str], Floats]) -> pd.DataFrame:
    rows = []
    for (task, document, layer, projection), given in weights.items():
        first = given.argmax(axis=1)
        for expert in range(_EXPERTS):
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
                    "tokens": len(given),
                    "count": len(given),
                    "mass": given[:, expert].sum(),
                    "top1": int((first == expert).sum()),
                    "prob": given[:, expert].sum(),
                    "entropy": float(-(given * np.log(given)).sum()),
                    "near_ties": 0,
                    "coactive": np.full(_EXPERTS, len(given)),
                }
            )
    return pd.DataFrame(rows)


def test_loads_and_rates_are_mean_weights() -> None:
    weights = _weights(0, 5)
    found = expert_load(_frame(weights), by=["task", "layer", "projection"])
    assert (found["load_chance"] == 1 / _EXPERTS).all()
    assert (found["rate_chance"] == 1 / _EXPERTS).all()
    for row in found.to_dict("records"):
        mine = [given for key, given in weights.items() if (key[0], *key[2:]) == _key(row)]
        expected = np.concatenate(mine)[:, row["expert"]].mean()
        assert row["load"] == pytest.approx(expected)
        assert row["rate"] == pytest.approx(expected)


def _key(row: dict[Hashable, Any]) -> tuple[object, ...]:
    return row["task"], row["layer"], row["projection"]


def test_specialization_is_the_mean_weight_of_a_task() -> None:
    weights = _weights(1, 7)
    found = specialization(_frame(weights), draws=50)
    assert (found["chance"] == 1 / _EXPERTS).all()
    assert found["rate"].sum() == pytest.approx(2 * len(_PLACES))
    for row in found.to_dict("records"):
        mine, others = (
            np.concatenate(
                [
                    given
                    for key, given in weights.items()
                    if key[2:] == _key(row)[1:] and (key[0] == row["task"]) == own
                ]
            )[:, row["expert"]].mean()
            for own in (True, False)
        )
        assert row["rate"] == pytest.approx(mine)
        assert row["elsewhere"] == pytest.approx(others)
        assert row["low"] <= mine + 1e-12
        assert row["high"] >= mine - 1e-12


def test_summary_and_similarity_tell_tasks_apart() -> None:
    weights = _weights(2, 6)
    frame = _frame(weights)
    summary = router_summary(frame, by=["layer", "projection"], draws=20)
    entropies = summary[summary["metric"] == "load_entropy"].set_index(["layer", "projection"])["value"]
    for place in _PLACES:
        share = np.concatenate([given for key, given in weights.items() if key[2:] == place]).mean(axis=0)
        assert entropies[place] == pytest.approx(-(share * np.log(share)).sum() / np.log(_EXPERTS))
    pairs = task_similarity(frame, draws=20).set_index(["task", "other"])["similarity"]
    alike = [
        1 - jensenshannon(*(_share(weights, task, place) for task in ("a", "b")), base=2) ** 2
        for place in _PLACES
    ]
    assert pairs["a", "b"] == pytest.approx(np.mean(alike))
    assert pairs["a", "a"] == pytest.approx(1)


def _share(weights: dict[tuple[str, int, int, str], Floats], task: str, place: tuple[int, str]) -> Floats:
    found: Floats = np.concatenate(
        [given for key, given in weights.items() if key[0] == task and key[2:] == place]
    ).mean(axis=0)
    return found


def test_an_expert_without_weight_is_dead() -> None:
    weights = _weights(3, 4)
    for given in weights.values():
        given[:, 1] = 1e-300
        given /= given.sum(axis=1, keepdims=True)
    frame = _frame(weights)
    frame.loc[frame["expert"] == 1, ["mass", "prob"]] = 0.0
    dead = router_summary(frame, by=["task"], draws=5)
    assert (dead.loc[dead["metric"] == "dead_experts", "value"] == 1).all()
