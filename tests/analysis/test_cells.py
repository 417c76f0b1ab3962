"""Scores by annotation, held to the documents of each cell and to code of their own."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from medbench.analysis import load_runs
from medbench.analysis.annotations import annotation_column, cell_order, split_by
from medbench.analysis.cells import UNANNOTATED
from medbench.errors import AnalysisError
from tests.analysis.factory import FakeTask, write_run
from tests.truth import plain

LEVEL = "annotation.level"
COLUMNS = {"mean": "metric.acc", "micro_f1": "counts.f1", "macro_f1": "labels.macro_f1"}
PATTERNS: dict[str, tuple[str | None, ...]] = {
    "two": ("1", "2"),
    "gaps": ("1", None, "3", None),
    "uneven": ("a", "a", "a", "a", "a", "b"),
    "alone": ("x",),
    "rare": (*["common"] * 24, "once"),
    "many": tuple("abcdefghij"),
    "chinese": ("最佳选择题", "配伍选择题", "多项选择题", None, "综合分析选择题"),
}


def _values(samples: pd.DataFrame, aggregation: str) -> list[Any]:
    column = samples[COLUMNS[aggregation]]
    return [value if aggregation == "mean" else tuple(value) for value in column]


def _check(row: dict[Any, Any], documents: pd.DataFrame) -> None:
    """Hold a row to the documents that it is made of."""
    values = _values(documents, row["aggregation"])
    assert row["n"] == len(values)
    assert row["value"] == pytest.approx(float(plain.corpus(values, row["aggregation"])), abs=1e-12)
    low, high, method = plain.interval(
        values, row["aggregation"], documents["cluster"].astype(str).tolist(), resampled=False
    )
    assert row["interval"] == (method if low.known else "none")
    for shown, true in ((row["low"], low), (row["high"], high)):
        if true.known:
            assert true.least - 1e-9 <= shown <= true.most + 1e-9
        else:
            assert math.isnan(shown)


@pytest.mark.parametrize("pattern", sorted(PATTERNS))
@pytest.mark.parametrize("clusters", [None, 9])
@pytest.mark.parametrize("kind", ["choice", "extraction", "labels"])
def test_every_cell_is_scored_by_its_documents_alone(
    tmp_path: Path, kind: str, clusters: int | None, pattern: str
) -> None:
    task = FakeTask("t", kind, 50, 0.6, clusters=clusters, said={LEVEL: PATTERNS[pattern]})
    write_run(tmp_path, "m", [task], seed=len(pattern))
    runs = load_runs(tmp_path)
    frame = runs.scores(by="level")
    samples = runs.samples()
    samples[LEVEL] = samples[LEVEL].astype(object).where(samples[LEVEL].notna(), None)
    cells = [cell for cell in dict.fromkeys(samples[LEVEL]) if cell is not None]
    assert frame.loc[frame["kind"] == "cell", "cell"].tolist() == cells
    for row in frame.to_dict("records"):
        if row["kind"] == "cell":
            _check(row, samples[samples[LEVEL] == row["cell"]])
        elif row["kind"] == "rest":
            _check(row, samples[samples[LEVEL].isna()])
        else:
            stored = runs.scores().iloc[0]
            assert row["kind"] == "task"
            assert (row["value"], row["low"], row["n"]) == (stored["value"], stored["low"], stored["n"])
    assert frame.loc[frame["kind"] != "task", "n"].sum() == 50
    assert (frame["kind"] == "rest").any() == (None in PATTERNS[pattern])


@pytest.mark.parametrize("seed", range(12))
def test_cells_share_out_the_documents(tmp_path: Path, seed: int) -> None:
    draw = random.Random(seed)
    n = draw.randrange(1, 60)
    said = [draw.choice([None, "", *"12345"]) for _ in range(n)]
    if not any(said):
        said[0] = "1"
    write_run(tmp_path, "m", [FakeTask("t", n=n, skill=0.5, said={LEVEL: said})], seed=seed)
    frame = load_runs(tmp_path).scores(by="level")
    parts, whole = frame[frame["kind"] != "task"], frame[frame["kind"] == "task"].iloc[0]
    assert parts["n"].sum() == whole["n"] == n
    assert (parts["n"] * parts["value"]).sum() == pytest.approx(n * whole["value"])
    empty = sum(not text for text in said)
    assert parts.loc[parts["kind"] == "rest", "n"].tolist() == ([empty] if empty else [])
    assert not parts["cell"].isin([""]).any()


def _type_acc(rows: Sequence[tuple[str, bool]]) -> list[tuple[str, float]]:
    """The table per question type that the exam protocols write: types as they come, then all pooled."""
    types: dict[str, list[bool]] = {}
    for kind, right in rows:
        types.setdefault(kind, []).append(right)
    found = [(kind, sum(verdicts) / len(verdicts)) for kind, verdicts in types.items()]
    return [*found, ("AVERAGE", sum(right for _, right in rows) / len(rows))]


@pytest.mark.parametrize("seed", range(12))
def test_types_and_their_pool_are_those_of_the_authors_table(tmp_path: Path, seed: int) -> None:
    draw = random.Random(100 + seed)
    sizes = {"最佳选择题": 40, "配伍选择题": 50, "综合分析选择题": 20, "多项选择题": 10}
    kinds = [kind for kind, size in sizes.items() for _ in range(draw.randrange(1, size))]
    draw.shuffle(kinds)
    verdicts = tuple(draw.random() < 0.4 for _ in kinds)
    said = {"annotation.question_type": kinds}
    write_run(tmp_path, "m", [FakeTask("ple", n=len(kinds), verdicts=verdicts, said=said)])
    frame = load_runs(tmp_path).scores(by="question_type")
    shown = [
        (row["cell"] if row["kind"] == "cell" else "AVERAGE", row["value"])
        for row in frame.to_dict("records")
    ]
    expected = _type_acc(list(zip(kinds, verdicts, strict=True)))
    assert [name for name, _ in shown] == [name for name, _ in expected]
    assert [value for _, value in shown] == pytest.approx([value for _, value in expected])
    # Pooled, and no mean of the types.
    assert shown[-1][1] == pytest.approx(sum(verdicts) / len(verdicts))


def _rewritten(folder: Path, **columns: pa.Array) -> None:
    path = folder / "samples.parquet"
    table = pq.read_table(path)
    for name, values in columns.items():
        column = name.replace("__", ".").replace("_at_", ",")
        if column in table.column_names:
            table = table.drop_columns([column])
        table = table.append_column(column, values)
    pq.write_table(table, path)


def _more_scores(folder: Path, *rows: dict[str, Any]) -> None:
    path = folder / "scores.parquet"
    table = pq.read_table(path)
    first = table.to_pylist()[0]
    added = [{**first, "main": False, **row} for row in rows]
    pq.write_table(pa.Table.from_pylist([*table.to_pylist(), *added], schema=table.schema), path)


def test_every_metric_of_every_filter_is_scored(tmp_path: Path) -> None:
    folder = write_run(tmp_path, "m", [FakeTask("t", n=12, said={LEVEL: ("1", "2", "3")})])
    strict = [float(i % 2) for i in range(12)]
    loose = [float(i % 3 != 0) for i in range(12)]
    length = [float(i) for i in range(12)]
    _rewritten(
        folder,
        metric__exact=pa.array(strict),
        metric__exact_at_loose=pa.array(loose),
        metric__length_at_loose=pa.array(length),
    )
    _more_scores(
        folder,
        {"metric": "exact", "value": sum(strict) / 12},
        {"metric": "exact", "filter": "loose", "value": sum(loose) / 12},
        {"metric": "length", "filter": "loose", "value": sum(length) / 12},
    )
    frame = load_runs(tmp_path).scores(by="level")
    found = frame[frame["kind"] == "cell"].set_index(["metric", "filter", "cell"])["value"]
    for place, cell in enumerate("123"):
        mine = range(place, 12, 3)
        for metric, pipeline, values in (
            ("exact", "none", strict),
            ("exact", "loose", loose),
            ("length", "loose", length),
        ):
            assert found[metric, pipeline, cell] == pytest.approx(sum(values[i] for i in mine) / 4)
    units = frame.set_index(["metric", "filter"])["unit"]
    assert set(units["length", "loose"]) == {"number"}
    assert set(units["acc", "none"]) == {"share"}


def test_documents_without_a_value_are_in_no_score(tmp_path: Path) -> None:
    folder = write_run(tmp_path, "m", [FakeTask("t", n=12, said={LEVEL: ("1", "2")})])
    some = [None if i % 4 == 1 else float(i % 3 == 0) for i in range(12)]
    known = [value for value in some if value is not None]
    _rewritten(folder, metric__some=pa.array(some))
    _more_scores(folder, {"metric": "some", "value": sum(known) / len(known), "n": len(known)})
    frame = load_runs(tmp_path).scores(by="level").query("metric == 'some'")
    assert frame[["cell", "n"]].fillna("").to_numpy().tolist() == [["1", 6], ["2", 3], ["", 9]]


CORPORA: dict[str, tuple[list[Any], Callable[[Sequence[Any]], float]]] = {
    "weighted_perplexity": ([[-float(i), i + 1] for i in range(12)], lambda v: math.exp(-_ratio(v))),
    "bits_per_byte": ([[-float(i), i + 1] for i in range(12)], lambda v: -_ratio(v) / math.log(2)),
    "perplexity": (
        [-0.1 * i for i in range(12)],
        lambda v: math.exp(-sum(v) / len(v)),
    ),
    "brier_score": (
        [[i % 2, [0.3 + 0.05 * i, 0.7 - 0.05 * i]] for i in range(12)],
        lambda v: (
            sum(sum((p - (gold == k)) ** 2 for k, p in enumerate(probabilities)) for gold, probabilities in v)
            / len(v)
        ),
    ),
    "f1": (
        [[int(i % 3 == 0), int(i % 2 == 0)] for i in range(12)],
        lambda v: _f1([(g == 1, p == 1) for g, p in v]),
    ),
}


def _ratio(values: Sequence[Any]) -> float:
    return float(sum(a for a, _ in values) / sum(b for _, b in values))


def _f1(pairs: Sequence[tuple[bool, bool]]) -> float:
    hits = sum(g and p for g, p in pairs)
    found = sum(g for g, _ in pairs) + sum(p for _, p in pairs)
    return 2 * hits / found if found else 0.0


@pytest.mark.parametrize("cells", [2, 3, 4])
@pytest.mark.parametrize("aggregation", sorted(CORPORA))
def test_corpus_scores_are_pooled_over_the_cell(tmp_path: Path, aggregation: str, cells: int) -> None:
    values, score = CORPORA[aggregation]
    names = [str(i) for i in range(cells)]
    folder = write_run(tmp_path, "m", [FakeTask("t", n=12, said={LEVEL: names})])
    if aggregation == "perplexity":
        _rewritten(folder, metric__x=pa.array(values))
    else:
        _rewritten(folder, items__x=pa.array([json.dumps(value) for value in values]))
    _more_scores(folder, {"metric": "x", "aggregation": aggregation, "value": score(values)})
    frame = load_runs(tmp_path).scores(by="level").query("metric == 'x' and kind == 'cell'")
    for place, cell in enumerate(names):
        [row] = frame[frame["cell"] == cell].to_dict("records")
        assert row["value"] == pytest.approx(score(values[place::cells]))
        assert row["n"] == 12 // cells


def test_means_of_overlaps_are_resampled_as_in_the_run(tmp_path: Path) -> None:
    folder = write_run(tmp_path, "m", [FakeTask("t", n=30, said={LEVEL: ("1", "2")})])
    overlaps = [((7 * i) % 30) / 30 for i in range(30)]
    _rewritten(folder, metric__rouge_l=pa.array(overlaps))
    _more_scores(folder, {"metric": "rouge_l", "value": sum(overlaps) / 30})
    frame = load_runs(tmp_path).scores(by="level").query("metric == 'rouge_l' and kind == 'cell'")
    assert frame["interval"].tolist() == ["bootstrap"] * 2
    for place, row in enumerate(frame.to_dict("records")):
        assert row["value"] == pytest.approx(sum(overlaps[place::2]) / 15)


REFUSED = [
    ({"aggregation": "custom:mine"}, "no score of a cell is known for custom:mine"),
    ({"aggregation": "custom:mean"}, "no score of a cell is known for custom:mean"),
    ({"aggregation": "median"}, "no score of a cell is known for median"),
    ({"metric": "acc_circular"}, "the samples hold no results of 'acc_circular'"),
    ({"metric": "acc_norm"}, "the samples hold no results of 'acc_norm'"),
    ({"filter": "other"}, "the samples hold no results of 'acc' (filter other)"),
    ({"value": 0.111}, "the score is 0.111"),
    ({"value": 1.0}, "the score is 1"),
    ({"value": None}, "the score of the task is not known"),
    ({"value": math.nan}, "the score of the task is not known"),
    ({"aggregation": "micro_f1"}, "the results of 'acc' cannot be read"),
    ({"aggregation": "macro_f1"}, "the results of 'acc' cannot be read"),
]


@pytest.mark.parametrize(("changes", "reason"), REFUSED)
def test_a_score_that_documents_do_not_make_has_no_cells(
    tmp_path: Path, changes: dict[str, Any], reason: str
) -> None:
    task = FakeTask("t", n=9, verdicts=(True, False, False) * 3, said={LEVEL: ("1", "2")})
    folder = write_run(tmp_path, "m", [task])
    _more_scores(folder, changes)
    frame = load_runs(tmp_path).scores(by="level")
    first, added = frame[frame["main"].astype(bool)], frame[~frame["main"].astype(bool)]
    assert first["kind"].tolist() == ["cell", "cell", "task"]
    [row] = added.to_dict("records")
    assert row["kind"] == "task"
    assert reason in row["reason"]


def test_what_is_not_annotated_is_said(tmp_path: Path) -> None:
    write_run(
        tmp_path,
        "one",
        [
            FakeTask("ward", said={LEVEL: ("1", "2")}),
            FakeTask("dose"),
            FakeTask("none", said={LEVEL: (None, "")}),
        ],
    )
    write_run(tmp_path, "two", [FakeTask("ward")])
    frame = load_runs(tmp_path).scores(by="level")
    found = frame[frame["kind"] == "task"].set_index(["model", "task"])["reason"].to_dict()
    assert found == {
        ("one", "ward"): "",
        ("one", "dose"): UNANNOTATED,
        ("one", "none"): UNANNOTATED,
        ("two", "ward"): UNANNOTATED,
    }
    assert (frame["kind"] == "cell").sum() == 2
    assert not (frame["kind"] == "rest").any()


KNOWN = ["task", "subject", "annotation.question_type", "annotation.difficulty", "annotation.subject"]


@pytest.mark.parametrize(
    ("name", "column"),
    [
        ("subject", "subject"),
        ("annotation.subject", "annotation.subject"),
        ("question_type", "annotation.question_type"),
        ("annotation.question_type", "annotation.question_type"),
        ("difficulty", "annotation.difficulty"),
    ],
)
def test_names_of_annotations(name: str, column: str) -> None:
    assert annotation_column(name, KNOWN) == column


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("question_typ", "did you mean question_type?"),
        ("questiontype", "did you mean question_type?"),
        ("Difficulty", "did you mean difficulty?"),
        ("dificulty", "did you mean difficulty?"),
        ("subjects", "did you mean subject?"),
        ("annotation.difficult", "did you mean difficulty?"),
        ("task", "there are subject, question_type, difficulty"),
        ("answer", "there are subject, question_type, difficulty"),
        ("metric.acc", "there are subject, question_type, difficulty"),
        ("", "there are subject, question_type, difficulty"),
        ("zzz", "there are subject, question_type, difficulty"),
    ],
)
def test_unknown_annotations_name_the_known_ones(name: str, hint: str) -> None:
    with pytest.raises(AnalysisError) as caught:
        annotation_column(name, KNOWN)
    assert hint in str(caught.value.hint)
    assert repr(name.removeprefix("annotation.")) in caught.value.what


def test_runs_without_annotations_say_so(tmp_path: Path) -> None:
    write_run(tmp_path, "m", [FakeTask("t")])
    with pytest.raises(AnalysisError, match="no annotation 'level'") as caught:
        load_runs(tmp_path).scores(by="level")
    assert "none" in str(caught.value.hint)


@pytest.mark.parametrize(
    ("cells", "order"),
    [
        (["3", "1", "2"], ["1", "2", "3"]),
        (["10", "9", "1"], ["1", "9", "10"]),
        (["2010", "1999"], ["1999", "2010"]),
        (["02", "2", "1"], ["1", "02", "2"]),
        (["b", "a", "b", "c"], ["b", "a", "c"]),
        (["B型", "A型"], ["B型", "A型"]),
        (["3", "x", "1"], ["3", "x", "1"]),
        (["３", "１"], ["３", "１"]),
        (["-1", "-2"], ["-1", "-2"]),
        (["1.5", "1.25"], ["1.5", "1.25"]),
        ([None, "2", math.nan, "1"], ["1", "2"]),
        ([], []),
    ],
)
def test_order_of_cells(cells: list[Any], order: list[str]) -> None:
    assert cell_order(cells) == order


@pytest.mark.parametrize(
    ("names", "found"),
    [
        ([], ("model", None)),
        (["model"], ("model", None)),
        (["run"], ("run", None)),
        (["subject"], ("model", "subject")),
        (["run", "subject"], ("run", "subject")),
        (["subject", "run"], ("run", "subject")),
        (["subject", "subject"], ("model", "subject")),
        (["annotation.run", "model"], ("model", "annotation.run")),
    ],
)
def test_rows_are_told_apart_by_systems_and_an_annotation(
    names: list[str], found: tuple[str, str | None]
) -> None:
    assert split_by(names) == found


@pytest.mark.parametrize("names", [["model", "run"], ["subject", "level"], ["run", "a", "b"]])
def test_two_of_a_kind_are_refused(names: list[str]) -> None:
    with pytest.raises(AnalysisError, match="at once"):
        split_by(names)


def test_intervals_are_seeded_as_those_of_the_run(tmp_path: Path) -> None:
    task = FakeTask("t", "extraction", 40, 0.5, said={LEVEL: ("x",)})
    for name, seed in (("one", 1), ("again", 1), ("two", 2)):
        write_run(tmp_path, name, [task], manifest={"settings": {"seed": seed}})
    frame = load_runs(tmp_path).scores(by="level").query("kind == 'cell'")
    limits = dict(zip(frame["model"], frame[["low", "high"]].to_numpy().tolist(), strict=True))
    assert limits["one"] == limits["again"]
    assert limits["one"] != limits["two"]
