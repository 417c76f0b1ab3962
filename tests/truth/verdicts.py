"""Routing beside the answers: right and wrong documents, and gains that tasks share."""

from __future__ import annotations

from itertools import combinations
from typing import Any

import numpy as np

from tests.truth import plain
from tests.truth.ledger import Shown, Truth, exactly, rows_shown
from tests.truth.routing import DRAWS, loads, mean_of_draws, similar
from tests.truth.runs import Made
from tests.truth.scores import expected_scores
from tests.truth.traces import Trace


def right_documents(made: Made) -> dict[str, Any]:
    """Which documents of each task came out right, as zeros and ones."""
    found = {}
    for task, mine in made.tasks.items():
        row = made.main[task]
        values = [plain.document_score(value, row["aggregation"]) for value in mine.values[row["metric"]]]
        found[task] = np.array([float(value >= 1) for value in values])
    return {task: sure for task, sure in found.items() if 0 < sure.sum() < len(sure)}


def dealt(sure: Any) -> Any:
    """The verdicts, and then shuffled ones."""
    rng = np.random.default_rng(50)
    return np.stack([sure, *(rng.permutation(sure) for _ in range(DRAWS))])


def verdict_tests(made: Made, trace: Trace, *, permutations: int = 1_000) -> dict[str, dict[str, Truth]]:
    """Whether right and wrong documents are routed differently, for tasks that have both."""
    counts, found = trace.counts(), {}
    for task, sure in sorted(right_documents(made).items()):
        chosen = counts.keep(lambda owner, task=task: owner[0] == task).chosen  # type: ignore[misc]
        one = np.tensordot(dealt(sure), chosen, axes=1)
        apart = 1 - similar(one, chosen.sum(axis=0) - one)
        p = float((apart[1:] >= apart[0] - 1e-12).mean())
        found[task] = {
            "right": exactly(sure.sum()),
            "wrong": exactly(len(sure) - sure.sum()),
            "divergence": exactly(apart[0]),
            "chance": mean_of_draws(apart[1:], permutations),
            "p_value": plain.chance(p, DRAWS, permutations),
        }
    adjusted = plain.holm([row["p_value"] for row in found.values()])
    for row, value in zip(found.values(), adjusted, strict=True):
        row["p_adjusted"] = value
    return found


def check_verdicts(made: Made, trace: Trace, found: dict[str, Any], *, permutations: int = 1_000) -> int:
    """Compare the verdicts and loads of `routing scores --json`."""
    expected = verdict_tests(made, trace, permutations=permutations)
    shown = rows_shown("verdicts", found["verdicts"], "task")
    assert [row["task"] for row in found["verdicts"]] == list(expected)
    for task, values in expected.items():
        for name, value in values.items():
            shown.number((task, name), value)
    return shown.closed() + _check_loads(made, trace, found["loads"], permutations)


def _check_loads(made: Made, trace: Trace, rows: list[dict[str, Any]], permutations: int) -> int:
    shown = rows_shown("loads", rows, "task", "layer", "projection", "expert")
    counts = trace.counts()
    for task, sure in right_documents(made).items():
        mine = counts.keep(lambda owner, task=task: owner[0] == task)  # type: ignore[misc]
        shares = loads(mine.chosen)
        spread = shares.std(axis=0)
        w = dealt(sure)
        one = np.tensordot(w / w.sum(axis=1, keepdims=True), shares, axes=1)
        two = np.tensordot((1 - w) / (1 - w).sum(axis=1, keepdims=True), shares, axes=1)
        apart = np.abs(np.divide(one - two, spread, out=np.zeros_like(one), where=spread > 0))
        largest = apart[1:].reshape(len(w) - 1, -1).max(axis=1)
        for r, (layer, projection) in enumerate(trace.routers):
            for expert in range(trace.experts):
                key = (task, layer, projection, expert)
                p = float((largest >= apart[0, r, expert] - 1e-12).mean())
                shown.number((*key, "load_right"), float(one[0, r, expert]))
                shown.number((*key, "load_wrong"), float(two[0, r, expert]))
                shown.number((*key, "difference"), float((one - two)[0, r, expert]))
                shown.number((*key, "p_adjusted"), plain.chance(p, DRAWS, permutations))
    return shown.closed()


def check_gains(later: Made, earlier: Made, trace: Trace, found: dict[str, Any]) -> int:
    """Compare the gains of `routing scores LATER EARLIER --json`."""
    expected, pairs = gains(later, earlier, trace), found["pairs"]
    shown = rows_shown("gains", pairs, "task", "other")
    assert {(row["task"], row["other"]) for row in pairs} == set(expected["pairs"])
    for key, values in expected["pairs"].items():
        for name, value in zip(("similarity", "gain", "gain_other", "apart"), values, strict=True):
            shown.number((*key, name), value)
    rest = Shown("gains", {(name,): found[name] for name in ("correlation", "p_value", "tasks")})
    for name in ("correlation", "p_value", "tasks"):
        rest.number((name,), expected[name])
    return shown.closed() + rest.closed()


def gains(later: Made, earlier: Made, trace: Trace) -> dict[str, Any]:
    """How alike pairs of tasks are routed, how far their gains are apart, and whether both go together."""
    counts = trace.counts()
    sides = [expected_scores(made) for made in (later, earlier)]
    tasks = sorted(task for task in later.tasks if task in earlier.tasks)
    gain = []
    for task in tasks:
        one, two = (
            side[task, made.main[task]["metric"]][0].least
            for side, made in zip(sides, (later, earlier), strict=True)
        )
        gain.append(one - two)
    sums = [counts.keep(lambda owner, task=task: owner[0] == task).chosen.sum(axis=0) for task in tasks]  # type: ignore[misc]
    places = list(combinations(range(len(tasks)), 2))
    alike = [float(similar(sums[i], sums[j])) for i, j in places]

    def correlation(order: Any) -> float:
        apart = [-abs(gain[order[i]] - gain[order[j]]) for i, j in places]
        return float(np.corrcoef(alike, apart)[0, 1])

    rng = np.random.default_rng(60)
    observed = correlation(range(len(tasks)))
    drawn = np.array([correlation(rng.permutation(len(tasks))) for _ in range(DRAWS)])
    p = float((np.abs(drawn) >= abs(observed) - 1e-12).mean())
    return {
        "pairs": {
            (tasks[i], tasks[j]): (alike[n], gain[i], gain[j], abs(gain[i] - gain[j]))
            for n, (i, j) in enumerate(places)
        },
        "correlation": observed,
        "p_value": plain.chance(p, DRAWS, 2_000),
        "tasks": len(tasks),
    }
