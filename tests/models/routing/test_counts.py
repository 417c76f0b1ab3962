"""Router counts that cannot be sums over tokens are neither read nor handed on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from medbench.errors import ModelError
from medbench.models import Engine
from medbench.models.routing.counts import RoutingCounts
from medbench.runs.routing import total_routing
from tests.models.made_engines import tiny_model

AT = (1, 1, 2)  # group, layer, projection


def _counts(seed: int = 0) -> RoutingCounts:
    rng = np.random.default_rng(seed)
    engine = Engine(tiny_model(), routing="documents")
    prompts = [rng.integers(0, 60, 6).tolist() for _ in range(2)]
    engine.generate(prompts, 3, labels=[("a", 0), ("b", 1)])
    return engine.routing()


@pytest.fixture(scope="module")
def counts() -> RoutingCounts:
    return _counts()


def _add(name: str, at: Any, amount: Any) -> Callable[[RoutingCounts], RoutingCounts]:
    def change(counts: RoutingCounts) -> RoutingCounts:
        values = getattr(counts, name).copy()
        values[at] += amount
        return replace(counts, **{name: values})

    return change


DAMAGES: dict[str, Callable[[RoutingCounts], RoutingCounts]] = {
    "count": _add("count", (*AT, 0), 1),
    "count below none": _add("count", (*AT, 0), -1000),
    "tokens": _add("tokens", 1, 1),
    "first choices": _add("top1", (*AT, 0), 1),
    "gate weights": _add("mass", (*AT, 0), 1.0),
    "gate weights moved": _add("mass", AT, [-1.0, 1.0, 0.0, 0.0]),
    "probabilities": _add("prob", (*AT, 0), 1.0),
    "no probability": _add("prob", (*AT, 0), np.nan),
    "entropy": _add("entropy", AT, 1000.0),
    "endless entropy": _add("entropy", AT, np.inf),
    "near ties": _add("near_ties", AT, 1000),
    "pairs": _add("coactive", (*AT, 0, 1), 1),
    "pairs both ways": lambda counts: _add("coactive", (*AT, 1, 0), 1)(
        _add("coactive", (*AT, 0, 1), 1)(counts)
    ),
    "another k": lambda counts: replace(counts, top_k=1),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_counts_are_refused_with_their_place(counts: RoutingCounts, damage: str) -> None:
    assert counts.checked() is counts
    broken = DAMAGES[damage](counts)
    with pytest.raises(ModelError, match="do not add up") as refused:
        broken.checked()
    (task, document), phase = counts.labels[1]
    assert refused.value.where is not None
    if damage != "another k":
        assert refused.value.where.startswith(f"{task}, document {document}, {phase}, layer ")
    if damage not in ("tokens", "another k"):
        assert refused.value.where.endswith(f"layer 1, {counts.projections[2]}")
    with pytest.raises(ModelError, match="do not add up"):
        RoutingCounts.from_bytes(broken.to_bytes())
    with pytest.raises(ModelError, match="do not add up"):
        total_routing([broken, broken])


@pytest.mark.parametrize("batches", [0, 1, 2, 3, 5, 8])
def test_totals_are_the_sums_of_batches(batches: int) -> None:
    parts = [_counts(seed) for seed in range(batches)]
    total = total_routing(parts)
    if total is None:
        assert not batches
        return
    for name in ("tokens", "count", "mass", "top1", "prob", "entropy", "near_ties", "coactive"):
        for s, label in enumerate(total.labels):
            found = sum(getattr(part, name)[part.labels.index(label)] for part in parts)
            np.testing.assert_allclose(getattr(total, name)[s], found)


def test_no_counts_are_right() -> None:
    assert not RoutingCounts().checked()
    assert total_routing([]) is None
