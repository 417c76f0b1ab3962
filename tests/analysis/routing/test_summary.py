"""Routing metrics against slow, independent implementations that walk through tokens one by one."""

from __future__ import annotations

import math
from collections import Counter
from itertools import combinations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import jensenshannon
from sklearn.metrics import mutual_info_score

from medbench.analysis.routing import metrics
from medbench.analysis.routing.cells import cells
from medbench.analysis.routing.summary import (
    coactivation,
    expert_load,
    load_difference,
    router_summary,
    task_similarity,
)
from medbench.errors import AnalysisError
from tests.analysis.factory import ROUTING, write_routing

routers = st.tuples(
    st.integers(2, 8),  # experts
    st.integers(1, 40),  # tokens
    st.integers(0, 2**31 - 1),  # seed
    st.integers(1, 7),  # experts chosen, at most E - 1
)


def _tokens(spec: tuple[int, int, int, int]) -> tuple[list[list[float]], list[list[int]], int, int]:
    """Distributions and choices of random tokens."""
    experts, tokens, seed, k = spec
    k = min(k, experts - 1)
    rng = np.random.default_rng(seed)
    p = rng.dirichlet(np.full(experts, 0.7), tokens)
    choice = np.argsort(-p, axis=1)[:, :k]
    return p.tolist(), choice.tolist(), experts, k


def _counts(choices: list[list[int]], experts: int) -> list[int]:
    chosen = Counter(expert for token in choices for expert in token)
    return [chosen[expert] for expert in range(experts)]


def _slow_entropy(p: list[float]) -> float:
    return -sum(x * math.log(x) for x in p if x > 0)


@given(routers)
@settings(max_examples=60, deadline=None)
def test_load_metrics(spec: tuple[int, int, int, int]) -> None:
    _, choices, experts, k = _tokens(spec)
    count = _counts(choices, experts)
    total = len(choices) * k
    share = [n / total for n in count]
    assert metrics.load_share(count).tolist() == pytest.approx(share)
    assert float(metrics.load_entropy(count, experts)) == pytest.approx(
        _slow_entropy(share) / math.log(experts)
    )
    assert float(metrics.effective_experts(count)) == pytest.approx(math.exp(_slow_entropy(share)))
    mean = total / experts
    assert float(metrics.max_violation(count, experts)) == pytest.approx(max(count) / mean - 1)
    assert float(metrics.max_violation(count, experts)) <= experts / k - 1 + 1e-9
    assert int(metrics.dead_experts(count, experts)) == sum(n == 0 for n in count)


@given(routers)
@settings(max_examples=60, deadline=None)
def test_mutual_information(spec: tuple[int, int, int, int]) -> None:
    p, _, experts, _ = _tokens(spec)
    tokens = len(p)
    marginal = [sum(row[i] for row in p) / tokens for i in range(experts)]
    # I(token; expert) = Σ_t Σ_i p(t) p(i|t) ln(p(i|t) / p(i)), another form of the same quantity.
    expected = sum(
        row[i] / tokens * math.log(row[i] / marginal[i]) for row in p for i in range(experts) if row[i] > 0
    )
    summed = [sum(row[i] for row in p) for i in range(experts)]
    found = metrics.mutual_information(summed, sum(map(_slow_entropy, p)), tokens)
    assert float(found) == pytest.approx(expected, abs=1e-9)


def test_mutual_information_of_certain_routers_is_that_of_scikit_learn() -> None:
    rng = np.random.default_rng(0)
    expert = rng.integers(0, 4, 60)
    p = np.eye(4)[expert]
    expected = mutual_info_score(np.arange(60), expert)
    assert float(metrics.mutual_information(p.sum(axis=0), 0.0, 60)) == pytest.approx(expected)


@given(routers)
@settings(max_examples=60, deadline=None)
def test_coactivation_counts_all_pairs(spec: tuple[int, int, int, int]) -> None:
    _, choices, experts, _ = _tokens(spec)
    together = np.zeros((experts, experts))
    for token in choices:
        for i in token:
            together[i, i] += 1
        for i, j in combinations(token, 2):
            together[i, j] += 1
            together[j, i] += 1
    found = metrics.coactivation(together)
    for i in range(experts):
        for j in range(experts):
            if i == j or not together[i, i]:
                assert math.isnan(found[i, j])
            else:
                chosen = [token for token in choices if i in token]
                assert found[i, j] == pytest.approx(sum(j in token for token in chosen) / len(chosen))


@given(st.integers(2, 8), st.integers(0, 1000))
@settings(max_examples=40, deadline=None)
def test_similarity_is_that_of_scipy(experts: int, seed: int) -> None:
    one, two = np.random.default_rng(seed).dirichlet(np.ones(experts), 2)
    expected = 1 - jensenshannon(one, two, base=2) ** 2
    assert float(metrics.jensen_shannon_similarity(one, two)) == pytest.approx(expected)


def test_known_loads() -> None:
    assert float(metrics.load_entropy([5, 5, 5, 5], 4)) == pytest.approx(1)
    assert float(metrics.effective_experts([7, 0, 0, 0])) == pytest.approx(1)
    assert float(metrics.max_violation([10, 10, 0, 0], 4)) == pytest.approx(4 / 2 - 1)
    assert float(metrics.jensen_shannon_similarity([1, 0], [0, 1])) == pytest.approx(0)
    assert float(metrics.coactivation_chance(4, 2)) == pytest.approx(1 / 3)
    assert float(metrics.coactivation_chance(8, 2)) == pytest.approx(1 / 7)


def _frame(**options: object) -> pd.DataFrame:
    frame: pd.DataFrame = write_routing(["a", "b"], **options).to_pandas()  # type: ignore[arg-type]
    return frame.assign(model="m", run="r")


def test_load_frame_adds_up_and_names_chance() -> None:
    frame = expert_load(_frame(), ["task", "layer", "projection"])
    assert len(frame) == 2 * 3 * 3 * 4
    for _, part in frame.groupby(["task", "layer", "projection"]):
        assert part["load"].sum() == pytest.approx(1)
        assert part["mass"].sum() == pytest.approx(1)
        assert part["top1"].sum() == pytest.approx(1)
        assert part["count"].sum() == 2 * part["tokens"].iloc[0]
        assert part["rate"].sum() == pytest.approx(2)
    assert (frame["load_chance"] == 0.25).all()
    assert frame["rate_chance"].tolist() == pytest.approx([0.5] * len(frame))


def test_rows_of_documents_and_of_all_documents_are_not_added_up() -> None:
    single = _frame(documents=5)
    keys = ["task", "phase", "layer", "projection", "expert"]
    sums = single.groupby(keys)[["tokens", "count", "mass", "top1", "prob", "entropy", "near_ties"]].sum()
    together = single.groupby(keys)["coactive"].agg(lambda rows: np.sum(np.stack(list(rows)), axis=0))
    total = sums.join(together).reset_index().assign(document=-1, model="m", run="r")
    both = expert_load(pd.concat([single, total]))
    pd.testing.assert_frame_equal(both, expert_load(single))
    only = expert_load(total)
    assert only["load"].tolist() == pytest.approx(both["load"].tolist())


def test_summary_is_the_mean_over_routers() -> None:
    frame = _frame(lean=1.5)
    each = router_summary(frame).set_index(["task", "phase", "layer", "projection", "metric"])["value"]
    per_task = router_summary(frame, ["task", "phase"]).set_index(["task", "phase", "metric"])["value"]
    for metric in ("mutual_information", "load_entropy", "effective_experts", "max_violation"):
        expected = each.xs(("a", "prompt"), level=("task", "phase")).xs(metric, level="metric").mean()
        assert per_task[("a", "prompt", metric)] == pytest.approx(expected)


def test_summary_has_intervals_where_documents_are_known() -> None:
    with_documents = router_summary(_frame(documents=8), ["task"], draws=200)
    assert (with_documents["documents"] == 16 / 2).all()
    held = with_documents[with_documents["metric"].isin(["token_entropy", "load_entropy"])]
    assert ((held["low"] <= held["value"] + 0.02) & (held["value"] - 0.02 <= held["high"])).all()
    without = router_summary(_frame(), ["task"])
    assert without["low"].isna().all()
    assert (without["documents"] == 0).all()


def test_specialized_tasks_part_from_even_ones() -> None:
    even = router_summary(_frame(lean=0.0, tokens=4_000), ["task"]).set_index(["task", "metric"])["value"]
    leaning = router_summary(_frame(lean=3.0, tokens=4_000), ["task"]).set_index(["task", "metric"])["value"]
    assert even[("a", "load_entropy")] == pytest.approx(1, abs=0.001)
    assert leaning[("a", "load_entropy")] < 0.95
    similar = task_similarity(_frame(lean=0.0, tokens=4_000, documents=10), draws=50)
    apart = task_similarity(_frame(lean=3.0, tokens=4_000, documents=10), draws=50)
    pair = apart[apart["task"] != apart["other"]].to_dict("records")[0]
    same = similar[similar["task"] != similar["other"]].to_dict("records")[0]
    assert same["similarity"] == pytest.approx(1, abs=0.002)
    assert pair["similarity"] < pair["split_half"] - 0.05
    assert pair["low"] <= pair["similarity"] <= pair["high"]
    assert (apart.loc[apart["task"] == apart["other"], "similarity"] == 1).all()


def test_coactivation_frame() -> None:
    frame = coactivation(_frame(lean=0.0, tokens=6_000), ["task", "layer", "projection"])
    assert len(frame) == 2 * 9 * 4 * 3
    assert frame["share"].mean() == pytest.approx(1 / 3, abs=0.01)
    assert frame["chance"].tolist() == pytest.approx([1 / 3] * len(frame))


def test_load_difference() -> None:
    one, two = _frame(seed=1), _frame(seed=2, lean=2.0)
    frame = load_difference(one, two)
    assert frame["difference"].abs().max() > 0.05
    assert (load_difference(one, one)["difference"] == 0).all()
    with pytest.raises(AnalysisError, match="two runs"):
        load_difference(pd.concat([one, one.assign(run="s")]), two)
    with pytest.raises(AnalysisError, match="in common"):
        load_difference(one, _frame(experts=8))


def test_routers_of_different_sizes_stay_apart() -> None:
    frame = pd.concat([_frame(), _frame(experts=8).assign(run="s")])
    loads = expert_load(frame)
    assert loads.groupby("run")["load_chance"].first().tolist() == [0.25, 0.125]
    assert loads.groupby("run")["expert"].max().tolist() == [3, 7]
    with pytest.raises(AnalysisError, match="different numbers"):
        cells(frame).merge(["task"])


def test_without_routing_there_is_nothing_to_analyze() -> None:
    with pytest.raises(AnalysisError, match="no routing"):
        expert_load(ROUTING.empty_table().to_pandas())
    with pytest.raises(AnalysisError, match="lacks"):
        expert_load(pd.DataFrame({"task": ["a"]}))
