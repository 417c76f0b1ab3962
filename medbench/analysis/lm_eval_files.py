"""Runs of lm-eval itself: ``results_<date>.json`` with ``samples_<task>_<date>.jsonl`` beside it."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from numbers import Real
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from pyarrow import compute
from scipy import special

from medbench.analysis.runs import Problem, Run
from medbench.common.files import load_json
from medbench.runs.schema import SAMPLES, SCORES, value_column
from medbench.runs.tables import annotations_of
from medbench.runs.values import column_of
from medbench.statistics import wilson_interval
from medbench.statistics.corpus import CORPUS_AGGREGATIONS
from medbench.statistics.intervals import agreeing_interval
from medbench.statistics.sufficient import AGGREGATIONS

# The aggregations that lm-eval 0.4.13 registers for its metrics, the mean for all others.
_REGISTERED = {
    "bits_per_byte": "bits_per_byte",
    "bleu": "bleu",
    "brier_score": "brier_score",
    "bypass": "custom:bypass",
    "byte_perplexity": "weighted_perplexity",
    "chrf": "chrf",
    "chrf++": "chrf++",
    "f1": "f1",
    "mcc": "matthews_corrcoef",
    "perplexity": "perplexity",
    "ter": "ter",
    "word_perplexity": "weighted_perplexity",
}

# How far a number of right answers may lie from a whole one for rounding.
_WHOLE = 1e-6
_FUNCTION = re.compile(r"\s*def (\w+)\(")
_USUAL_METRICS = ("acc", "exact_match", "f1", "acc_norm")


def lm_eval_runs(files: Iterable[Path], problems: list[Problem]) -> list[Run]:
    """Read results files of lm-eval.

    Args:
        files: Candidates; those that are JSON of another kind are reported and left out.
        problems: Receives what was found wrong.
    """
    runs = []
    for path in files:
        try:
            content: Any = load_json(path)
        except (OSError, ValueError) as error:
            problems.append(Problem(path, f"cannot be read ({error}); left out"))
            continue
        if not isinstance(content, dict) or not isinstance(content.get("results"), dict):
            problems.append(Problem(path, "is no results file of lm-eval; left out"))
            continue
        tables = HarnessTables(path, content)
        tasks = tables.tasks()
        missing = [name for name in tasks if name not in tables.sample_files]
        if missing:
            problems.append(
                Problem(path, f"no samples beside it for {', '.join(missing)}: scores only, no comparison")
            )
        runs.append(Run(_model_name(content), path.stem, path, "lm_eval", _manifest(content), tables))
    return runs


@dataclass(frozen=True)
class HarnessTables:
    """Tables of one results file, in the columns of medbench's own runs."""

    path: Path
    content: Mapping[str, Any]

    def tasks(self) -> list[str]:
        """Names of the tasks; groups are the other keys of the results."""
        groups = set(self.content.get("groups") or {})
        return [name for name in self.content["results"] if name not in groups]

    @cached_property
    def sample_files(self) -> dict[str, Path]:
        """The samples file of each task that has one."""
        date = self.path.stem.removeprefix("results_")
        named = ((name, self.path.parent / f"samples_{name}_{date}.jsonl") for name in self.tasks())
        return {name: path for name, path in named if path.exists()}

    def scores(self) -> pa.Table:
        """A row per task, metric and filter."""
        rows = []
        groups = self.content.get("groups") or {}
        for task, values in {**self.content["results"], **groups}.items():
            main = _main_key(task, values, self.content)
            for key, value in values.items():
                metric, _, chain = key.partition(",")
                if not chain or metric.endswith("_stderr") or not isinstance(value, Real):
                    continue
                rows.append(self._score_row(task, task in groups, metric, chain, float(value), key == main))
        return pa.Table.from_pylist(rows, schema=SCORES)

    def sample_columns(self) -> list[str]:
        """All columns that medbench's own runs have, and those of the metrics."""
        return list(self._documents.column_names)

    def samples(self, columns: Sequence[str] | None, tasks: Sequence[str] | None) -> pa.Table:
        """A row per task and document, of each task's first filter."""
        table = self._documents
        if tasks is not None:
            table = table.filter(compute.is_in(table.column("task"), pa.array(tasks, pa.string())))
        return table if columns is None else table.select([c for c in columns if c in table.column_names])

    @cached_property
    def _documents(self) -> pa.Table:
        """All documents; text files cannot be read in parts, so they are read once."""
        parts = [
            _samples_table(
                name,
                path,
                _main_key(name, self.content["results"][name], self.content),
                (self.content.get("configs") or {}).get(name) or {},
            )
            for name, path in self.sample_files.items()
        ]
        return pa.concat_tables([SAMPLES.empty_table(), *parts], promote_options="permissive")

    def routing(self, tasks: Sequence[str] | None, most: int | None = None) -> None:
        """lm-eval records no routing."""
        return

    def _score_row(
        self, task: str, group: bool, metric: str, chain: str, value: float, main: bool
    ) -> dict[str, Any]:
        content = self.content
        values = content["results"].get(task) or content["groups"][task]
        error = values.get(f"{metric}_stderr,{chain}")
        n = (content.get("n-samples") or {}).get(task, {}).get("effective") or values.get("sample_len") or 0
        low, high, method = _limits(value, float(error) if isinstance(error, Real) else math.nan, n)
        config = (content.get("configs") or {}).get(task) or {}
        metadata = config.get("metadata") or {}
        return {
            "task": task,
            "kind": "group" if group else "task",
            "metric": metric,
            "main": main,
            "value": value,
            "low": None if math.isnan(low) else low,
            "high": None if math.isnan(high) else high,
            "interval": method,
            "n": n,
            "aggregation": _aggregation(config, metric),
            "higher_is_better": (content.get("higher_is_better") or {}).get(task, {}).get(metric),
            "filter": chain,
            "num_fewshot": (content.get("n-shot") or {}).get(task),
            "protocol": metadata.get("protocol"),
            "language": metadata.get("language"),
            "family": metadata.get("family"),
            "version": str((content.get("versions") or {}).get(task, "")),
            "dataset": metadata.get("dataset") or config.get("dataset_path"),
            "data_source": None,
            "members": (content.get("group_subtasks") or {}).get(task) if group else None,
        }


def _limits(value: float, error: float, n: int) -> tuple[float, float, str]:
    """Limits of a score from its standard error, by the methods that medbench's own runs take.

    Args:
        value: The score.
        error: Its standard error, as lm-eval wrote it; NaN for none.
        n: Documents.

    Returns:
        Lower and upper limit, NaN where there are none, and the method.
    """
    if math.isnan(error) or n < 2:
        return math.nan, math.nan, "none"
    share = 0 <= value <= 1
    right = value * n
    if share and abs(right - round(right)) < _WHOLE:
        # Right and wrong answers have this very error; hardly anything else does.
        binomial = math.sqrt(value * (1 - value) / (n - 1))
        if math.isclose(error, binomial, rel_tol=_WHOLE, abs_tol=1e-12):
            return *wilson_interval(round(right), n), "wilson"
    if error == 0:
        return agreeing_interval(value, n, (0.0, 1.0) if share else None)
    reach = error * float(special.stdtrit(n - 1, 0.975))
    return value - reach, value + reach, "t"


def _samples_table(task: str, path: Path, main: str | None, config: Mapping[str, Any]) -> pa.Table:
    with path.open(encoding="utf-8") as lines:
        samples = [json.loads(line) for line in lines if line.strip()]
    chain = main.partition(",")[2] if main else (samples[0].get("filter") if samples else None)
    samples = [sample for sample in samples if sample.get("filter", chain) == chain]
    # What only all documents together are scored by says nothing of how right one of them is.
    plain = main is not None and _aggregation(config, main.partition(",")[0]) not in CORPUS_AGGREGATIONS
    rows = [_sample_row(task, sample, main if plain else None) for sample in samples]
    columns = {field.name: pa.array([row[field.name] for row in rows], field.type) for field in SAMPLES}
    said = [annotations_of(sample.get("doc")) for sample in samples]
    for name in dict.fromkeys(name for texts in said for name in texts):
        columns[name] = pa.array([texts.get(name) for texts in said], pa.string())
    for metric in samples[0].get("metrics", ()) if samples else ():
        kind, column = column_of([sample.get(metric) for sample in samples], _aggregation(config, metric))
        columns[value_column(kind, metric)] = column
    return pa.table(columns)


def _sample_row(task: str, sample: Mapping[str, Any], main: str | None) -> dict[str, Any]:
    doc = sample.get("doc")
    fields = doc if isinstance(doc, dict) else {}
    document = str(fields.get("id", sample.get("doc_id")))
    arguments = sample.get("arguments") or {}
    requests = list(arguments.values()) if isinstance(arguments, dict) else list(arguments)
    first = requests[0] if requests else {}
    prompt = first.get("arg_0") if isinstance(first, dict) else first[0]
    responses = sample.get("filtered_resps") or []
    scored = [r for r in responses if isinstance(r, list) and len(r) == 2 and _number(r[0]) is not None]
    target = sample.get("target")
    row: dict[str, Any] = dict.fromkeys(SAMPLES.names)
    row |= {
        "task": task,
        "doc_id": sample.get("doc_id"),
        "document": document,
        "cluster": str(fields.get("cluster") or document),
        "doc_hash": sample.get("doc_hash"),
        "prompt_hash": sample.get("prompt_hash"),
        "target_hash": sample.get("target_hash"),
        "prompt": str(prompt) if prompt is not None else None,
        "target": target if isinstance(target, str) else json.dumps(target, ensure_ascii=False),
        "score": _number(sample.get(main.partition(",")[0])) if main else None,
        "filter": sample.get("filter"),
    }
    if responses and len(scored) == len(responses) == len(requests):
        choices = [str(r.get("arg_1") if isinstance(r, dict) else r[1]).strip() for r in requests]
        logprobs = [float(r[0]) for r in scored]
        chosen = choices[int(np.argmax(logprobs))]
        row |= {"choices": choices, "choice_logprobs": logprobs, "response": chosen, "answer": chosen}
    elif responses:
        answer = str(responses[0])
        raw = sample.get("resps")
        while isinstance(raw, list) and raw:
            raw = raw[0]
        row |= {"response": raw if isinstance(raw, str) else answer, "answer": answer}
    return row


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, Real) else None


def _main_key(task: str, values: Mapping[str, Any], content: Mapping[str, Any]) -> str | None:
    """The ``metric,filter`` that stands for the task."""
    keys = [
        key
        for key, value in values.items()
        if "," in key and not key.partition(",")[0].endswith("_stderr") and isinstance(value, Real)
    ]
    config = (content.get("configs") or {}).get(task) or {}
    wanted = ((config.get("metadata") or {}).get("main_metric"), *_USUAL_METRICS)
    for metric in wanted:
        for key in keys:
            if key.partition(",")[0] == metric:
                return key
    return keys[0] if keys else None


def _aggregation(config: Mapping[str, Any], metric: str) -> str:
    """How lm-eval made a score: what the task names, else what it registers for the metric."""
    for entry in config.get("metric_list") or ():
        if isinstance(entry, dict) and str(entry.get("metric")) == metric and entry.get("aggregation"):
            named = str(entry["aggregation"])
            # A function is written out as its source; its score tells whether it is the known one.
            source = _FUNCTION.match(named)
            name = source.group(1) if source else named
            return name if name in AGGREGATIONS else f"custom:{name}"
    return _REGISTERED.get(metric, "mean")


def _model_name(content: Mapping[str, Any]) -> str:
    config = content.get("config") or {}
    arguments = config.get("model_args")
    named = arguments.get("pretrained") if isinstance(arguments, dict) else None
    return str(content.get("model_name") or named or config.get("model") or "unknown")


def _settings(content: Mapping[str, Any], config: Mapping[str, Any]) -> dict[str, Any]:
    """Settings under the names that medbench's own runs give them; those not written down are left out."""
    settings = {"limit": config.get("limit"), "seed": config.get("fewshot_seed", config.get("random_seed"))}
    if "chat_template" in content:
        settings["chat_template"] = bool(content["chat_template"])
    if "system_instruction" in content:
        settings["system_prompt"] = content["system_instruction"] or ""
    if config.get("model"):
        settings["engine"] = f"lm-eval {config['model']}"
    return settings


def _manifest(content: Mapping[str, Any]) -> dict[str, Any]:
    config = content.get("config") or {}
    date = content.get("date")
    started = (
        datetime.fromtimestamp(float(date), UTC).isoformat(timespec="seconds")
        if isinstance(date, Real)
        else None
    )
    seconds = content.get("total_evaluation_time_seconds")
    return {
        "status": "complete",
        "started": started,
        "seconds": float(seconds) if isinstance(seconds, (str, Real)) and str(seconds) else None,
        "model_definition": {"dtype": config.get("model_dtype"), "device": config.get("device")},
        "settings": _settings(content, config),
        "fingerprint": config.get("model_sha") or None,
        "attempts": [
            {
                "environment": {
                    "packages": {
                        "lm-eval": content.get("lm_eval_version"),
                        "transformers": content.get("transformers_version"),
                    }
                }
            }
        ],
    }
