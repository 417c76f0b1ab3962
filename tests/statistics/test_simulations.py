"""Do 95 % intervals cover the truth in 95 % of samples, and do tests stay at their level?

The fast tests repeat a few hundred trials within wide bounds, the slow ones 2,000 within 93 to 97 %.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from medbench.statistics import interval, paired

Floats = NDArray[np.float64]
Trial = Callable[[np.random.Generator], tuple[float, float, float]]

_CLUSTERS = np.repeat(np.arange(60), 5)


def _binary(rng: np.random.Generator) -> tuple[float, float, float]:
    found = interval(rng.random(150) < 0.7)
    return 0.7, found.low, found.high


def _mean(rng: np.random.Generator) -> tuple[float, float, float]:
    found = interval(rng.beta(2, 3, 60))
    return 0.4, found.low, found.high


def _clustered_binary(rng: np.random.Generator) -> tuple[float, float, float]:
    p = rng.beta(3, 2, 60)[_CLUSTERS]
    found = interval(rng.random(300) < p, clusters=_CLUSTERS)
    return 0.6, found.low, found.high


def _clustered_mean(rng: np.random.Generator) -> tuple[float, float, float]:
    values = 0.5 + rng.normal(scale=0.1, size=60)[_CLUSTERS] + rng.normal(scale=0.1, size=300)
    found = interval(values, clusters=_CLUSTERS)
    return 0.5, found.low, found.high


def _micro_f1(rng: np.random.Generator) -> tuple[float, float, float]:
    # Means 3, 1, 1.5 in every document, dependent through its length.
    length = rng.gamma(2, 0.5, 120)[:, None]
    found = interval(
        rng.poisson(length * [3, 1, 1.5]), "micro_f1", draws=1_000, seed=int(rng.integers(2**31))
    )
    return 6 / 8.5, found.low, found.high


_CLASSES = np.array(list("abc"), dtype=object)


def _labels(rng: np.random.Generator, n: int, right: float) -> NDArray[np.object_]:
    gold = rng.choice(3, n, p=[0.5, 0.3, 0.2])
    predicted = np.where(rng.random(n) < right, gold, (gold + 1) % 3)
    labels: NDArray[np.object_] = _CLASSES[np.column_stack([gold, predicted])]
    return labels


def _macro_f1(rng: np.random.Generator) -> tuple[float, float, float]:
    gold = np.array([0.5, 0.3, 0.2])
    predicted = 0.7 * gold + 0.3 * gold[[2, 0, 1]]
    truth = float(np.mean(2 * 0.7 * gold / (gold + predicted)))
    found = interval(_labels(rng, 200, 0.7), "macro_f1", draws=1_000, seed=int(rng.integers(2**31)))
    return truth, found.low, found.high


def _rouge(rng: np.random.Generator) -> tuple[float, float, float]:
    found = interval(rng.beta(2, 5, 100), method="bootstrap", draws=1_000, seed=int(rng.integers(2**31)))
    return 2 / 7, found.low, found.high


def _paired_binary(rng: np.random.Generator) -> tuple[float, float, float]:
    first, second = _two_systems(rng, 0.7, 0.6)
    found = paired(first, second)
    return 0.1, found.low, found.high


def _two_systems(rng: np.random.Generator, one: float, two: float) -> tuple[Floats, Floats]:
    """Right answers of two systems that find the same documents hard."""
    ease = rng.random(200)
    first, second = (ease + rng.random(200) > _bar(right) for right in (one, two))
    return first.astype(float), second.astype(float)


def _bar(right: float) -> float:
    """What the sum of two uniform numbers exceeds with probability ``right``, at least one half."""
    return float(np.sqrt(2 * (1 - right)))


_TRIALS = [
    _binary,
    _mean,
    _clustered_binary,
    _clustered_mean,
    _micro_f1,
    _macro_f1,
    _rouge,
    _paired_binary,
]


def _coverage(trial: Trial, trials: int) -> float:
    rng = np.random.default_rng(20_260_101)
    limits = np.array([trial(rng) for _ in range(trials)])
    return float(((limits[:, 1] <= limits[:, 0]) & (limits[:, 0] <= limits[:, 2])).mean())


@pytest.mark.parametrize("trial", [_binary, _mean, _clustered_binary, _macro_f1, _paired_binary])
def test_intervals_cover_roughly(trial: Trial) -> None:
    assert 0.9 <= _coverage(trial, 250) <= 0.99


@pytest.mark.slow
@pytest.mark.parametrize("trial", _TRIALS)
def test_intervals_cover(trial: Trial) -> None:
    covered = _coverage(trial, 2_000)
    assert 0.93 <= covered <= 0.97, covered


def _no_difference(kind: str, rng: np.random.Generator) -> float:
    seed = int(rng.integers(2**31))
    if kind == "binary":
        return paired(*_two_systems(rng, 0.6, 0.6)).p_value
    if kind == "mean":
        ease = rng.random(80)
        return paired(ease + rng.random(80), ease + rng.random(80), draws=500, seed=seed).p_value
    if kind == "clustered":
        ease = rng.random(40)[np.repeat(np.arange(40), 4)]
        one, two = (
            ease
            + rng.normal(scale=0.2, size=40)[np.repeat(np.arange(40), 4)]
            + rng.normal(scale=0.2, size=160)
            for _ in range(2)
        )
        clusters = np.repeat(np.arange(40), 4)
        return paired(one, two, clusters=clusters, draws=500, seed=seed).p_value
    if kind == "macro_f1":
        labels = _labels(rng, 150, 0.7)
        changed = labels.copy()
        again = rng.random(150) < 0.5
        fresh = _CLASSES[rng.integers(0, 3, 150)]
        other = _CLASSES[rng.integers(0, 3, 150)]
        changed[again, 1], labels[again, 1] = fresh[again], other[again]
        return paired(labels, changed, "macro_f1", draws=500, seed=seed).p_value
    length = rng.gamma(2, 0.5, 100)[:, None]
    counts = [rng.poisson(length * [3, 1, 1.5]) for _ in range(2)]
    return paired(counts[0], counts[1], "micro_f1", draws=500, seed=seed).p_value


@pytest.mark.parametrize("kind", ["binary", "micro_f1"])
def test_comparisons_rarely_find_nothing(kind: str) -> None:
    rng = np.random.default_rng(7)
    assert np.mean([_no_difference(kind, rng) <= 0.05 for _ in range(150)]) <= 0.1


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["binary", "mean", "clustered", "micro_f1", "macro_f1"])
def test_false_positives_stay_below_six_percent(kind: str) -> None:
    rng = np.random.default_rng(7)
    found = float(np.mean([_no_difference(kind, rng) <= 0.05 for _ in range(2_000)]))
    assert found <= 0.06, found
