"""Finding runs and reading their tables."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from medbench.analysis import Runs, load_runs
from medbench.analysis.runs import single_run
from medbench.errors import AnalysisError
from medbench.statistics import interval
from tests.analysis.factory import FakeTask, write_run


def test_frames_are_tidy_and_typed(runs: Runs) -> None:
    scores, samples, routing, manifest = runs.scores(), runs.samples(), runs.routing(), runs.manifest()
    for frame in (scores, samples, routing, manifest):
        assert list(frame.columns[:2]) == ["model", "run"]
    assert len(scores) == 3 * 5
    assert len(samples) == 3 * (90 + 60 + 50 + 45)
    assert set(routing["model"]) == {"middling", "strong"}
    assert samples["truncated"].dtype == "boolean"
    assert samples["metric.acc"].dtype == "float64"
    assert isinstance(samples["task"].dtype, pd.CategoricalDtype)
    assert manifest["started"].dt.tz is not None
    assert runs.problems == ()
    assert runs.models == ["middling", "strong", "weak"]


def test_columns_are_lazy(runs: Runs) -> None:
    assert "prompt" not in runs.samples()
    everything = runs.samples("all")
    assert {"prompt", "response", "choice_logprobs"} <= set(everything.columns)
    some = runs.samples(["document", "prompt"], tasks=["cmexam"])
    assert list(some.columns) == ["model", "run", "document", "prompt"]
    assert len(some) == 3 * 90
    with pytest.raises(AnalysisError, match=r"metric\.nothing"):
        runs.samples(["metric.nothing"])


def test_a_run_directory_a_glob_and_several_paths_load_the_same(folder: Path) -> None:
    strong = next((folder / "strong").iterdir())
    assert load_runs(strong).models == ["strong"]
    assert load_runs(strong / "run.json").models == ["strong"]
    assert load_runs(str(folder / "s*")).models == ["strong"]
    both = load_runs([folder / "weak", folder / "weak", folder / "strong"])
    assert both.models == ["strong", "weak"]
    assert len(both) == 2
    assert both.problems == ()


def test_select(runs: Runs) -> None:
    assert runs.select(model="weak").models == ["weak"]
    with pytest.raises(AnalysisError, match="strong"):
        runs.select(model="nobody")


def test_nothing_is_skipped_silently(folder: Path, tmp_path: Path) -> None:
    results = tmp_path / "results"
    shutil.copytree(folder, results)
    run = next((results / "weak").iterdir())
    shutil.copytree(run, results / "copy" / run.name)
    for name, content in {
        "broken": "{",
        "list": "[]",
        "unfinished": '{"model": "x", "status": "running"}',
    }.items():
        (results / name).mkdir()
        (results / name / "run.json").write_text(content)
    damaged = results / "damaged"
    shutil.copytree(run, damaged)
    (damaged / "scores.parquet").write_bytes(b"no parquet")
    columns = results / "columns"
    shutil.copytree(run, columns)
    pd.DataFrame({"task": ["x"]}).to_parquet(columns / "samples.parquet")
    failed = write_run(results, "partial", [FakeTask("a")], manifest={"failures": {"b": "no data"}})
    (results / "results_other.json").write_text('{"a": 1}')
    loaded = load_runs(results)
    assert loaded.models == ["middling", "partial", "strong", "weak"]
    said = "\n".join(f"{problem.path.relative_to(results)}: {problem.what}" for problem in loaded.problems)
    for expected in (
        "broken/run.json: cannot be read",
        "list/run.json: holds no JSON object",
        "unfinished: has no scores.parquet (status: running)",
        "damaged/scores.parquet: cannot be read",
        "columns/samples.parquet: lacks the columns",
        f"{failed.relative_to(results)}: b failed and is missing: no data",
        "results_other.json: is no results file",
        "left out",
    ):
        assert expected in said, said


def test_missing_and_empty_places_are_errors(tmp_path: Path) -> None:
    with pytest.raises(AnalysisError, match="no such file"):
        load_runs(tmp_path / "nowhere")
    with pytest.raises(AnalysisError, match="no finished run"):
        load_runs(tmp_path)
    (tmp_path / "run.json").write_text("{")
    with pytest.raises(AnalysisError, match="cannot be read"):
        load_runs(tmp_path)


def test_runs_without_a_column_have_nulls(tmp_path: Path) -> None:
    write_run(tmp_path, "a", [FakeTask("x")])
    write_run(tmp_path, "b", [FakeTask("y", "extraction")])
    frame = load_runs(tmp_path).samples()
    assert frame.loc[frame["model"] == "b", "metric.acc"].isna().all()
    assert frame.loc[frame["model"] == "a", "counts.f1"].isna().all()


def _write_harness_run(folder: Path) -> None:
    """What ``lm_eval --log_samples`` writes, cut down to two documents of two tasks."""
    folder.mkdir(parents=True)
    date = "2026-01-02T03-04-05.678901"
    source = "def mean(values):\n    return sum(values) / len(values)\n"
    results = {
        "results": {
            "arc": {"alias": "arc", "acc,none": 0.5, "acc_stderr,none": 0.5, "acc_norm,none": 1.0},
            "gsm": {"alias": "gsm", "exact_match,strict": 1.0, "exact_match_stderr,strict": "N/A"},
            "both": {"alias": "both", "acc,none": 0.5, "acc_stderr,none": 0.1},
        },
        "groups": {"both": {"alias": "both", "acc,none": 0.5, "acc_stderr,none": 0.1}},
        "group_subtasks": {"both": ["arc"]},
        "configs": {"arc": {"task": "arc", "metric_list": [{"metric": "acc", "aggregation": source}]}},
        "versions": {"arc": 1.0},
        "n-shot": {"arc": 0, "gsm": 5},
        "higher_is_better": {"arc": {"acc": True}},
        "n-samples": {"arc": {"original": 2, "effective": 2}, "gsm": {"original": 2, "effective": 2}},
        "config": {"model": "hf", "model_args": "pretrained=org/model", "limit": 2.0},
        "model_name": "org/model",
        "date": 1767323045.0,
        "total_evaluation_time_seconds": "12.5",
    }
    (folder / f"results_{date}.json").write_text(json.dumps(results))
    samples = [
        {
            "doc_id": i,
            "doc": {"question": "q"},
            "target": i,
            "arguments": {
                f"gen_args_{c}": {"arg_0": "Q:", "arg_1": f" {text}"} for c, text in enumerate("AB")
            },
            "resps": [[["-0.1", "True"]], [["-3.0", "False"]]],
            "filtered_resps": [[-0.1, True], [-3.0, False]],
            "filter": "none",
            "metrics": ["acc", "acc_norm"],
            "doc_hash": f"d{i}",
            "prompt_hash": "p",
            "target_hash": "t",
            "acc": float(i == 0),
            "acc_norm": 1.0,
        }
        for i in range(2)
    ]
    (folder / f"samples_arc_{date}.jsonl").write_text("\n".join(json.dumps(sample) for sample in samples))


def test_lm_eval_results_load_beside_our_own(tmp_path: Path) -> None:
    _write_harness_run(tmp_path / "org__model")
    write_run(tmp_path, "ours", [FakeTask("arc", n=2)])
    loaded = load_runs(tmp_path)
    assert loaded.models == ["org/model", "ours"]
    assert any("gsm" in problem.what for problem in loaded.problems)
    scores = loaded.scores().set_index(["model", "task", "metric"])
    assert scores.loc[("org/model", "arc", "acc"), "main"]
    assert not scores.loc[("org/model", "arc", "acc_norm"), "main"]
    assert scores.loc[("org/model", "both", "acc"), "kind"] == "group"
    assert scores.loc[("org/model", "arc", "acc"), "aggregation"] == "mean"
    assert scores.loc[("org/model", "gsm", "exact_match"), "interval"] == "none"
    samples = loaded.samples("all")
    mine = samples[samples["model"] == "org/model"]
    assert mine["metric.acc"].tolist() == [1.0, 0.0]
    assert mine["answer"].tolist() == ["A", "A"]
    assert mine["choices"].iloc[0].tolist() == ["A", "B"]
    assert mine["prompt"].tolist() == ["Q:", "Q:"]
    row = loaded.manifest().set_index("model").loc["org/model"]
    assert row["format"] == "lm_eval"
    assert row["seconds"] == 12.5


def test_the_harness_folder_inside_a_run_is_not_a_run_of_its_own(tmp_path: Path) -> None:
    _write_harness_run(write_run(tmp_path, "ours", [FakeTask("arc")]) / "lm_eval")
    assert len(load_runs(tmp_path)) == 1


def _harness_row(tmp_path: Path, value: float, error: object, n: int) -> dict[Any, Any]:
    results = {"t": {"m,none": value, "m_stderr,none": error, "sample_len": n}}
    (tmp_path / "results_x.json").write_text(json.dumps({"results": results}), encoding="utf-8")
    return load_runs(tmp_path).scores().to_dict("records")[0]


@pytest.mark.parametrize(
    ("right", "n"), [(0, 5), (5, 5), (1, 5), (3, 7), (0, 2), (2, 2), (50, 100), (999, 1000), (1, 3)]
)
def test_right_and_wrong_answers_of_lm_eval_have_the_interval_of_our_own(
    tmp_path: Path, right: int, n: int
) -> None:
    answers = [1.0] * right + [0.0] * (n - right)
    expected = interval(answers)
    error = float(np.std(answers, ddof=1) / np.sqrt(n))
    row = _harness_row(tmp_path, float(np.mean(answers)), error, n)
    assert row["interval"] == expected.method == "wilson"
    assert (row["low"], row["high"]) == pytest.approx((expected.low, expected.high))
    assert row["high"] - row["low"] > 0.001


@pytest.mark.parametrize(
    "values", [[0.25, 0.5, 0.75, 0.1], [0.37] * 4, [12.0, 13.0, 9.0], [0.5, 0.5, 0.5], [7.5] * 6]
)
def test_other_means_of_lm_eval_have_the_interval_of_our_own(tmp_path: Path, values: list[float]) -> None:
    expected = interval(values)
    error = 0.0 if len(set(values)) == 1 else float(np.std(values, ddof=1) / np.sqrt(len(values)))
    row = _harness_row(tmp_path, float(np.mean(values)), error, len(values))
    assert row["interval"] == expected.method
    assert (row["low"], row["high"]) == pytest.approx((expected.low, expected.high), nan_ok=True)


@pytest.mark.parametrize(("value", "error", "n"), [(0.5, "N/A", 9), (1.0, 0.0, 1), (0.5, None, 9)])
def test_scores_of_lm_eval_without_an_error_have_no_interval(
    tmp_path: Path, value: float, error: object, n: int
) -> None:
    row = _harness_row(tmp_path, value, error, n)
    assert row["interval"] == "none"
    assert np.isnan(row["low"])
    assert np.isnan(row["high"])


@pytest.mark.parametrize("read", ["samples", "routing"])
@pytest.mark.parametrize(
    ("names", "hint"),
    [
        (["cmexm"], "did you mean cmexam"),
        (["cmexam", "zzz"], "there are suite, cmexam"),
        (["Suite"], "did you mean suite"),
        ([""], "leave the choice"),
        ([], "leave the choice"),
    ],
)
def test_unknown_tasks_are_errors_and_never_no_rows(
    runs: Runs, read: str, names: list[str], hint: str
) -> None:
    with pytest.raises(AnalysisError, match=hint):
        getattr(runs, read)(tasks=names)


@pytest.mark.parametrize(
    ("names", "tasks"),
    [
        (["cmexam"], {"cmexam"}),
        (["suite"], {"cmexam", "medqa_us", "cmeee_v2", "kuake_ir"}),
        (["suite", "cmexam"], {"cmexam", "medqa_us", "cmeee_v2", "kuake_ir"}),
        (["kuake_ir", "cmexam"], {"cmexam", "kuake_ir"}),
    ],
)
def test_a_group_stands_for_its_tasks(runs: Runs, names: list[str], tasks: set[str]) -> None:
    samples, routing = runs.samples(tasks=names), runs.routing(tasks=names)
    assert set(samples["task"].astype(str)) == set(routing["task"].astype(str)) == tasks
    everything = runs.samples()
    assert len(samples) == everything["task"].astype(str).isin(tasks).sum()


@pytest.mark.parametrize(
    ("which", "hint"),
    [
        ({"model": "stong"}, "did you mean strong"),
        ({"model": "zzz"}, "there are middling, strong, weak"),
        ({"run": "20260101-000000-012345678x"}, "did you mean 20260101-000000-0123456789"),
        ({"model": "strong", "run": "zzz"}, "there are 20260101"),
        ({"model": "zzz", "run": "20260101-000000-0123456789"}, "there are middling"),
    ],
)
def test_unknown_models_and_runs_are_errors(runs: Runs, which: dict[str, str], hint: str) -> None:
    with pytest.raises(AnalysisError, match=hint):
        runs.select(**which)


def test_one_run_is_told_from_several(runs: Runs) -> None:
    one = runs.select(model="strong")
    assert single_run(one) is one.runs[0] is single_run(one.runs[0])
    with pytest.raises(AnalysisError, match="3 runs were given where one is meant"):
        single_run(runs)
