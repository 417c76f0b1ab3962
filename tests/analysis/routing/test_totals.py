"""Documents added up while a file is read are the documents added up."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from medbench.analysis import load_runs
from medbench.analysis.routing import totals as routing_totals
from medbench.analysis.routing.cells import cells
from medbench.analysis.routing.summary import router_summary
from medbench.analysis.routing.verdicts import routing_by_verdict
from medbench.errors import AnalysisError
from medbench.reports import section
from medbench.reports.sections import routing_worth
from tests.analysis.factory import FakeTask, write_routing, write_run

NAMES = ["a", "b", "c"]


def _run(folder: Path, documents: int = 7, layers: int = 3) -> Path:
    routing = write_routing(NAMES, documents=documents, tokens=140, layers=layers)
    return write_run(folder, "m", [FakeTask(name, skill=0.5) for name in NAMES], routing=routing)


@pytest.mark.parametrize("batch", [7, 64, 10_000])
@pytest.mark.parametrize("documents", [0, 1, 7])
@pytest.mark.parametrize("tasks", [None, ["b"], ["a", "c"]])
def test_totals_are_the_sums_of_documents(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, batch: int, documents: int, tasks: list[str] | None
) -> None:
    monkeypatch.setattr(routing_totals, "_BATCH", batch)
    run = next(iter(load_runs(_run(tmp_path, documents, layers=1 if batch < 64 else 3))))
    by = ["model", "run", "task", "phase", "layer", "projection"]
    texts = dict.fromkeys(by, str)
    sums = [cells(run.routing(tasks=tasks, most=most)) for most in (None, 0)]
    assert set(sums[1].keys["document"]) == {-1}
    expected, found = (replace(part, keys=part.keys.astype(texts)).merge(by) for part in sums)
    pd.testing.assert_frame_equal(found.keys, expected.keys)
    assert len(found.keys) == len(sums[1].keys)
    for name in ("experts", "tokens", "entropy", "near_ties", "count", "mass", "top1", "prob", "coactive"):
        np.testing.assert_allclose(getattr(found, name), getattr(expected, name))


def test_totals_beside_their_documents_count_once(tmp_path: Path) -> None:
    path = _run(tmp_path)
    run = next(iter(load_runs(path)))
    single, totals = run.routing(), run.routing(most=0)
    columns = [name for name in single if name not in ("model", "run")]
    texts = {"task": str, "phase": str, "projection": str}
    both = pd.concat([single[columns].astype(texts), totals[columns].astype(texts)])
    both.to_parquet(path / "routing.parquet", index=False)
    np.testing.assert_allclose(cells(run.routing(most=0)).count, cells(totals).count)


@pytest.mark.parametrize("most", [0, 10, 10_000_000])
def test_only_long_tables_are_added_up(tmp_path: Path, most: int) -> None:
    runs = load_runs(_run(tmp_path))
    frame = runs.routing(most=most)
    assert (len(frame) <= most) == (most > 10)
    assert set(frame["document"]) == ({-1} if most <= 10 else set(range(7)))
    summary = [router_summary(table, ["task"], draws=5)["value"] for table in (frame, runs.routing())]
    np.testing.assert_allclose(summary[0], summary[1])


@pytest.mark.parametrize("damage", ["column", "lists", "count", "no file"])
def test_damage_is_found_in_totals_too(tmp_path: Path, damage: str) -> None:
    path = _run(tmp_path)
    file = path / "routing.parquet"
    frame = pd.read_parquet(file)
    if damage == "column":
        frame = frame.drop(columns="mass")
    elif damage == "lists":
        pairs = [row[: 3 + (i > 5)] for i, row in enumerate(frame["coactive"].tolist())]
        frame["coactive"] = pd.Series(pairs, dtype=object)
    elif damage == "count":
        frame["count"] += frame.index == 3
    frame.to_parquet(file, index=False)
    if damage == "no file":
        file.write_bytes(b"PAR1")
    with pytest.raises(AnalysisError) as refused:
        cells(load_runs(path).routing(most=0))
    assert path.name in str(refused.value)


def test_a_page_of_a_long_table_has_the_same_rates_without_intervals(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = load_runs(_run(tmp_path))
    sections = [routing_worth.specialized(runs, ["m"])]
    monkeypatch.setattr(section, "MOST_ROWS", 10)
    sections.append(routing_worth.specialized(runs, ["m"]))
    whole, cut = (section.pictures[0] for section in sections if section is not None)
    assert whole.reading == cut.reading
    assert "[" in whole.svg
    assert "[" not in cut.svg
    with pytest.raises(AnalysisError, match="single documents"):
        routing_by_verdict(runs, most=10)
    assert isinstance(next(iter(runs)).tables.routing(None, 10), pa.Table)
