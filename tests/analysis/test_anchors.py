"""Published values: complete in their provenance, and never beside a score without what differs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from medbench.analysis.anchors import anchors_beside, as_published, of_tasks, read_anchors
from medbench.catalog import build_index
from medbench.errors import AnalysisError

ENTRY = """
- source: "a paper"
  protocol: letters
  num_fewshot: 0
  split: test
  metric: acc
  chat_template: false
  documents: {medqa_us: 1273}
  scores:
    "Model-7B": {medqa_us: 45.5, medmcqa: 40}
"""


def _register(tmp_path: Path, text: str = ENTRY) -> Path:
    path = tmp_path / "anchors.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def _score(**changes: Any) -> dict[str, Any]:
    return {
        "model": "mine", "run": "r", "task": "medqa_us", "kind": "task", "main": True, "value": 0.5,
        "n": 1273, "num_fewshot": 0, "protocol": "letters", "data_source": "folder", **changes
    }  # fmt: skip


def test_every_shipped_value_speaks_of_a_task_and_says_where_it_comes_from() -> None:
    index = build_index()
    anchors = read_anchors()
    assert len(anchors) > 300
    for anchor in anchors:
        assert anchor.task in index.tasks or anchor.task in index.groups, anchor.task
        assert 0 <= anchor.value <= 1
        assert "@" in anchor.source or "dataset" in anchor.source
        assert "2404.09027" not in anchor.source
        assert anchor.protocol
        assert anchor.split
    assert len({(one.model, one.task, one.source) for one in anchors}) == len(anchors)


def test_known_values_stand_as_printed() -> None:
    values = {(one.model, one.task, one.source[:18]): one for one in read_anchors()}
    ours = values["Qwen1.5-7B", "medcare_ceval", "BlueZeros/MedCare@"]
    assert ours.value == pytest.approx(0.6829)
    assert (ours.n, ours.inferred) == (41, True)
    board = values["Qwen1.5-7B-Chat", "medmcqa", "Hugging Face datas"]
    assert board.value == pytest.approx(0.45279)
    assert (board.n, board.chat_template) == (4183, False)
    blue = values["LoRA", "promptcblue_cmeee_v2", "michael-wzhu/Promp"]
    assert blue.value == pytest.approx(0.6725)


@pytest.mark.parametrize(
    ("changes", "template", "says"),
    [
        ({}, False, []),
        ({}, None, []),
        ({"n": 30}, False, ["30 of 1273 documents"]),
        ({"num_fewshot": 5}, False, ["5 examples, there 0"]),
        ({"num_fewshot": None}, False, ["None examples, there 0"]),
        ({"protocol": "cot"}, False, ["protocol cot, there letters"]),
        ({"protocol": None}, False, ["protocol None, there letters"]),
        ({"data_source": "samples", "n": 12}, False, ["12 of 1273 documents", "bundled samples"]),
        ({}, True, ["chat template"]),
        ({"task": "medmcqa", "n": 4183}, False, ["4183 documents, there not stated"]),
    ],
)
def test_what_differs_is_said(
    tmp_path: Path, changes: dict[str, Any], template: bool | None, says: list[str]
) -> None:
    frame = anchors_beside(
        pd.DataFrame([_score(**changes)]), read_anchors(_register(tmp_path)), {("mine", "r"): template}
    )
    assert frame["differs"].tolist() == ["; ".join(says)]


@pytest.mark.parametrize("ids", [("r", "r"), ("r", "s"), ("results_1", "results_1")])
@pytest.mark.parametrize("first", [True, False])
def test_two_models_with_runs_of_one_id_keep_their_own_conditions(
    tmp_path: Path, ids: tuple[str, str], first: bool
) -> None:
    models = ["mine", "yours"]
    scores = pd.DataFrame([_score(model=m, run=r) for m, r in zip(models, ids, strict=True)])
    templates = {(models[0], ids[0]): first, (models[1], ids[1]): not first}
    frame = anchors_beside(scores, read_anchors(_register(tmp_path)), templates)
    told = dict(zip(frame["model"], frame["differs"], strict=True))
    assert told == {"mine": "chat template" if first else "", "yours": "" if first else "chat template"}


def test_only_main_scores_with_a_value_stand_beside(tmp_path: Path) -> None:
    scores = pd.DataFrame([_score(main=False), _score(value=None), _score(task="other")])
    assert anchors_beside(scores, read_anchors(_register(tmp_path))).empty


def test_rows_of_a_leaderboard_say_their_conditions(tmp_path: Path) -> None:
    (row,) = as_published(read_anchors(_register(tmp_path)))
    assert row.scores == {"medqa_us": 0.455, "medmcqa": 0.4}
    assert row.source == "a paper (0-shot, letters, split: test)"


def test_an_unknown_task_is_an_error(tmp_path: Path) -> None:
    anchors = read_anchors(_register(tmp_path))
    assert len(of_tasks(anchors, ["medqa_us"])) == 1
    with pytest.raises(AnalysisError, match="medqa_us"):
        of_tasks(anchors, ["medqa_uk"])


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (ENTRY.replace("  split: test\n", ""), "'split' is missing"),
        (ENTRY.replace("split:", "spilt:"), r"unknown key 'spilt'[\s\S]*'split'"),
        (ENTRY + "  more: 1\n", "unknown key 'more'"),
        (ENTRY.replace("45.5", "455"), "is 455, expected a score in percent"),
        (ENTRY.replace("45.5", "yes"), "is True, expected a score in percent"),
        ("a: 1", "a list of entries"),
        ("- a", "found 'a', expected keys with values"),
        ("[", "cannot be parsed"),
        (ENTRY + "  note: a\n  note: b\n", "'note' is written twice"),
    ],
)
def test_a_faulty_register_is_refused(tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(AnalysisError, match=says):
        read_anchors(_register(tmp_path, text))
