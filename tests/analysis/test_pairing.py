"""Which conditions are compared, what is said of those that differ, and by which p a verdict goes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from medbench.analysis import compare, load_runs
from medbench.errors import AnalysisError
from medbench.reports.score_tables import comparison_table
from tests.analysis.factory import FakeTask, write_run


def _write(
    folder: Path,
    model: str,
    run: str,
    n: int = 40,
    skill: float = 0.5,
    prompt: str = "{i} {name}",
    **settings: Any,
) -> Path:
    tasks = [FakeTask(name, n=n, skill=skill, prompt=prompt) for name in ("t", "u")]
    seed = sum(map(ord, model + run))
    manifest = {"settings": {"limit": None, "chat_template": True, **settings}}
    return write_run(
        folder, model, tasks, run=run, seed=seed, groups={"suite": ["t", "u"]}, manifest=manifest
    )


def _judged(folder: Path, model: str, verdicts: dict[str, tuple[bool, ...]], **options: Any) -> None:
    """A run whose documents have these verdicts, by task."""
    tasks = [FakeTask(name, n=len(right), verdicts=right) for name, right in verdicts.items()]
    write_run(folder, model, tasks, groups={"suite": list(verdicts)}, **options)


RIGHT = (True,) * 40


def test_the_verdict_goes_by_the_adjusted_p(tmp_path: Path) -> None:
    _judged(tmp_path, "base", {"t": RIGHT, "u": RIGHT})
    # p = 2 / 2**6, twice that for two tests.
    _judged(tmp_path, "model", {"t": (False,) * 6 + RIGHT[6:], "u": RIGHT})
    rows = compare(load_runs(tmp_path), "base", draws=100).set_index("task").to_dict("index")
    assert (rows["t"]["p_value"], rows["t"]["p_adjusted"]) == (0.03125, 0.0625)
    assert (rows["t"]["unadjusted"], rows["t"]["verdict"]) == ("worse", "undecided")
    # One test alone is not adjusted, and another level decides otherwise.
    alone = compare(load_runs(tmp_path), "base", tasks=["t"], draws=100)
    assert alone[["p_adjusted", "verdict"]].to_numpy().tolist() == [[0.03125, "worse"]]
    loose = compare(load_runs(tmp_path), "base", alpha=0.1, draws=100).set_index("task")
    assert loose["verdict"].to_dict()["t"] == "worse"
    strict = compare(load_runs(tmp_path), "base", alpha=0.01, draws=100).set_index("task")
    assert strict["unadjusted"].to_dict()["t"] == "undecided"


def test_a_better_score_is_worse_where_lower_is_better(tmp_path: Path) -> None:
    for model in ("base", "model"):
        verdicts = (model == "model",) * 40
        write_run(tmp_path, model, [FakeTask("t", verdicts=verdicts, extra={"higher_is_better": False})])
    row = compare(load_runs(tmp_path), "base", draws=100).to_dict("records")[0]
    assert (row["difference"], row["verdict"], row["unadjusted"]) == (1.0, "worse", "worse")


def test_an_interval_holds_zero_where_its_test_does_not_reject_it(tmp_path: Path) -> None:
    # Five of eight lost: p is 2 / 2**5, though Bonett and Price's interval ends below 0.
    _judged(tmp_path, "base", {"t": (True,) * 8})
    _judged(tmp_path, "model", {"t": (False,) * 5 + (True,) * 3})
    row = compare(load_runs(tmp_path), "base", draws=100).set_index("task").to_dict("index")["t"]
    assert (row["p_value"], row["high"]) == (0.0625, 0.0)
    assert row["low"] < row["difference"] == -0.625


@pytest.mark.parametrize(
    ("base", "model", "picked"),
    [
        # Runs of either side as (id, n, settings), and the pair that is compared.
        ([("a", 40, {}), ("b", 2, {"limit": 2})], [("a", 40, {})], ("a", "a")),
        ([("a", 40, {})], [("a", 40, {}), ("b", 2, {"limit": 2})], ("a", "a")),
        ([("a", 40, {}), ("b", 2, {"limit": 2})], [("c", 2, {"limit": 2})], ("b", "c")),
        (
            [("a", 40, {}), ("b", 20, {"limit": 20}), ("c", 5, {"limit": 5})],
            [("d", 20, {"limit": 20}), ("e", 5, {"limit": 5})],
            ("b", "d"),
        ),
        ([("a", 40, {"num_fewshot": 3}), ("b", 40, {})], [("c", 40, {})], ("b", "c")),
        (
            [("a", 40, {"chat_template": False}), ("b", 40, {})],
            [("c", 40, {"chat_template": False})],
            ("a", "c"),
        ),
        ([("a", 40, {"circular": True}), ("b", 40, {})], [("c", 40, {"circular": True})], ("a", "c")),
        ([("a", 40, {})], [("b", 40, {"dtype": "bfloat16"})], ("a", "b")),
        ([("a", 40, {})], [("b", 40, {"system_prompt": "Hi"}), ("c", 40, {"seed": 9})], ("a", "b")),
    ],
)
def test_the_conditions_that_both_share_are_compared(
    tmp_path: Path,
    base: list[tuple[str, int, dict[str, Any]]],
    model: list[tuple[str, int, dict[str, Any]]],
    picked: tuple[str, str],
) -> None:
    for name, runs in (("base", base), ("model", model)):
        for run, n, settings in runs:
            _write(tmp_path, name, run, n, **settings)
    frame = compare(load_runs(tmp_path), "base", draws=100)
    tasks = frame[frame["kind"] == "task"]
    assert set(zip(tasks["baseline_run"], tasks["run"], strict=True)) == {picked}
    assert (tasks["verdict"] != "refused").all()


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"num_fewshot": 3}, "3-shot against 0-shot"),
        ({"chat_template": False}, "chat template off against chat template on"),
        ({"limit": 40}, "limit 40 against all documents"),
        ({"shuffle_options": 1}, "options shuffled (seed 1) against options in order"),
        ({"circular": True}, "circular against not circular"),
        ({"dtype": "bfloat16"}, "bfloat16 against float32"),
        ({"quantization": "int8"}, "int8 against not quantized"),
        ({"engine": "reference"}, "engine reference against engine native"),
        ({"later": 1}, "later 1 against nothing else set"),
    ],
)
def test_what_differs_all_the_same_is_said(tmp_path: Path, settings: dict[str, Any], text: str) -> None:
    _write(tmp_path, "base", "a")
    _write(tmp_path, "model", "b", **settings)
    frame = compare(load_runs(tmp_path), "base", draws=100)
    assert set(frame["differing"]) == {text}
    assert f"model and base were not evaluated alike: {text}." in comparison_table(frame).notes


def test_a_set_of_conditions_may_be_the_baseline(tmp_path: Path) -> None:
    _write(tmp_path, "base", "a")
    _write(tmp_path, "base", "b", 2, limit=2)
    _write(tmp_path, "model", "c")
    _write(tmp_path, "model", "d", 2, limit=2)
    loaded = load_runs(tmp_path)
    frame = compare(loaded, "base · limit 2", draws=100)
    assert set(zip(frame["baseline"], frame["model"], strict=True)) == {("base · limit 2", "model · limit 2")}
    assert set(compare(loaded, "base", draws=100)["model"]) == {"model"}
    with pytest.raises(AnalysisError, match="base · limit 2"):
        compare(loaded, "base · limit 3")


def test_a_limited_run_never_meets_a_full_one_task_by_task(tmp_path: Path) -> None:
    _write(tmp_path, "base", "a")
    _write(tmp_path, "model", "b", 2, limit=2)
    with pytest.raises(AnalysisError, match="limit 2 against all documents"):
        compare(load_runs(tmp_path), "base")
    frame = compare(load_runs(tmp_path), "base", intersect=True, draws=100)
    assert set(frame.loc[frame["kind"] == "task", "n"]) == {2}
    assert (frame["differing"] == "limit 2 against all documents").all()


def test_prompts_that_may_differ_let_templates_differ(tmp_path: Path) -> None:
    _write(tmp_path, "base", "a")
    _write(tmp_path, "base", "b", 2, limit=2)
    _write(tmp_path, "model", "c", prompt="<chat>{i} {name}", chat_template=False)
    frame = compare(load_runs(tmp_path), "base", ignore=["prompt"], draws=100)
    assert set(frame["n"]) == {40, 80}
    assert set(frame["differing"]) == {"chat template off against chat template on"}


def test_a_task_that_one_side_lacks_is_refused_where_it_was_asked_for(tmp_path: Path) -> None:
    write_run(tmp_path, "base", [FakeTask("t"), FakeTask("u")], groups={"suite": ["t", "u"]})
    write_run(tmp_path, "model", [FakeTask("t")], seed=1)
    loaded = load_runs(tmp_path)
    assert compare(loaded, "base", draws=100)["task"].tolist() == ["t"]
    rows = compare(loaded, "base", tasks=["suite"], draws=100).set_index("task").to_dict("index")
    assert rows["u"]["reason"] == "not evaluated for model"
    assert rows["suite"]["reason"] == "cannot be averaged without u"
    assert rows["t"]["verdict"] != "refused"


@pytest.mark.parametrize("weighted", [True, False])
def test_a_group_weighs_by_the_documents_compared(tmp_path: Path, weighted: bool) -> None:
    nothing = (False,) * 10
    _judged(tmp_path, "base", {"t": nothing * 4, "u": nothing}, weighted=weighted)
    _judged(tmp_path, "model", {"t": (True,) * 10, "u": nothing}, weighted=weighted)
    frame = compare(load_runs(tmp_path), "base", intersect=True, draws=100)
    row = frame.set_index("task").to_dict("index")["suite"]
    # Ten documents of each were compared, though the baseline has forty of one.
    assert (row["n"], row["difference"]) == (20, 0.5)
    assert row["score"] - row["baseline_score"] == pytest.approx(0.5)


def test_nothing_that_can_be_detected_is_zero(tmp_path: Path) -> None:
    kinds = {"t": "choice", "u": "extraction", "v": "labels"}
    tasks = [FakeTask(name, kind, 9, 1.0) for name, kind in kinds.items()]
    for model in ("base", "model"):
        write_run(tmp_path, model, tasks, groups={"suite": list(kinds)})
    frame = compare(load_runs(tmp_path), "base", draws=100)
    assert (frame["difference"] == 0).all()
    assert (frame["detectable"] > 0.1).all()
    assert ((frame["low"] < -0.1) & (frame["high"] > 0.1)).all()
    assert "0.0" not in [row[-2] for row in comparison_table(frame).rows]
