"""The key-value store of packed forwards, and who attends beside whom."""

from __future__ import annotations

import mmap

import pytest
import torch

from medbench.models.engines.native.packing import DecodeBlock, KVCache, decode_spans


def test_a_store_grows_by_half_and_keeps_what_it_held() -> None:
    store = KVCache(0, 0)
    like = torch.ones(1, 2, 3, 4)
    store.reserve(4, 200, most_rows=64, most_capacity=2000)
    assert (store.rows, store.capacity) == (6, 384)  # 300, rounded up
    keys, values = store.layer(0, like, like)
    assert keys.shape == values.shape == (6, 2, 384, 4)
    assert not keys.any()
    keys[5, 1, 383] = 7
    store.reserve(7, 385, most_rows=64, most_capacity=2000)
    grown, _ = store.layer(0, like, like)
    assert grown.shape == (10, 2, 640, 4)
    assert (grown[5, 1, 383] == 7).all()
    assert grown.sum() == 28
    store.reserve(7, 640, most_rows=64, most_capacity=2000)
    assert store.layer(0, like, like)[0] is grown


def test_a_store_takes_no_more_than_may_be_needed() -> None:
    store = KVCache(0, 0)
    store.reserve(60, 1000, most_rows=64, most_capacity=1020)
    assert (store.rows, store.capacity) == (64, 1024)


def test_a_store_that_finds_no_memory_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> mmap.mmap:
        raise OSError(12, "Cannot allocate memory")

    monkeypatch.setattr(mmap, "mmap", refuse)
    with pytest.raises(MemoryError, match="3072 bytes for keys and values"):
        KVCache(2, 128).layer(0, torch.ones(1, 1, 1, 3), torch.ones(1, 1, 1, 3))


def test_rows_attend_with_their_neighbors_only_as_far_as_the_longest_reaches() -> None:
    lengths = [3, 5, 4, 9, 20, 1]
    spans = decode_spans(lengths, torch.device("cpu"))
    assert spans == [(0, 4, 10), (4, 6, 21)]
    assert decode_spans(lengths, torch.device("cuda")) == [(0, 6, 21)]
    block = DecodeBlock.of(KVCache(6, 32), torch.tensor(lengths), spans, dtype=torch.float32)
    assert block.mask.shape == (6, 1, 1, 21)
    seen = (block.mask[:, 0, 0] == 0).sum(1)
    assert seen.tolist() == [length + 1 for length in lengths]
