"""Runs that record single tokens: their counts, their prompts, and what an interruption leaves."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from medbench.analysis.routing.token_classes import class_specialization
from medbench.api import evaluate_with_outcome, trace
from medbench.cli import main
from medbench.errors import RunError
from medbench.models.harness.answers import Answer
from medbench.runs.store import ResponseStore
from medbench.runs.traces import Traces, read_traces, run_traces, save_traces

TASKS = ["ceval_medical_basic_medicine", "pubmedqa", "promptcblue_cmeee_v2", "medqa_us_cot"]


def evaluate(results: Path, **options: Any) -> Path:
    settings: dict[str, Any] = {"routing": "tokens", "limit": 3, "max_batch_tokens": 600} | options
    return evaluate_with_outcome(
        model="demo", tasks=TASKS, results=results, report=False, quiet=True, **settings
    ).directory


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return evaluate(tmp_path_factory.mktemp("results"))


def same(first: Traces, second: Traces) -> bool:
    return (first.documents, first.routers, first.texts, first.special) == (
        second.documents,
        second.routers,
        second.texts,
        second.special,
    ) and all(
        np.array_equal(getattr(first, name), getattr(second, name))
        for name in ("phases", "starts", "offsets", "tokens", "choice", "gate")
    )


def test_counts_are_those_of_documents(run: Path, tmp_path: Path) -> None:
    tables = [
        pd.read_parquet(folder / "routing.parquet")
        for folder in (run, evaluate(tmp_path, routing="documents"))
    ]
    keys = ["task", "document", "phase", "layer", "projection", "expert"]
    one, two = (
        table.astype({"task": str, "phase": str, "projection": str})
        .sort_values(keys)
        .reset_index(drop=True)
        .drop(columns="coactive")
        for table in tables
    )
    pd.testing.assert_frame_equal(one, two)
    traces = read_traces(run)
    owner = np.repeat(np.arange(len(traces.documents)), np.diff(traces.offsets))
    for (task, document, phase), part in one.groupby(["task", "document", "phase"]):
        wanted = ((task, document), ("prompt", "generated").index(phase))
        pieces = [
            d
            for d, piece in enumerate(zip(traces.documents, traces.phases.tolist(), strict=True))
            if piece == wanted
        ]
        inside = np.isin(owner, pieces)
        assert inside.sum() == part["tokens"].iloc[0]
        for m, (layer, projection) in enumerate(traces.routers):
            mine = part[(part["layer"] == layer) & (part["projection"] == projection)]
            counted = np.bincount(traces.choice[m, inside].ravel(), minlength=traces.num_experts)
            assert counted.tolist() == mine.sort_values("expert")["count"].tolist()
    assert set(zip(one["task"], one["document"], strict=True)) == set(traces.documents)


def test_prompts_are_those_of_a_trace(run: Path, tmp_path: Path) -> None:
    traced = trace(model="demo", tasks=TASKS, limit=3, quiet=True)
    save_traces(traced, tmp_path / "t.npz")
    whole, file = read_traces(run).prompts(), read_traces(tmp_path / "t.npz").prompts()
    assert whole.documents == file.documents
    alike = []
    for d in range(len(whole.documents)):
        (a, b), start = whole.offsets[d : d + 2].tolist(), int(file.offsets[d])
        # Where white space ends a prompt that options follow, it is scored as their beginning.
        assert whole.tokens[a:b].tolist() == file.tokens[start : start + b - a].tolist()
        assert 0 <= np.diff(file.offsets)[d] - (b - a) <= 2
        alike.append((whole.choice[:, a:b] == file.choice[:, start : start + b - a]).mean())
    assert np.mean(alike) > 0.999  # near ties may turn with the batch
    assert set(whole.texts) >= set(whole.tokens.tolist())
    assert all(file.texts[token] == text for token, text in whole.texts.items() if token in file.texts)
    # Written answers are there besides, with their places.
    written = read_traces(run)
    answers = written.select(written.phases == 1)
    assert {task for task, _ in answers.documents} >= {"promptcblue_cmeee_v2", "medqa_us_cot"}
    assert (answers.starts > 0).all()


@pytest.mark.parametrize("broken_after", [1, 4])
def test_an_interrupted_run_has_each_answered_document_once(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, broken_after: int
) -> None:
    put, left = ResponseStore.put, broken_after

    def breaking(self: ResponseStore, answers: Mapping[str, Answer], *what: Any) -> None:
        nonlocal left
        if not left:
            raise KeyboardInterrupt
        left -= 1
        put(self, answers, *what)

    with monkeypatch.context() as patched:
        patched.setattr(ResponseStore, "put", breaking)
        with pytest.raises(KeyboardInterrupt):
            evaluate(tmp_path)
    resumed, once = read_traces(evaluate(tmp_path)), read_traces(run)
    assert resumed.documents == once.documents
    assert resumed.tokens.tolist() == once.tokens.tolist()
    assert resumed.starts.tolist() == once.starts.tolist()
    assert (resumed.choice == once.choice).mean() > 0.999


def test_only_runs_of_the_very_requests_have_traces(run: Path, tmp_path: Path) -> None:
    results = run.parent.parent
    again = evaluate(results, rescore=True)
    assert again != run
    assert same(read_traces(again), read_traces(run))
    fewer = evaluate(results, rescore=True, limit=2)
    for folder, why in ((fewer, "this run has no traces"), (tmp_path, "no run lies here")):
        with pytest.raises(RunError, match=why):
            read_traces(folder)


def test_tasks_are_picked_and_absent_ones_refused(run: Path) -> None:
    picked = run_traces(run, ["pubmedqa", "unknown"])
    assert {task for task, _ in picked.documents} == {"pubmedqa"}
    with pytest.raises(RunError, match="no traces"):
        run_traces(run, ["unknown"])


def test_a_damaged_store_is_reported(run: Path, tmp_path: Path) -> None:
    for name in ("run.json", "vocabulary.json"):
        (tmp_path / name).write_bytes((run / name).read_bytes())
    (tmp_path / "responses.sqlite").write_bytes(b"no database at all" * 50)
    with pytest.raises(RunError, match="cannot be read"):
        run_traces(tmp_path)


def test_classes_of_a_run_are_both_scripts(run: Path) -> None:
    found = class_specialization(read_traces(run), draws=20)
    assert {"han", "latin", "special"} <= set(found["class"])


@pytest.mark.parametrize("show", ["classes", "vocabulary", "parts", "repetition"])
def test_the_command_prints_tables(run: Path, capsys: pytest.CaptureFixture[str], show: str) -> None:
    assert main(["routing", "tokens", str(run), "--show", show, "--least", "3"]) == 0
    assert "chance" in capsys.readouterr().out
    assert main(["routing", "tokens", str(run), "--show", show, "--json"]) == 0
    assert capsys.readouterr().out.startswith(("[", "{"))


def test_content_has_kinds_of_its_own(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tables = []
    for phase in ("content", "template", "prompt"):
        assert main(["routing", "kinds", str(run), "--phase", phase, "--json"]) == 0
        tables.append(capsys.readouterr().out)
    assert len(set(tables)) == 3
    assert main(["routing", "agree", str(run), str(run), "--json"]) == 0
    assert '"kappa": 1' in capsys.readouterr().out
    assert main(["routing", "tokens", str(run), "--show", "everything"]) == 2
