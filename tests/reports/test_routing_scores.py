"""Routing beside the scores: the picture, the command, and known answers."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from medbench.analysis import load_runs
from medbench.cli import main
from medbench.reports.sections.routing_scores import routing_scores
from tests.analysis.factory import ROUTING, FakeTask, router_rows, write_routing, write_run

NAMES = ["a", "b", "c", "d"]


def _runs(folder: Path, *, documents: int = 40) -> list[Path]:
    """Two checkpoints; in the later one right documents of the first task use experts of their own."""
    tasks = [FakeTask(name, n=40, skill=0.5) for name in NAMES]
    early = write_run(folder, "early", tasks, seed=1, routing=write_routing(NAMES, lean=0.0))
    table = write_routing(NAMES, documents=documents, tokens=2_000, lean=0.0, layers=1)
    late = write_run(folder, "late", tasks, seed=2, routing=table)
    if documents:
        samples = pd.read_parquet(late / "samples.parquet")
        right = set(samples.loc[(samples["task"] == "a") & (samples["score"] == 1), "doc_id"])
        frame = table.to_pandas()
        own = (frame["task"] == "a") & frame["document"].isin(right)
        # All tokens choose expert 0, none expert 1.
        logits = np.random.default_rng(3).normal([9, -9, 0, 0], size=(2_000 // documents, 4))
        groups = frame[own & (frame["expert"] == 0)].to_dict("records")
        rows = [
            row
            for key in groups
            for row in router_rows(
                key["task"], key["document"], key["phase"], key["layer"], key["projection"], logits
            )
        ]
        planted = pd.concat([frame[~own], pd.DataFrame(rows)], ignore_index=True)
        pq.write_table(pa.Table.from_pandas(planted, schema=ROUTING), late / "routing.parquet")
    return [early, late]


def test_what_was_planted_is_framed_and_nothing_else(tmp_path: Path) -> None:
    section = routing_scores(load_runs(_runs(tmp_path)), ["early", "late"])
    assert section is not None
    verdicts, gains = section.pictures
    assert verdicts.name == "verdicts-late"
    assert verdicts.svg.count('class="framed"') == 1
    assert "1 of 4" in verdicts.reading
    assert "Clearest: a," in verdicts.reading
    assert "4 个任务中有 1 个" in verdicts.reading_zh
    assert gains.svg.count("<circle") == 6  # pairs of four tasks
    assert re.search(r"chance 0; p [=<]", gains.reading)


def test_without_documents_or_tasks_there_is_nothing_to_draw(tmp_path: Path) -> None:
    early, late = _runs(tmp_path, documents=0)
    section = routing_scores(load_runs([early, late]), ["early", "late"])
    assert section is not None
    assert [picture.name for picture in section.pictures] == ["gains-late-early"]
    assert routing_scores(load_runs(late), ["late"]) is None


def test_the_command_prints_verdicts_and_gains(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    early, late = map(str, _runs(tmp_path))
    assert main(["routing", "scores", late, early]) == 0
    said = capsys.readouterr().out
    for title in ("right and wrong answers", "Shared experts and shared gains", "Mantel"):
        assert title in said
    assert main(["routing", "scores", late, early, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    best = min(found["verdicts"], key=lambda row: row["p_adjusted"])
    assert best["task"] == "a"
    assert best["p_adjusted"] < 0.05
    assert best["divergence"] > best["chance"]
    clear = [row for row in found["loads"] if row["p_adjusted"] < 0.05]
    assert {(row["task"], row["expert"]) for row in clear} >= {("a", 0), ("a", 1)}
    assert found["gains"]["tasks"] == 4
    assert len(found["gains"]["pairs"]) == 6
    # The early run kept no documents: only the gains remain, with a note.
    assert main(["routing", "scores", early, late, "--json"]) == 0
    printed = capsys.readouterr()
    assert json.loads(printed.out)["verdicts"] is None
    assert "--routing documents" in printed.err
    assert main(["routing", "scores", early]) == 2
    assert main(["routing", "scores", str(tmp_path), early]) == 2
