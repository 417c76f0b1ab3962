"""Differences and rankings of runs, from the documents alone."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

import numpy as np
from scipy import stats

from tests.truth import plain
from tests.truth.documents import Judged
from tests.truth.ledger import UNKNOWN, Shown, Truth, exactly
from tests.truth.runs import Made
from tests.truth.scores import expected_scores


@dataclass
class Difference:
    """A row of a comparison, first minus second."""

    n: int
    score: float
    baseline: float
    low: Truth
    high: Truth
    method: str
    p: Truth
    adjusted: Truth
    test: str
    wins: int
    losses: int
    detectable: Truth

    @property
    def difference(self) -> float:
        return self.score - self.baseline


def differences(mine: Made, base: Made, *, draws: int = 10_000) -> dict[str, Difference]:
    """Every task and group that both have, task by task and then group by group.

    Args:
        mine: A run.
        base: The one it is compared with.
        draws: Draws behind the numbers that are to be checked.
    """
    tasks = [name for name, row in base.main.items() if row["kind"] == "task" and name in mine.main]
    found = {}
    for task in tasks:
        row = base.main[task]
        found[task] = of_task(mine.tasks[task], base.tasks[task], row["metric"], row["aggregation"], draws)
    for difference, adjusted in zip(found.values(), plain.holm([d.p for d in found.values()]), strict=True):
        difference.adjusted = adjusted
    for name in [name for name, row in base.main.items() if row["kind"] == "group" and name in mine.main]:
        shares = group_shares(base, name)
        found[name] = _of_group([found[task] for task in shares], list(shares.values()))
    return found


def group_shares(made: Made, name: str) -> dict[str, float]:
    """With which weight each task enters the average of a group, group within group."""
    row = made.main[name]
    if row["kind"] == "task":
        return {name: 1.0}
    inner = [group_shares(made, member) for member in row["members"]]
    sizes = [float(made.main[member]["n"]) for member in row["members"]]
    sizes = sizes if row["metric"] == "weighted_average" else [1.0] * len(inner)
    return {
        task: share * size / sum(sizes)
        for part, size in zip(inner, sizes, strict=True)
        for task, share in part.items()
    }


def of_task(mine: Judged, base: Judged, metric: str, aggregation: str, draws: int = 10_000) -> Difference:
    """The difference on the documents of a task.

    Args:
        mine: A system's documents.
        base: The same documents of the other.
        metric: Main metric.
        aggregation: How documents make the score.
        draws: Draws behind the numbers that are to be checked.
    """
    assert mine.documents == base.documents
    one, two = mine.values[metric], base.values[metric]
    n, groups = len(one), plain.clusters_of(base.clusters)
    each = [[plain.document_score(value, aggregation) for value in side] for side in (one, two)]
    wins = sum(a > b for a, b in zip(*each, strict=True))
    losses = sum(a < b for a, b in zip(*each, strict=True))
    score, baseline = (float(plain.corpus(side, aggregation)) for side in (one, two))
    binary = aggregation == "mean" and {*one, *two} <= {0.0, 1.0}
    if binary and groups is None:
        center, error = plain.bonett_price(wins, losses, n)
        low = exactly(max(-1.0, center - plain.Z * error))
        high = exactly(min(1.0, center + plain.Z * error))
        p, spread, method = exactly(plain.mcnemar(wins, losses)), exactly(error), "bonett-price"
    else:
        p = plain.swapped(one, two, aggregation, groups, draws)
        low, high, method, spread = _limits(one, two, aggregation, groups, draws)
    low, high = _as_tested(low, high, p)
    test = "mcnemar-exact" if method == "bonett-price" else "randomisation"
    reach = spread * plain.POWER
    return Difference(n, score, baseline, low, high, method, p, UNKNOWN, test, wins, losses, reach)


def _as_tested(low: Truth, high: Truth, p: Truth, alpha: float = 0.05) -> tuple[Truth, Truth]:
    """Limits that hold 0 where the test does not reject it."""
    wide = Truth(*(min(0.0, end) for end in low)), Truth(*(max(0.0, end) for end in high))
    if p.most <= alpha:
        return low, high
    if p.least > alpha:
        return wide
    return Truth(min(low.least, wide[0].least), low.most), Truth(high.least, max(high.most, wide[1].most))


def _limits(
    one: Sequence[Any], two: Sequence[Any], aggregation: str, groups: list[list[int]] | None, draws: int
) -> tuple[Truth, Truth, str, Truth]:
    """Limits of a difference, their method and the standard error."""
    n, units = len(one), len(groups) if groups else len(one)
    if aggregation == "mean":
        change = [a - b for a, b in zip(one, two, strict=True)]
        middle = sum(change) / n
        error, freedom = plain.error_of_mean(change, groups)
        if error > 1e-12:
            reach = error * float(stats.t.ppf(0.975, freedom))
            method = "t" if groups is None else "t-clustered"
            return exactly(middle - reach), exactly(middle + reach), method, exactly(error)
    else:
        w = plain.weights(n, groups)
        sampled = plain.corpus(one, aggregation, w) - plain.corpus(two, aggregation, w)
        middle = float(plain.corpus(one, aggregation) - plain.corpus(two, aggregation))
        if np.ptp(sampled) > 1e-12:
            low, high = plain.expanded(sampled, units, draws)
            error = float(sampled.std(ddof=1))
            method = "bootstrap" if groups is None else "bootstrap-clustered"
            return low, high, method, Truth(0.93 * error, 1.07 * error)
    low, high, method = plain.agreeing(middle, units, (-1.0, 1.0))
    return low, high, method, exactly(max(high.least - middle, middle - low.least) / plain.Z)


def _of_group(parts: Sequence[Difference], shares: Sequence[float]) -> Difference:
    middle, low, high = plain.mover(
        shares, [part.difference for part in parts], [part.low for part in parts], [p.high for p in parts]
    )
    reaches = [middle - end for end in low] if middle > 0 else [end - middle for end in high]
    p = sorted(2 * NormalDist().cdf(-abs(middle) * plain.Z / reach) for reach in reaches)
    spread = [
        math.sqrt(sum((s * part.detectable[end]) ** 2 for s, part in zip(shares, parts, strict=True)))
        for end in (0, 1)
    ]
    return Difference(
        n=sum(part.n for part in parts),
        score=sum(share * part.score for share, part in zip(shares, parts, strict=True)),
        baseline=sum(share * part.baseline for share, part in zip(shares, parts, strict=True)),
        low=low,
        high=high,
        method="mover",
        p=Truth(*p),
        adjusted=UNKNOWN,
        test="z",
        wins=sum(part.wins for part in parts),
        losses=sum(part.losses for part in parts),
        detectable=Truth(*spread),
    )


def verdict(difference: float, p: Truth, alpha: float = 0.05) -> set[str]:
    """What may be said of a difference: one thing, unless chance decides on the side of the level."""
    sides = {p.least <= alpha, p.most <= alpha}
    return {("better" if difference > 0 else "worse") if clear else "undecided" for clear in sides}


def check_json(rows: list[dict[str, Any]], shown: Shown, expected: dict[tuple[str, str], Difference]) -> int:
    """Compare the rows of `compare --json`."""
    assert {(row["model"], row["task"]) for row in rows} == set(expected)
    for row in rows:
        key = (row["model"], row["task"])
        true = expected[key]
        numbers: dict[str, Truth | float] = {
            "n": true.n,
            "score": true.score,
            "baseline_score": true.baseline,
            "difference": true.difference,
            "low": true.low,
            "high": true.high,
            "p_value": true.p,
            "p_adjusted": true.adjusted,
            "wins": true.wins,
            "losses": true.losses,
            "detectable": true.detectable,
        }
        for name, value in numbers.items():
            shown.number((*key, name), value)
        decisive = true.adjusted if true.adjusted.known else true.p
        assert row["verdict"] in verdict(true.difference, decisive), (key, row["verdict"], decisive)
        assert row["unadjusted"] in verdict(true.difference, true.p), key
        assert (row["interval"], row["test"]) == (true.method, true.test), key
    return shown.closed()


@dataclass
class Place:
    """A model's place in a ranking."""

    score: float
    low: Truth
    high: Truth
    n: int
    rank: int
    ranks: tuple[set[int], set[int]]
    parts: dict[str, float]


def ranking(every: Sequence[Made], shares: dict[str, float], *, draws: int = 2_000) -> dict[str, Place]:
    """Rank models by a weighted average over tasks that all of them have.

    Args:
        every: A run of each model.
        shares: The tasks with their weights.
        draws: Draws behind the ranks that are to be checked.
    """
    values = [_average(made, shares) for made in every]
    sampled = np.column_stack([_drawn(made, shares) for made in every])
    found = {}
    for j, made in enumerate(every):
        others = [k for k in range(len(every)) if k != j]
        gaps = np.array([values[k][0] - values[j][0] for k in others])
        better, worse = _separated(gaps, sampled[:, others] - sampled[:, [j]], draws)
        best = {1 + count for count in better}
        last = {len(every) - count for count in worse}
        rank = 1 + sum(value[0] > values[j][0] for value in values)
        found[made.model] = Place(
            *values[j], sum(made.main[task]["n"] for task in shares), rank, (best, last), _parts(made, shares)
        )
    return found


def _average(made: Made, shares: dict[str, float]) -> tuple[float, Truth, Truth]:
    scores = expected_scores(made)
    rows = [scores[task, made.main[task]["metric"]] for task in shares]
    return plain.mover(
        list(shares.values()), [row[0].least for row in rows], [row[1] for row in rows], [r[2] for r in rows]
    )


def _drawn(made: Made, shares: dict[str, float]) -> Any:
    """Averages of documents drawn anew, the same documents for all models."""
    total = np.zeros(plain.DRAWS)
    for number, (task, share) in enumerate(shares.items()):
        row, mine = made.main[task], made.tasks[task]
        w = plain.weights(len(mine.documents), seed=100 + number)
        total = total + share * plain.corpus(mine.values[row["metric"]], row["aggregation"], w)
    return total


def _separated(gaps: Any, drawn: Any, draws: int) -> tuple[set[int], set[int]]:
    """How many others are surely better, and surely worse; two counts where chance decides."""
    errors = drawn.std(axis=0, ddof=1)
    spread = errors > 0
    away = np.where(spread, np.abs(drawn - gaps) / np.where(spread, errors, 1), 0).max(axis=1)
    widths = plain.quantile(away, 0.95, draws)
    better, worse = set(), set()
    for width in (widths.least * 0.97, widths.most * 1.03):
        reach = np.where(spread, width * errors, 0)
        better.add(int((gaps - reach > 0).sum()))
        worse.add(int((gaps + reach < 0).sum()))
    return better, worse


def _parts(made: Made, shares: dict[str, float]) -> dict[str, float]:
    """Averages over the tasks of a language or family."""
    found = {}
    for column in ("language", "family"):
        for part in {made.main[task][column] for task in shares}:
            inside = [task for task in shares if made.main[task][column] == part]
            values = [_average(made, {task: 1.0})[0] for task in inside]
            total = sum(shares[task] for task in inside)
            found[f"{column}.{part}"] = sum(
                shares[task] * value / total for task, value in zip(inside, values, strict=True)
            )
    return found


def check_ranking(rows: list[dict[str, Any]], shown: Shown, expected: dict[str, Place]) -> int:
    """Compare the rows of `leaderboard --json`."""
    assert [row["model"] for row in rows] == sorted(
        expected, key=lambda model: (-expected[model].score, model)
    )
    for row in rows:
        key, place = row["model"], expected[row["model"]]
        shown.number((key, "score"), place.score)
        shown.number((key, "low"), place.low)
        shown.number((key, "high"), place.high)
        shown.number((key, "n"), place.n)
        shown.number((key, "rank"), place.rank)
        for name, allowed in zip(("rank_low", "rank_high"), place.ranks, strict=True):
            assert shown.take((key, name)) in allowed, (key, name, allowed)
            shown.numbers += 1
        for name, value in place.parts.items():
            shown.number((key, name), value)
        shown.number((key, "tasks"), len(row["missing"]) + shown.take((key, "tasks")))
    return shown.closed()
