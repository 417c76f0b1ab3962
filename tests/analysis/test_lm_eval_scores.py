"""Scores in lm-eval's files that are no means: compared by what made them, and never by something else."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest
from lm_eval.api.registry import AGGREGATION_REGISTRY, METRIC_REGISTRY, get_metric_aggregation

from medbench.analysis import compare, load_runs
from medbench.analysis.lm_eval_files import _REGISTERED
from medbench.statistics import AGGREGATIONS
from tests.statistics.test_corpus import data


def test_each_metric_has_the_aggregation_that_lm_eval_registers() -> None:
    names = {function: name for name, function in AGGREGATION_REGISTRY.items()}
    for metric in METRIC_REGISTRY:
        registered = names[get_metric_aggregation(metric)]
        known = _REGISTERED.get(metric, "mean").removeprefix("custom:")
        assert known == registered, metric


def write(folder: Path, model: str, metric: str, values: list[Any], score: float, named: str | None) -> None:
    """Results as lm-eval writes them: one task, one metric."""
    entry = {"metric": metric} | ({} if named is None else {"aggregation": named})
    content = {
        "model_name": model,
        "results": {"task": {"alias": "task", f"{metric},none": score}},
        "configs": {"task": {"task": "task", "metric_list": [entry]}},
        "n-samples": {"task": {"original": len(values), "effective": len(values)}},
        "higher_is_better": {"task": {metric: True}},
    }
    place = folder / model
    place.mkdir(parents=True)
    (place / "results_2026-01-01T00-00-00.json").write_text(json.dumps(content), encoding="utf-8")
    lines = [
        json.dumps(
            {
                "doc_id": i,
                "doc": {"text": str(i)},
                "target": "x",
                "arguments": {"gen_args_0": {"arg_0": "prompt"}},
                "resps": [["x"]],
                "filtered_resps": ["x"],
                "filter": "none",
                "metrics": [metric],
                "doc_hash": str(i),
                "prompt_hash": "p",
                "target_hash": "t",
                metric: value,
            },
            default=list,
        )
        for i, value in enumerate(values)
    ]
    (place / "samples_task_2026-01-01T00-00-00.jsonl").write_text("\n".join(lines), encoding="utf-8")


@pytest.mark.parametrize("metric", [name for name in _REGISTERED if name != "bypass"])
@pytest.mark.parametrize("named", [True, False])
def test_the_paired_difference_is_that_of_the_scores(tmp_path: Path, metric: str, named: bool) -> None:
    aggregation = _REGISTERED[metric]
    sides = {}
    for model, seed in (("one", 1), ("two", 2)):
        values = data(aggregation, n=20, seed=seed)
        if aggregation in ("f1", "matthews_corrcoef"):  # the same documents have the same right classes
            golds = [pair[0] for pair in data(aggregation, n=20, seed=1)]
            values = [(gold, pair[1]) for gold, pair in zip(golds, values, strict=True)]
        sides[model] = float(AGGREGATION_REGISTRY[aggregation](values))
        write(tmp_path, model, metric, values, sides[model], aggregation if named else None)
    (row,) = compare(load_runs(tmp_path), "one", draws=200).to_dict("records")
    assert row["verdict"] != "refused", row["reason"]
    assert row["score"] == pytest.approx(sides["two"], abs=1e-9)
    assert row["baseline_score"] == pytest.approx(sides["one"], abs=1e-9)
    assert row["difference"] == pytest.approx(sides["two"] - sides["one"], abs=1e-9)


@pytest.mark.parametrize(
    ("metric", "named"),
    [
        ("acc", "mean"),
        ("acc", "def mean(items):\n    return max(items)\n"),
        ("own", "def micro_f1(items):\n    return 3\n"),
        ("own", "def anything(items):\n    return 3\n"),
        ("own", "nanmean"),
        ("perplexity", None),
    ],
)
def test_documents_that_make_another_score_are_refused(
    tmp_path: Path, metric: str, named: str | None
) -> None:
    rng = random.Random(0)
    for model in ("one", "two"):
        write(tmp_path, model, metric, [rng.random() for _ in range(10)], 3.0, named)
    # Nothing but this task: the command as a whole says so.
    with pytest.raises(Exception, match="nothing may be compared") as refused:
        compare(load_runs(tmp_path), "one", draws=50)
    assert any(
        word in str(refused.value) for word in ("the score is 3", "cannot be read", "custom:", "paired")
    )


def test_every_registered_aggregation_can_be_compared() -> None:
    assert {name for name in _REGISTERED.values() if not name.startswith("custom:")} <= set(AGGREGATIONS)


@pytest.mark.parametrize(
    ("doc", "subject", "level"),
    [
        ({"subject": "a", "annotations": {"level": "1"}}, "a", "1"),
        ({"subject": "a"}, "a", None),
        ({"annotations": {"level": "1"}}, None, "1"),
        ({"subject": "", "annotations": {"level": ""}}, None, None),
        ({"subject": None, "annotations": None}, None, None),
        ({"subject": 7, "annotations": ["1"]}, None, None),
        ({"annotations": {"level": 1}}, None, None),
        ({"annotations": "1"}, None, None),
        ("a text", None, None),
        ({}, None, None),
    ],
)
def test_annotations_are_read_where_documents_have_them(
    tmp_path: Path, doc: Any, subject: str | None, level: str | None
) -> None:
    write(tmp_path, "m", "acc", [1.0, 0.0], 0.5, None)
    [path] = (tmp_path / "m").glob("samples_*.jsonl")
    one, two = (json.loads(line) for line in path.read_text(encoding="utf-8").splitlines())
    one["doc"], two["doc"] = doc, {"annotations": {"level": "2"}}
    path.write_text(json.dumps(one) + "\n" + json.dumps(two), encoding="utf-8")
    runs = load_runs(tmp_path)
    samples = runs.samples(["subject", "annotation.level"])
    found = samples.astype(object).where(samples.notna(), None)
    assert found["subject"].tolist() == [subject, None]
    assert found["annotation.level"].tolist() == [level, "2"]
    frame = runs.scores(by="level")
    cells = frame[frame["kind"] == "cell"].set_index("cell")["value"].to_dict()
    assert cells == ({level: 1.0} if level else {}) | {"2": 0.0}
