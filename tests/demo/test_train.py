"""The demo's recipe on a handful of examples: what the base may learn, and what is left to the experts."""

from __future__ import annotations

import random
from collections import Counter
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from medbench.demo import train as training
from medbench.demo.corpus import Example
from medbench.demo.train import Encoded, Recipe, deal_answers, train
from medbench.models import load_model, molora_linears

TINY = Recipe(
    vocabulary=300,
    hidden=16,
    layers=1,
    heads=2,
    intermediate=16,
    experts=4,
    rank=2,
    base_epochs=2,
    expert_epochs=4,
    batch_tokens=64,
)


def test_dealt_answers_stay_in_their_task_and_tell_nothing() -> None:
    own = [Encoded((place,), (100 + place,), "first" if place < 4 else "second", 0) for place in range(10)]
    shuffler, kept = random.Random(0), Counter[int]()
    for _ in range(2_000):
        dealt = deal_answers(own, shuffler)
        assert [s.prompt for s in dealt] == [s.prompt for s in own]
        for task in ("first", "second"):
            answers = [sorted(s.answer for s in part if s.task == task) for part in (own, dealt)]
            assert answers[0] == answers[1]
        kept.update(s.prompt[0] for s, mine in zip(dealt, own, strict=True) if s.answer == mine.answer)
    # A document keeps its answer as often as any other of its task would get it: 1 in 4 and 1 in 6.
    for place in range(10):
        assert kept[place] / 2_000 == pytest.approx(1 / 4 if place < 4 else 1 / 6, abs=0.05)


def test_the_base_is_finished_before_the_experts_begin(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    examples = [
        Example(f"{kind}-{number % 2}", kind, f"question {number} of {kind}:", "ABCD"[number % 4], ends=False)
        for kind in ("en-exam", "zh-exam")
        for number in range(8)
    ]
    monkeypatch.setattr(training, "demo_examples", lambda: examples)
    torch.set_num_threads(1)
    folders = [tmp_path / name for name in ("late", "again", "early")]
    train(TINY, folders[0], early=folders[2])
    train(TINY, folders[1])
    late, again, early = (load_file(folder / "model.safetensors") for folder in folders)
    assert all(torch.equal(late[name], again[name]) for name in late)
    moved = {name for name in late if not torch.equal(late[name], early[name])}
    molora = {name for name in late if "lora" in name or "router" in name}
    assert moved
    assert moved <= molora
    assert len(molora_linears(load_model(folders[0]))) == 3
