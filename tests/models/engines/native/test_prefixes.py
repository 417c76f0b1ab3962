"""Which prefixes are shared, and how long their keys and values are kept."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from medbench.models.engines.native.packing import Pack
from medbench.models.engines.native.prefixes import Prefix, PrefixCache, find_prefixes, share_prefixes
from medbench.models.routing.counts import CreditSpan
from medbench.models.routing.recorder import Recorder
from tests.models.made_engines import tiny_model


def test_the_prefix_that_saves_most_is_shared() -> None:
    system, exam_a, exam_b = list(range(20)), list(range(100, 160)), list(range(200, 260))
    sequences = [system + exam_a + [i] for i in range(5)] + [system + exam_b + [i, i] for i in range(4)]
    found = {prefix.members: prefix.length for prefix in find_prefixes(sequences)}
    assert found == {(0, 1, 2, 3, 4): 80, (5, 6, 7, 8): 80}
    loose = [system * 3 + [300 + i] for i in range(6)]
    assert find_prefixes(loose) == [(60, tuple(range(6)))]
    assert find_prefixes([[1], [1], [1, 2]]) == []
    assert find_prefixes([list(range(200))] * 3) == [(199, (0, 1, 2))]
    assert find_prefixes([]) == []


@settings(max_examples=100, deadline=None, derandomize=True)
@given(
    st.lists(
        st.builds(lambda a, b, c: [1] * a + [2] * b + [3] * c, *[st.integers(0, 60)] * 3).filter(bool),
        max_size=8,
    )
)
def test_shared_prefixes_are_prefixes(sequences: list[list[int]]) -> None:
    seen: set[int] = set()
    for length, members in find_prefixes(sequences):
        assert len(members) >= 2
        assert not seen & set(members)
        seen |= set(members)
        start = sequences[members[0]][:length]
        assert all(sequences[member][:length] == start for member in members)
        assert all(len(sequences[member]) > length for member in members)


def test_sequences_with_one_prefix_hold_the_same() -> None:
    sequences = [(*range(40), 50 + i) for i in range(3)] + [(7, 8, 9)]
    first, second, third, lone = share_prefixes(sequences)
    assert first is second is third
    assert lone is None
    assert first is not None
    assert (first.tokens, first.waiting, first.store) == (tuple(range(40)), 3, None)
    assert share_prefixes([]) == []


class _Forwards:
    """Notes the tokens of each forward; may fail."""

    def __init__(self) -> None:
        self.sizes: list[int] = []
        self.fails = False

    def __call__(
        self, ids: Sequence[int], positions: Sequence[int], pack: Pack, spans: Sequence[CreditSpan]
    ) -> Tensor:
        assert [segment.stop - segment.start for segment in pack.segments] == [
            s.stop - s.start for s in spans
        ]
        assert len(ids) == len(positions) == pack.segments[-1].stop
        if self.fails:
            raise MemoryError
        self.sizes.append(len(ids))
        return torch.zeros(len(ids), 1)


@pytest.mark.parametrize(
    ("lengths", "budget", "forwards"),
    [
        ([], 10, []),
        ([5], 10, [5]),
        ([5], 1, [5]),
        ([5, 5], 10, [10]),
        ([5, 6], 10, [5, 6]),
        ([20, 3, 4], 10, [20, 7]),
        ([3, 20, 4], 10, [3, 20, 4]),
        ([1] * 12, 5, [5, 5, 2]),
        ([4, 4, 4], 8, [8, 4]),
        ([4, 4, 4], 100, [12]),
        ([9, 2, 9, 2], 11, [11, 11]),
    ],
)
def test_prefixes_are_computed_once_within_the_budget(
    lengths: list[int], budget: int, forwards: list[int]
) -> None:
    run = _Forwards()
    cache = PrefixCache(run, Recorder(tiny_model()), torch.device("cpu"))
    prefixes = [Prefix(tuple(range(length)), 2, room=3) for length in lengths]
    run.fails = True
    if prefixes:
        with pytest.raises(MemoryError):
            cache.fill(prefixes, 0, budget)
    assert all(prefix.store is None for prefix in prefixes)  # to be computed again
    run.fails = False
    cache.fill([None, *prefixes, *prefixes], 0, budget)
    cache.fill(prefixes, 0, budget)
    assert run.sizes == forwards
    for prefix in prefixes:
        assert prefix.store is not None
        assert (prefix.store.rows, prefix.store.capacity) == (1, prefix.length + 3)
    cache.release([None, *prefixes])
    assert all(prefix.store is not None for prefix in prefixes)
    cache.release(prefixes)
    assert all(prefix.store is None for prefix in prefixes)
