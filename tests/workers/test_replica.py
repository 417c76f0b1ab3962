from __future__ import annotations

import os
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch

import medbench.demo
from medbench.models.source import ModelSource
from medbench.workers.batches import Batch, cut_batches
from medbench.workers.replica import Failure, Replica, ReplicaSpec
from tests.workers.requests import choices, keys

CHECKPOINT = Path(medbench.demo.__file__).parent / "checkpoint"


def spec(path: Path, **changes: object) -> ReplicaSpec:
    asked = ReplicaSpec(ModelSource(str(path)), "planned", 1024, "tasks")
    return replace(asked, **changes)  # type: ignore[arg-type] # checked by the fields' use


def batch() -> Batch:
    requests = {"loglikelihood": choices("task", 3, length=40)}
    return cut_batches(requests, keys(requests), 1)[0]


def test_a_worker_sets_its_threads_and_answers_with_router_counts() -> None:
    before = torch.get_num_threads()
    try:
        replica = Replica(spec(CHECKPOINT, threads=1))
        assert replica.answer(batch()) is None, "not loaded yet"
        loaded = replica.load()
        assert loaded.failure is None
        assert loaded.info["molora_linears"] > 0
        assert torch.get_num_threads() == 1
    finally:
        torch.set_num_threads(before)
    result = replica.answer(batch())
    assert result is not None
    assert set(result.answers) == set(batch().keys)
    assert result.routing is not None
    assert [task for (task, _), _ in result.routing.labels] == ["task"]
    again = replica.answer(batch())
    assert again is not None
    assert again.answers == result.answers
    assert again.routing is not None
    assert again.routing.count.tolist() == result.routing.count.tolist(), "each batch counts its own"


def test_a_checkpoint_that_is_missing_is_reported_not_raised(tmp_path: Path) -> None:
    loaded = Replica(spec(tmp_path / "nowhere")).load()
    assert loaded.failure is not None
    assert "nowhere" in str(loaded.failure.error())


def test_another_checkpoint_on_another_machine_is_refused() -> None:
    loaded = Replica(spec(CHECKPOINT, home="elsewhere")).load()
    assert loaded.failure is not None
    assert "not the one that the run was planned with" in loaded.failure.what


def test_a_checkpoint_that_changes_under_way_gives_no_more_answers(tmp_path: Path) -> None:
    folder = shutil.copytree(CHECKPOINT, tmp_path / "checkpoint")
    replica = Replica(spec(folder))
    assert replica.load().failure is None
    os.utime(folder / "model.safetensors", (1, 1))
    result = replica.answer(batch())
    assert result is not None
    assert not result.answers
    assert isinstance(result.failure, Failure)
    assert "changed while it was in use" in result.failure.what


@pytest.mark.parametrize("error", [ValueError("odd"), KeyError("letters")])
def test_errors_keep_their_kind_on_the_way(error: Exception) -> None:
    assert Failure.of(error).error().what == f"{type(error).__name__}: {error}"


def test_other_versions_are_refused() -> None:
    other = Replica(
        spec(CHECKPOINT, versions={"medbench": "9.9", "torch": "1.0", "transformers": "1.0"})
    ).load()
    assert other.failure is not None
    assert "the driver's medbench 9.9" in str(other.failure.error())


def test_what_else_lies_in_the_folder_may_change(tmp_path: Path) -> None:
    folder = Path(shutil.copytree(CHECKPOINT, tmp_path / "checkpoint"))
    (folder / "dangling").symlink_to(folder / "nothing")
    replica = Replica(spec(folder))
    assert replica.load().failure is None
    (folder / "training.log").write_text("epoch 1", encoding="utf-8")
    result = replica.answer(batch())
    assert result is not None
    assert result.failure is None
