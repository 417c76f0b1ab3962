"""``medbench routing kinds``, ``ablate``, ``trace`` and ``agree`` from the command line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from medbench.cli import main
from tests.analysis.factory import FakeTask, write_routing, write_run

TASK = "ceval_medical_basic_medicine"


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


def test_kinds_are_printed_beside_chance(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tasks = [FakeTask("x"), FakeTask("y", language="zh")]
    run = write_run(tmp_path, "m", tasks, routing=write_routing(["x", "y"], documents=4))
    assert main(["routing", "kinds", str(run), "--by", "language", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert [(row["kind"], row["expert"]) for row in rows] == [(k, e) for k in ("en", "zh") for e in range(4)]
    assert all(row["chance"] == 0.5 and row["low"] <= row["rate"] <= row["high"] for row in rows)
    assert main(["routing", "kinds", str(run), "--each"]) == 0
    assert "Experts by kind of task" in capsys.readouterr().out
    assert main(["routing", "kinds", str(run), "--by", "color"]) == 2
    assert "color" in capsys.readouterr().err


def test_ablate_writes_its_pictures_and_says_where(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    start = ["routing", "ablate", "-t", TASK, "--limit", "2", "--results", str(tmp_path)]
    assert main([*start, "-v", "expert:0+1", "-v", "off", "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert {row["variant"] for row in answer["tasks"]} == {"expert:0+1", "off"}
    assert [row["kind"] for row in answer["kinds"]] == ["zh-exam", "zh-exam"]
    folder = Path(answer["folder"])
    assert {"ablation.html", "ablation.json", "documents.parquet", "effects.csv"} <= {
        path.name for path in folder.iterdir()
    }
    assert "Bundled samples, not a benchmark score" in (folder / "ablation.html").read_text(encoding="utf-8")
    assert main([*start, "-v", "expert:9"]) == 2
    assert "there is no expert 9" in capsys.readouterr().err
    assert main([*start, "--sweep", "everything"]) == 2


def test_two_checkpoints_are_traced_and_compared(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for model in ("demo", "demo-early"):
        out = str(tmp_path / f"{model}.npz")
        assert main(["routing", "trace", "-m", model, "-t", TASK, "--limit", "2", "-o", out, "--json"]) == 0
    capsys.readouterr()
    files = [str(tmp_path / f"{model}.npz") for model in ("demo", "demo-early")]
    assert main(["routing", "agree", *files, "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert len(rows) == 12
    assert all(row["chance"] == 0.25 and -1 / 3 <= row["kappa"] < 1 for row in rows)
    assert main(["routing", "agree", files[0], files[0], "--json"]) == 0
    assert {row["kappa"] for row in json.loads(capsys.readouterr().out)} == {1}
    assert main(["routing", "agree", files[0], str(tmp_path / "absent.npz")]) == 2


@pytest.mark.parametrize("command", ["show", "similarity", "kinds", "compare", "scores", "tokens"])
def test_a_run_without_routing_is_refused_in_one_message(
    command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = str(write_run(tmp_path, "m", [FakeTask("x")]))
    assert main(["routing", command, run, *([run] if command == "compare" else [])]) == 2
    said = capsys.readouterr()
    assert not said.out
    assert said.err.startswith("medbench: ")
    assert "try: " in said.err
    assert "columns" not in said.err


def test_an_unknown_phase_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = str(write_run(tmp_path, "m", [FakeTask("x")], routing=write_routing(["x"], documents=4)))
    for command in ("similarity", "kinds"):
        assert main(["routing", command, run, "--phase", "promt"]) == 2
        assert "'promt'" in capsys.readouterr().err


def test_an_unknown_kind_is_refused_before_the_ablation(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    start = ["routing", "ablate", "-t", TASK, "--limit", "1", "--results", str(tmp_path)]
    assert main([*start, "--by", "color"]) == 2
    assert "color" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_a_folder_of_runs_is_not_one_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_run(tmp_path, "m", [FakeTask("x")])
    assert main(["routing", "tokens", str(tmp_path)]) == 2
    assert "no run lies here" in capsys.readouterr().err


def test_a_comparison_names_its_sides(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sides = [
        str(write_run(tmp_path, name, [FakeTask("x")], routing=write_routing(["x"], documents=4)))
        for name in ("late", "early")
    ]
    assert main(["routing", "compare", *sides]) == 0
    assert "load: late; other: early" in capsys.readouterr().out


def _several(folder: Path, models: tuple[str, ...] = ("late", "early"), *, documents: int = 10) -> list[str]:
    """Runs of models on four tasks, each with an ablation beside it, as a shell's pattern lists them."""
    names = ["a", "b", "c", "d"]
    paths = []
    for seed, name in enumerate(models):
        routing = write_routing(names, lean=2.0, seed=seed, documents=documents)
        tasks = [FakeTask(task, skill=0.5) for task in names]
        run = write_run(folder, name, tasks, routing=routing, seed=seed)
        ablation = run.parent / "ablation.0123456789"
        ablation.mkdir()
        (ablation / "ablation.json").write_text("{}", encoding="utf-8")
        paths += [str(path) for path in sorted(run.parent.iterdir())]
    return paths


@pytest.mark.parametrize("command", ["show", "similarity", "kinds", "scores"])
def test_ablations_beside_a_run_are_left_out(
    command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    paths = _several(tmp_path, ("m",))
    assert len(paths) == 2
    assert main(["routing", command, *paths, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)
    assert main(["routing", command, str(tmp_path / "m" / "*"), "--json"]) == 0


def test_ablations_between_two_runs_are_left_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    paths = _several(tmp_path)
    assert len(paths) == 4
    for command in ("compare", "scores"):
        assert main(["routing", command, *paths, "--json"]) == 0
    capsys.readouterr()
    for command, runs in (("compare", paths[:2]), ("scores", [*paths, paths[0]]), ("tokens", paths)):
        assert main(["routing", command, *runs]) == 2
        assert "were given where" in capsys.readouterr().err
    ablation = next(path for path in paths if "ablation" in Path(path).name)
    for command in ("tokens", "scores", "compare", "agree"):
        assert main(["routing", command, ablation]) == 2
        said = capsys.readouterr().err
        assert ablation in said.replace("\n", "")
        assert "0 runs were given" in said


def test_a_traced_run_is_found_beside_its_ablation(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ablation = tmp_path / "ablation.0"
    ablation.mkdir()
    (ablation / "ablation.json").write_text("{}", encoding="utf-8")
    out = str(tmp_path / "demo.npz")
    assert main(["routing", "trace", "-t", TASK, "--limit", "2", "-o", out, "--json"]) == 0
    assert main(["routing", "tokens", str(ablation), out, "--json"]) == 0
    assert main(["routing", "agree", out, str(ablation), out, "--json"]) == 0
    assert "Traceback" not in capsys.readouterr().err


def test_long_tables_show_the_clearest_rows(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    late, early = (path for path in _several(tmp_path) if "ablation" not in Path(path).name)
    assert main(["routing", "compare", late, early, "--json"]) == 0
    every = json.loads(capsys.readouterr().out)
    assert len(every) == 4 * 9 * 4
    assert main(["routing", "compare", late, early, "--json", "--top", "5"]) == 0
    sizes = [abs(row["difference"]) for row in json.loads(capsys.readouterr().out)]
    assert sizes == sorted((abs(row["difference"]) for row in every), reverse=True)[:5]
    assert main(["routing", "compare", late, early]) == 0
    said = capsys.readouterr().out
    assert said.count(" down ") + said.count(" gate ") + said.count(" up ") == 20
    assert "The 20 largest differences of 144; --top 0 shows all" in said
    assert main(["routing", "compare", late, early, "--top", "0"]) == 0
    said = capsys.readouterr().out
    assert said.count(" down ") + said.count(" gate ") + said.count(" up ") == 144
    assert "--top" not in said
    assert main(["routing", "compare", late, early, "-f", "csv"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 145
    assert main(["routing", "compare", late, early, "--task", "a,b", "--json"]) == 0
    assert {row["task"] for row in json.loads(capsys.readouterr().out)} == {"a", "b"}
    assert main(["routing", "similarity", late, "--top", "2", "--json"]) == 0
    assert len(json.loads(capsys.readouterr().out)) == 2
    assert main(["routing", "similarity", late, "--top", "2"]) == 0
    assert "The 2 most similar pairs of 6" in capsys.readouterr().out


def test_summaries_are_cut_by_task_metric_and_distance_from_chance(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = _several(tmp_path, ("m",))[0]
    start = ["routing", "show", run, "--json"]
    assert main(start) == 0
    every = json.loads(capsys.readouterr().out)
    assert main([*start, "--task", "a", "-t", "c", "--metric", "load_entropy,near_ties"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert {(row["task"], row["metric"]) for row in rows} == {
        (task, metric) for task in "ac" for metric in ("load_entropy", "near_ties")
    }
    assert main([*start, "--metric", "load_entropy", "--top", "1"]) == 0
    (row,) = json.loads(capsys.readouterr().out)
    far = [row for row in every if row["metric"] == "load_entropy"]
    assert row == max(far, key=lambda row: abs(row["value"] - row["chance"]))
    assert main([*start, "--metric", "speed"]) == 2
    assert "'speed'" in capsys.readouterr().err


def test_kinds_of_some_tasks(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = _several(tmp_path, ("m",), documents=0)[0]
    rates = []
    for tasks in (["--task", "a"], ["--task", "a,b,c,d"], []):
        assert main(["routing", "kinds", run, "--json", *tasks]) == 0
        rates.append([row["rate"] for row in json.loads(capsys.readouterr().out)])
    assert rates[0] != rates[1] == rates[2]
    for command in ("kinds", "show", "similarity"):
        assert main(["routing", command, run, "--task", "a,e"]) == 2
        assert "'e'" in capsys.readouterr().err


def test_without_routing_the_runs_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = write_run(tmp_path, "plain", [FakeTask("x")])
    for command in ("show", "similarity", "kinds", "compare"):
        assert main(["routing", command, *[str(run)] * (1 + (command == "compare"))]) == 2
        said = capsys.readouterr().err
        assert "no routing was recorded" in said
        assert f"plain/{run.name}" in said
        assert "only models with routers record any" in said


def test_loads_are_compared_on_common_tasks(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    runs = []
    for model, names in (("one", ["a", "b"]), ("two", ["b", "c"]), ("three", ["d"])):
        routing = write_routing(names, lean=3.0)
        runs.append(str(write_run(tmp_path, model, [FakeTask(name) for name in names], routing=routing)))
    assert main(["routing", "compare", *runs[:2], "--by", "layer,projection", "--json"]) == 0
    loads = json.loads(capsys.readouterr().out)
    assert main(["routing", "compare", *runs[:2], "--by", "layer,projection", "--json", "--task", "b"]) == 0
    assert json.loads(capsys.readouterr().out) == loads
    assert main(["routing", "compare", runs[0], runs[2]]) == 2
    assert "no tasks in common" in capsys.readouterr().err
