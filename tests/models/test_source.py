"""A model's source opens what the functions behind it open, here and after a journey."""

from __future__ import annotations

import pickle
from pathlib import Path

import torch

import medbench.demo
from medbench.models import fingerprint, load_model, load_tokenizer
from medbench.models.source import ModelSource
from tests.models.made_checkpoints import Source


def test_it_opens_what_it_names(adapter: Source) -> None:
    path, base = adapter
    asked = ModelSource(str(path), str(base), dtype="float64", deterministic=False)
    source: ModelSource = pickle.loads(pickle.dumps(asked))
    assert source == asked
    ids = torch.tensor([[1, 2, 3]])
    with torch.no_grad():
        found, expected = source.model()(ids).logits, load_model(path, base, dtype="float64")(ids).logits
    assert torch.equal(found, expected)
    assert source.fingerprint() == fingerprint(path, base)


def test_its_tokenizer_is_the_checkpoints() -> None:
    path = Path(medbench.demo.__file__).parent / "checkpoint"
    text = "阿司匹林 aspirin"
    assert ModelSource(str(path)).tokenizer()(text) == load_tokenizer(path)(text)
