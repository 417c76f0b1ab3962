"""Router counts of groups of tasks, against walking through their tokens one by one."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Sequence
from itertools import product
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pytest

from medbench.analysis.routing.by_kind import regroup, specialization
from medbench.analysis.routing.cells import cells
from medbench.analysis.routing.summary import coactivation, expert_load, router_summary, task_similarity
from medbench.errors import AnalysisError
from tests.analysis.factory import router_rows

TASKS = ("a", "b", "c", "d")
KINDS = {"a": "x", "b": "x", "c": "y", "d": "x"}
ROUTERS = tuple(product((0, 1), ("gate", "up")))
GROUPED = ["task", "layer", "projection"]

# (task, document, phase) -> the logits of its tokens at each router, [routers, tokens, experts]
Texts = dict[tuple[str, int, str], np.ndarray[Any, Any]]


class Shape(NamedTuple):
    experts: int = 4
    top_k: int = 2
    seed: int = 0
    phases: tuple[str, ...] = ("prompt", "generated")

    @property
    def per_token(self) -> int:
        """What the rates of a token's experts add up to: where all are used, their weights do, to 1."""
        return 1 if self.top_k == self.experts else self.top_k


SHAPES = [
    Shape(),
    Shape(seed=1),
    Shape(top_k=1),
    Shape(top_k=3),
    Shape(experts=3, top_k=3),
    Shape(experts=2, top_k=1),
    Shape(experts=8),
    Shape(experts=8, top_k=4, seed=2),
    Shape(experts=6, top_k=2, phases=("prompt",)),
    Shape(experts=5, top_k=2, phases=("generated",)),
]


def _texts(shape: Shape) -> Texts:
    rng = np.random.default_rng(shape.seed)
    return {
        (task, document, phase): rng.normal(
            (t % shape.experts == np.arange(shape.experts)) * 1.5,
            size=(len(ROUTERS), int(rng.integers(1, 7)), shape.experts),
        )
        for t, task in enumerate(TASKS)
        for document in range(t + 1)
        for phase in shape.phases
    }


def _frame(texts: Texts, shape: Shape, together: Sequence[str] = ()) -> pd.DataFrame:
    """What a run records; the documents of the tasks ``together`` are counted as one."""
    groups: dict[tuple[str, int, str], list[np.ndarray[Any, Any]]] = defaultdict(list)
    for (task, document, phase), logits in texts.items():
        groups[task, -1 if task in together else document, phase].append(logits)
    rows = [
        row
        for (task, document, phase), parts in groups.items()
        for router, logits in zip(ROUTERS, np.concatenate(parts, axis=1), strict=True)
        for row in router_rows(task, document, phase, *router, logits, shape.top_k)
    ]
    return pd.DataFrame(rows).assign(model="m", run="r")


class Slow:
    """The tokens of a group at one router, and what can be said of them by looking at each."""

    def __init__(self, texts: Texts, shape: Shape, tasks: Sequence[str], router: tuple[int, str]) -> None:
        at, self.dense = ROUTERS.index(router), shape.top_k == shape.experts
        self.logits = [
            token.tolist() for (task, _, _), logits in texts.items() if task in tasks for token in logits[at]
        ]
        self.chosen = [
            {expert for _, expert in sorted(zip(token, range(shape.experts), strict=True))[-shape.top_k :]}
            for token in self.logits
        ]

    def rate(self, expert: int) -> float:
        if self.dense:
            weights = [math.exp(token[expert]) / sum(map(math.exp, token)) for token in self.logits]
            return sum(weights) / len(weights)
        return sum(expert in chosen for chosen in self.chosen) / len(self.chosen)

    def together(self, one: int, two: int) -> int:
        return sum(one in chosen and two in chosen for chosen in self.chosen)

    def entropy(self) -> float:
        total = 0.0
        for token in self.logits:
            size = sum(math.exp(x) for x in token)
            total -= sum(math.exp(x) / size * math.log(math.exp(x) / size) for x in token)
        return total / len(self.logits)


def _members(kind: str) -> list[str]:
    return [task for task, of in KINDS.items() if of == kind]


@pytest.mark.parametrize("together", [TASKS, (), ("a", "c"), ("b",)], ids="-".join)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_kinds_are_what_their_tokens_are(shape: Shape, together: Sequence[str]) -> None:
    texts = _texts(shape)
    kinds = regroup(_frame(texts, shape, together), KINDS)
    keys = ["task", "document", "phase", "layer", "projection", "expert"]
    assert not kinds.duplicated(keys).any()
    found: Any = specialization(kinds, draws=10).set_index([*GROUPED, "expert"])
    across: Any = specialization(kinds, across_routers=True, draws=10).set_index(["task", "expert"])
    loads: Any = expert_load(kinds, GROUPED).set_index([*GROUPED, "expert"])
    pairs: Any = coactivation(kinds, GROUPED).set_index([*GROUPED, "expert", "other"])
    summary: Any = router_summary(kinds, GROUPED, draws=10).set_index([*GROUPED, "metric"])
    assert len(found) == 2 * len(ROUTERS) * shape.experts
    assert set(found["chance"]) == set(across["chance"]) == {shape.per_token / shape.experts}
    assert (summary["top_k"] == shape.top_k).all()
    for kind in ("x", "y"):
        slow = {router: Slow(texts, shape, _members(kind), router) for router in ROUTERS}
        for router, tokens in slow.items():
            rates = [tokens.rate(expert) for expert in range(shape.experts)]
            assert found.loc[(kind, *router)]["rate"].tolist() == pytest.approx(rates)
            assert loads.loc[(kind, *router)]["rate"].tolist() == pytest.approx(rates)
            assert set(loads.loc[(kind, *router)]["tokens"]) == {len(tokens.chosen)}
            assert summary.loc[(kind, *router, "token_entropy")]["value"] == pytest.approx(tokens.entropy())
            assert summary.loc[(kind, *router, "load_entropy")]["tokens"] == len(tokens.chosen)
            for one, two in product(range(shape.experts), repeat=2):
                if one != two:
                    assert pairs.loc[(kind, *router, one, two)]["together"] == tokens.together(one, two)
        for expert in range(shape.experts):
            mean = sum(tokens.rate(expert) for tokens in slow.values()) / len(slow)
            assert across.loc[kind, expert]["rate"] == pytest.approx(mean)
        assert across.loc[kind]["rate"].sum() == pytest.approx(shape.per_token)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_how_documents_were_recorded_does_not_change_a_frame(shape: Shape) -> None:
    texts = _texts(shape)
    frames = [regroup(_frame(texts, shape, together), KINDS) for together in ((), TASKS, ("a", "c"))]
    figures: list[Callable[[pd.DataFrame], pd.DataFrame]] = [
        lambda frame: expert_load(frame, ["task", "phase", "layer", "projection"]),
        lambda frame: router_summary(frame, ["task"], draws=5).drop(columns=["low", "high", "documents"]),
        lambda frame: task_similarity(frame, draws=5).drop(columns=["low", "high", "split_half"]),
        lambda frame: specialization(frame, draws=5).drop(columns=["low", "high", "documents"]),
        coactivation,
    ]
    for figure in figures:
        first, *others = (figure(frame) for frame in frames)
        for other in others:
            pd.testing.assert_frame_equal(first, other, check_dtype=False, check_categorical=False)


def test_a_group_with_a_task_of_unknown_documents_has_no_intervals() -> None:
    shape = Shape()
    kinds = regroup(_frame(_texts(shape), shape, ("b",)), KINDS)
    found: Any = specialization(kinds, draws=10).groupby("task")[["low", "documents"]].agg(["max"])
    assert (kinds.loc[kinds["task"] == "x", "document"] == -1).all()
    assert kinds.loc[kinds["task"] == "y", "document"].nunique() == 3
    assert found.loc["y", ("documents", "max")] == 3
    assert found.loc["x", ("documents", "max")] == 0
    assert math.isnan(found.loc["x", ("low", "max")])


def test_tasks_without_a_group_are_left_out() -> None:
    shape = Shape()
    texts = _texts(shape)
    kinds = regroup(_frame(texts, shape, TASKS), {"a": "x", "c": "x"})
    load = expert_load(kinds, GROUPED)
    assert set(load["task"]) == {"x"}
    assert set(load["tokens"]) == {len(Slow(texts, shape, ["a", "c"], ROUTERS[0]).chosen)}
    assert regroup(_frame(texts, shape), {"nothing": "x"}).empty


@pytest.mark.parametrize("together", [TASKS, (), ("a", "c")], ids="-".join)
@pytest.mark.parametrize("copies", [2, 3])
def test_rows_of_one_cell_are_added_up(together: Sequence[str], copies: int) -> None:
    shape = Shape()
    frames = [_frame(_texts(shape._replace(seed=seed)), shape, together) for seed in range(copies)]
    one, *others = (cells(frame) for frame in frames)
    both = cells(pd.concat(frames))
    for name in ("tokens", "entropy", "near_ties", "count", "mass", "top1", "prob", "coactive"):
        total = sum((getattr(other, name) for other in others), getattr(one, name))
        np.testing.assert_allclose(getattr(both, name), total)
    shuffled = pd.concat(frames).sample(frac=1, random_state=0)
    np.testing.assert_array_equal(cells(shuffled).count, both.count)


def test_runs_of_one_model_with_other_routers_stay_apart() -> None:
    shapes = [Shape(), Shape(experts=8), Shape(top_k=3), Shape(experts=8, top_k=1)]
    frames = [_frame(_texts(shape), shape, TASKS).assign(run=str(i)) for i, shape in enumerate(shapes)]
    found = specialization(regroup(pd.concat(frames), KINDS), across_routers=True)
    loads = expert_load(pd.concat(frames), ["task"])
    for i, shape in enumerate(shapes):
        alone = specialization(regroup(frames[i], KINDS), across_routers=True)
        mine = found[found["run"] == str(i)].reset_index(drop=True)
        pd.testing.assert_frame_equal(mine, alone)
        assert set(mine["chance"]) == {shape.top_k / shape.experts}
        assert len(mine) == 2 * shape.experts
        assert set(loads.loc[loads["run"] == str(i), "rate_chance"]) == {shape.per_token / shape.experts}


@pytest.mark.parametrize(
    "other", [Shape(experts=8), Shape(experts=2), Shape(top_k=1), Shape(top_k=3)], ids=str
)
@pytest.mark.parametrize("tasks", [("a",), ("a", "b")])
def test_routers_of_different_shapes_are_not_one_run(other: Shape, tasks: tuple[str, ...]) -> None:
    one = _frame(_texts(Shape()), Shape(), TASKS)
    two = _frame(_texts(other), other, TASKS)
    mixed = pd.concat([one[one["task"].isin(tasks)], two[~two["task"].isin(tasks)]])
    with pytest.raises(AnalysisError, match=r"different numbers of experts|do not add up"):
        specialization(regroup(mixed, KINDS))
    with pytest.raises(AnalysisError, match="different numbers of experts"):
        expert_load(mixed)
