"""Figures of routing from counted tokens."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from tests.truth import plain
from tests.truth.ledger import UNKNOWN, Shown, Truth
from tests.truth.traces import Counts, Owner, Trace

DRAWS = 2_000

METRICS = (
    "load_entropy",
    "token_entropy",
    "mutual_information",
    "effective_experts",
    "max_violation",
    "dead_experts",
    "near_ties",
)


def entropy(shares: Any) -> Any:
    """H(p) in nats over the last axis."""
    return -np.where(shares > 0, shares * np.log(np.where(shares > 0, shares, 1)), 0).sum(axis=-1)


def loads(chosen: Any) -> Any:
    """Shares of the choices over the last axis."""
    return chosen / chosen.sum(axis=-1, keepdims=True)


def figures(chosen: Any, tokens: Any, prob: Any, entropies: Any, ties: Any) -> dict[str, Any]:
    """Metrics as means over the routers: ``[..., R, E]`` to ``[...]``."""
    experts, per_token = chosen.shape[-1], tokens[..., None]
    load = loads(chosen)
    each = {
        "load_entropy": entropy(load) / np.log(experts),
        "token_entropy": entropies / per_token,
        "mutual_information": entropy(prob / per_token[..., None]) - entropies / per_token,
        "effective_experts": np.exp(entropy(load)),
        "max_violation": load.max(axis=-1) * experts - 1,
        "dead_experts": (chosen == 0).sum(axis=-1).astype(float),
        "near_ties": ties / per_token,
    }
    return {name: value.mean(axis=-1) for name, value in each.items()}


def resampled(counts: Counts, *, draws: int = DRAWS, seed: int = 30) -> tuple[Any, ...]:
    """Sums over documents drawn with replacement: choices, tokens, probabilities, entropies, ties."""
    w = plain.weights(len(counts.owners), draws=draws, seed=seed)
    parts = (counts.chosen, counts.tokens, counts.prob, counts.entropy, counts.ties)
    return tuple(np.tensordot(w, part, axes=1) for part in parts)


def whole(counts: Counts) -> tuple[Any, ...]:
    """The same sums over every document once."""
    parts = (counts.chosen, counts.tokens, counts.prob, counts.entropy, counts.ties)
    return tuple(part.sum(axis=0) for part in parts)


def check_summary(trace: Trace, rows: list[dict[str, Any]], shown: Shown, *, draws: int = 1_000) -> int:
    """Compare the rows of `routing show --json`, task by task."""
    counts = trace.counts()
    tasks = sorted({task for task, _ in counts.owners})
    assert {(row["task"], row["metric"]) for row in rows} == {(t, m) for t in tasks for m in METRICS}
    chance = {"load_entropy": 1.0, "token_entropy": np.log(trace.experts), "effective_experts": trace.experts}
    for task in tasks:
        mine = counts.keep(lambda owner, task=task: owner[0] == task)  # type: ignore[misc]
        value, drawn = figures(*whole(mine)), figures(*resampled(mine))
        for metric in METRICS:
            key = (task, metric)
            low, high = plain.percentiles(drawn[metric], draws)
            if metric == "dead_experts":  # a resample can lose an expert but never find one
                low, high = UNKNOWN, UNKNOWN
            shown.number((*key, "value"), float(value[metric]))
            shown.number((*key, "low"), low)
            shown.number((*key, "high"), high)
            level = chance.get(metric, np.nan if metric == "near_ties" else 0.0)
            shown.number((*key, "chance"), float(level))
            shown.number((*key, "tokens"), float(mine.tokens.sum()))
            shown.number((*key, "experts"), trace.experts)
            shown.number((*key, "top_k"), trace.top_k)
            shown.number((*key, "routers"), len(trace.routers))
            shown.number((*key, "documents"), len(mine.owners))
    return shown.closed()


def similar(one: Any, two: Any) -> Any:
    """1 - JSD in bits of two loads, the mean over routers: ``[..., R, E]`` to ``[...]``."""
    first, second = loads(one), loads(two)
    divergence = entropy((first + second) / 2) - (entropy(first) + entropy(second)) / 2
    return (1 - divergence / np.log(2)).mean(axis=-1)


def halves(chosen: Any, *, draws: int = DRAWS, seed: int = 31) -> Any:
    """Similarities of two random halves of the documents."""
    rng = np.random.default_rng(seed)
    sides = np.stack([rng.permutation(np.arange(len(chosen)) % 2) for _ in range(draws)]).astype(float)
    one = np.tensordot(sides, chosen, axes=1)
    return similar(one, chosen.sum(axis=0) - one)


def mean_of_draws(values: Any, draws: int) -> Truth:
    """Where the mean of other draws may lie."""
    slack = 6 * float(values.std()) * np.sqrt(1 / len(values) + 1 / draws)
    return Truth(float(values.mean()) - slack, float(values.mean()) + slack)


def similarities(
    trace: Trace, *, draws: int = 200
) -> dict[tuple[str, str], tuple[float, Truth, Truth, Truth]]:
    """Similarity of every pair of tasks with its limits, and that of two halves of one."""
    counts = trace.counts()
    tasks = sorted({task for task, _ in counts.owners})
    mine = {task: counts.keep(lambda owner, task=task: owner[0] == task).chosen for task in tasks}  # type: ignore[misc]
    half = {task: mean_of_draws(halves(mine[task]), draws) for task in tasks}
    drawn = {
        task: np.tensordot(plain.weights(len(part), draws=DRAWS, seed=40 + i), part, axes=1)
        for i, (task, part) in enumerate(mine.items())
    }
    found = {}
    for i, one in enumerate(tasks):
        for two in tasks[i:]:
            value = float(similar(mine[one].sum(axis=0), mine[two].sum(axis=0)))
            low, high = (
                (UNKNOWN, UNKNOWN)
                if one == two
                else plain.percentiles(similar(drawn[one], drawn[two]), draws)
            )
            both = Truth(*((half[one][end] + half[two][end]) / 2 for end in (0, 1)))
            found[one, two] = (value, low, high, both)
    return found


def check_similarities(trace: Trace, rows: list[dict[str, Any]], shown: Shown) -> int:
    """Compare the rows of `routing similarity --json`."""
    expected = similarities(trace)
    assert {(row["task"], row["other"]) for row in rows} == set(expected)
    for key, values in expected.items():
        for name, value in zip(("similarity", "low", "high", "split_half"), values, strict=True):
            assert isinstance(value, (Truth, float))
            shown.number((*key, name), value)
    return shown.closed()


def rates(counts: Counts, weights: Any = None) -> Any:
    """Share of the tokens that choose each expert, the mean over routers: ``[E]``, or ``[draws, E]``."""
    if weights is None:
        return (counts.chosen.sum(axis=0) / counts.tokens.sum()).mean(axis=0)
    sums = np.tensordot(weights, counts.chosen, axes=1)
    return (sums / (weights @ counts.tokens)[:, None, None]).mean(axis=1)


def check_kinds(
    trace: Trace,
    kind_of: Callable[[Owner], str],
    rows: list[dict[str, Any]],
    shown: Shown,
    *,
    phase: str | None = None,
    counts: Counts | None = None,
    draws: int = 1_000,
) -> int:
    """Compare the rows of `routing kinds --json`.

    Args:
        trace: The run's trace.
        kind_of: The kind of a document's task.
        rows: What was printed.
        shown: The same.
        phase: Only tokens of this phase.
        counts: Counts of other tokens than those of a phase.
        draws: Draws behind the intervals.
    """
    counts = counts or trace.counts(phase)
    kinds = sorted({kind_of(owner) for owner in counts.owners})
    assert sorted({row["kind"] for row in rows}) == kinds
    assert len(rows) == len(kinds) * trace.experts
    for kind in kinds:
        mine = counts.keep(lambda owner, kind=kind: kind_of(owner) == kind)  # type: ignore[misc]
        others = counts.keep(lambda owner, kind=kind: kind_of(owner) != kind)  # type: ignore[misc]
        value = rates(mine)
        drawn = rates(mine, plain.weights(len(mine.owners), draws=DRAWS))
        elsewhere = rates(others) if others.owners else np.full(trace.experts, np.nan)
        assert abs(value.sum() - trace.top_k) < 1e-9
        for expert in range(trace.experts):
            key = (kind, expert)
            low, high = plain.percentiles(drawn[:, expert], draws)
            shown.number((*key, "rate"), float(value[expert]))
            shown.number((*key, "low"), low if len(mine.owners) > 1 else UNKNOWN)
            shown.number((*key, "high"), high if len(mine.owners) > 1 else UNKNOWN)
            shown.number((*key, "elsewhere"), float(elsewhere[expert]))
            shown.number((*key, "chance"), trace.top_k / trace.experts)
            shown.number((*key, "documents"), len(mine.owners))
    return shown.closed()


def check_changes(one: Trace, two: Trace, rows: list[dict[str, Any]], shown: Shown) -> int:
    """Compare the rows of `routing compare --json`: loads of two checkpoints by task and router."""
    sides = [trace.counts() for trace in (one, two)]
    shared = sorted({task for task, _ in sides[0].owners} & {task for task, _ in sides[1].owners})
    assert len(rows) == len(shared) * len(one.routers) * one.experts
    for task in shared:
        mine, other = (
            loads(side.keep(lambda owner, task=task: owner[0] == task).chosen.sum(axis=0))  # type: ignore[misc]
            for side in sides
        )
        for r, (layer, projection) in enumerate(one.routers):
            for expert in range(one.experts):
                key = (task, layer, projection, expert)
                shown.number((*key, "load"), float(mine[r, expert]))
                shown.number((*key, "load_other"), float(other[r, expert]))
                shown.number((*key, "difference"), float(mine[r, expert] - other[r, expert]))
                shown.number((*key, "load_chance"), 1 / one.experts)
    return shown.closed()
