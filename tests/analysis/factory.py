"""Run directories with made-up numbers, in the format that medbench writes."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from medbench.statistics import average_interval, interval

__all__ = ["FakeTask", "router_rows", "write_routing", "write_run"]

LETTERS = ["A", "B", "C", "D"]


@dataclass(frozen=True)
class FakeTask:
    """A task of a made-up run.

    Attributes:
        kind: ``choice`` (acc), ``extraction`` (micro-F1) or ``labels`` (macro-F1).
        skill: Chance that a document is right.
        verdicts: Which documents are right, instead of chance.
        said: What the file says of each document, by column of samples; taken in turn.
    """

    name: str
    kind: str = "choice"
    n: int = 40
    skill: float = 0.6
    language: str = "en"
    family: str = "exam"
    prompt: str = "Question {i} of {name}?"
    response: str | None = None
    clusters: int | None = None
    data_source: str = "folder"
    labels: tuple[str, ...] = ("相关", "不相关", "其他")
    verdicts: tuple[bool, ...] | None = None
    said: Mapping[str, Sequence[str | None]] = field(default_factory=dict)
    extra: Mapping[str, Any] = field(default_factory=dict)


def write_run(
    results: Path,
    model: str,
    tasks: Sequence[FakeTask],
    *,
    run: str = "20260101-000000-0123456789",
    seed: int = 0,
    groups: Mapping[str, Sequence[str]] | None = None,
    weighted: bool = False,
    routing: pa.Table | None = None,
    status: str = "complete",
    manifest: Mapping[str, Any] | None = None,
) -> Path:
    """Write a run directory below ``results`` and return it; ``weighted`` groups count documents."""
    folder = results / model.replace("/", "_") / run
    folder.mkdir(parents=True)
    rng = np.random.default_rng(seed)
    samples, scores = [], []
    for task in tasks:
        table, score = _task(task, rng)
        samples.append(table)
        scores.extend(score)
    for name, members in (groups or {}).items():
        scores.append(_group(name, members, scores, weighted))
    table = pa.concat_tables(samples, promote_options="default").unify_dictionaries()
    pq.write_table(table, folder / "samples.parquet", compression="zstd")
    pq.write_table(pa.Table.from_pylist(scores, schema=_SCORES), folder / "scores.parquet")
    if routing is not None:
        pq.write_table(routing, folder / "routing.parquet")
    fields = {
        "run_id": run,
        "medbench": "0",
        "model": model,
        "model_definition": {"model": model, "dtype": "float32", "device": "cpu", "layout": "adapter"},
        "fingerprint": hashlib.sha256(model.encode()).hexdigest(),
        "plan_hash": "0123456789",
        "settings": {"limit": None, "seed": 1234},
        "started": "2026-01-01T00:00:00+00:00",
        "ended": "2026-01-01T00:10:00+00:00",
        "seconds": 600.0,
        "documents": table.num_rows,
        "attempts": [{"environment": {"python": "3.11", "gpus": [], "packages": {"torch": "0.0"}}}],
        "tasks": {task.name: {"version": 1.0, "digest": "d"} for task in tasks},
        "data": {task.name: {"kind": task.data_source} for task in tasks},
        "failures": {},
        "status": status,
        **(manifest or {}),
    }
    (folder / "run.json").write_text(json.dumps(fields, ensure_ascii=False), encoding="utf-8")
    return folder


def write_routing(
    tasks: Sequence[str],
    *,
    layers: int = 3,
    experts: int = 4,
    top_k: int = 2,
    tokens: int = 400,
    documents: int = 0,
    seed: int = 0,
    lean: float = 1.0,
    phases: Sequence[str] = ("prompt", "generated"),
) -> pa.Table:
    """Router counts of simulated tokens; ``lean`` says how far tasks prefer experts of their own."""
    rng = np.random.default_rng(seed)
    rows: list[dict[str, Any]] = []
    for t, task in enumerate(tasks):
        for phase in phases:
            for layer in range(layers):
                for projection in ("gate", "up", "down"):
                    bias = np.zeros(experts)
                    bias[(t + layer) % experts] = lean
                    for document in range(documents) if documents else [-1]:
                        size = tokens // max(documents, 1)
                        logits = rng.normal(size=(size, experts)) + bias
                        rows.extend(router_rows(task, document, phase, layer, projection, logits, top_k))
    return pa.Table.from_pylist(rows, schema=ROUTING)


ROUTING = pa.schema(
    [
        ("task", pa.string()),
        ("document", pa.int32()),
        ("phase", pa.string()),
        ("layer", pa.int16()),
        ("projection", pa.string()),
        ("expert", pa.int16()),
        ("tokens", pa.int64()),
        ("count", pa.int64()),
        ("mass", pa.float64()),
        ("top1", pa.int64()),
        ("prob", pa.float64()),
        ("entropy", pa.float64()),
        ("near_ties", pa.int64()),
        ("coactive", pa.list_(pa.int64())),
    ]
)

_SCORES = pa.schema(
    [
        ("task", pa.string()),
        ("kind", pa.string()),
        ("metric", pa.string()),
        ("main", pa.bool_()),
        ("value", pa.float64()),
        ("low", pa.float64()),
        ("high", pa.float64()),
        ("interval", pa.string()),
        ("n", pa.int64()),
        ("aggregation", pa.string()),
        ("higher_is_better", pa.bool_()),
        ("filter", pa.string()),
        ("num_fewshot", pa.int64()),
        ("protocol", pa.string()),
        ("language", pa.string()),
        ("family", pa.string()),
        ("version", pa.string()),
        ("dataset", pa.string()),
        ("data_source", pa.string()),
        ("members", pa.list_(pa.string())),
    ]
)


def _task(task: FakeTask, rng: np.random.Generator) -> tuple[pa.Table, list[dict[str, Any]]]:
    right = rng.random(task.n) < task.skill if task.verdicts is None else np.array(task.verdicts)
    rows = [_sample(task, i, bool(right[i]), rng) for i in range(task.n)]
    clusters = [row["cluster"] for row in rows]
    if task.kind == "choice":
        metric, aggregation, values = "acc", "mean", right.astype(float).tolist()
        column, kind = f"metric.{metric}", pa.float64()
    elif task.kind == "extraction":
        metric, aggregation = "f1", "micro_f1"
        values = [[2, 0, 0] if ok else [1, 1, 1 + int(rng.integers(2))] for ok in right]
        column, kind = f"counts.{metric}", pa.list_(pa.int64())
    else:
        metric, aggregation = "macro_f1", "macro_f1"
        gold = [task.labels[i % len(task.labels)] for i in range(task.n)]
        wrong = [task.labels[(i + 1) % len(task.labels)] for i in range(task.n)]
        values = [[g, g if ok else w] for g, w, ok in zip(gold, wrong, right, strict=True)]
        column, kind = f"labels.{metric}", pa.list_(pa.string())
    for row, value in zip(rows, values, strict=True):
        row["score"] = value if isinstance(value, float) else None
    found = interval(values, aggregation, clusters, draws=200)
    table = pa.Table.from_pylist(rows, schema=_SAMPLES).append_column(column, pa.array(values, kind))
    for name, texts in task.said.items():
        said = [texts[i % len(texts)] for i in range(task.n)]
        table = table.append_column(name, pa.array(said, pa.string()))
    score = _score(task, metric, aggregation, found)
    return table, [score]


_SAMPLES = pa.schema(
    [
        ("task", pa.dictionary(pa.int32(), pa.string())),
        ("doc_id", pa.int32()),
        ("document", pa.string()),
        ("cluster", pa.string()),
        ("doc_hash", pa.string()),
        ("prompt_hash", pa.string()),
        ("target_hash", pa.string()),
        ("prompt", pa.string()),
        ("target", pa.string()),
        ("response", pa.string()),
        ("answer", pa.string()),
        ("choices", pa.list_(pa.string())),
        ("choice_logprobs", pa.list_(pa.float64())),
        ("first_pass", pa.string()),
        ("second_pass", pa.string()),
        ("truncated", pa.bool_()),
        ("score", pa.float64()),
        ("filter", pa.string()),
    ]
)


def _sample(task: FakeTask, i: int, right: bool, rng: np.random.Generator) -> dict[str, Any]:
    document = f"{task.name}-{i}"
    prompt = task.prompt.format(i=i, name=task.name)
    gold = i % len(LETTERS)
    row: dict[str, Any] = {
        "task": task.name,
        "doc_id": i,
        "document": document,
        "cluster": document if task.clusters is None else f"c{i % task.clusters}",
        "doc_hash": _digest(document),
        "prompt_hash": _digest(prompt),
        "target_hash": _digest(f"{document}{gold}"),
        "prompt": prompt,
        "target": LETTERS[gold],
        "filter": "none",
    }
    if task.kind == "choice":
        answer = LETTERS[gold if right else (gold + 1) % 4]
        logits = rng.normal(size=4)
        chosen = LETTERS.index(answer)
        logits[chosen] = logits.max() + rng.random()
        row |= {
            "choices": LETTERS,
            "choice_logprobs": (logits - np.log(np.exp(logits).sum())).tolist(),
            "response": task.response or answer,
            "answer": answer,
        }
    else:
        text = task.response or ("对的回答" if right else "错的回答")
        row |= {"response": text, "answer": text, "truncated": bool(i % 10 == 0)}
    return row


def _score(task: FakeTask, metric: str, aggregation: str, found: Any) -> dict[str, Any]:
    return {
        "task": task.name,
        "kind": "task",
        "metric": metric,
        "main": True,
        "value": found.value,
        "low": found.low,
        "high": found.high,
        "interval": found.method,
        "n": found.n,
        "aggregation": aggregation,
        "higher_is_better": True,
        "filter": "none",
        "num_fewshot": 0,
        "protocol": "letters" if task.kind == "choice" else "generate",
        "language": task.language,
        "family": task.family,
        "version": "1.0",
        "dataset": task.name,
        "data_source": task.data_source,
        "members": None,
        **task.extra,
    }


def _group(
    name: str, members: Sequence[str], scores: Sequence[Mapping[str, Any]], weighted: bool
) -> dict[str, Any]:
    from medbench.statistics import Interval

    rows = [row for row in scores if row["task"] in members]
    found = average_interval(
        [Interval(row["value"], row["low"], row["high"], row["interval"], row["n"]) for row in rows],
        [row["n"] for row in rows] if weighted else None,
    )
    return {
        **rows[0],
        "task": name,
        "kind": "group",
        "metric": "weighted_average" if weighted else "macro_average",
        "value": found.value,
        "low": found.low,
        "high": found.high,
        "interval": found.method,
        "n": found.n,
        "aggregation": "weighted" if weighted else "macro",
        "members": list(members),
        "language": None,
        "family": None,
        "protocol": None,
    }


def router_rows(
    task: str, document: int, phase: str, layer: int, projection: str, logits: Any, top_k: int = 2
) -> list[dict[str, Any]]:
    """What ``routing.parquet`` says of tokens whose router had these logits, ``[tokens, experts]``."""
    tokens, experts = logits.shape
    p = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    order = np.argsort(-p, axis=1)
    chosen = np.zeros_like(p, dtype=bool)
    np.put_along_axis(chosen, order[:, :top_k], True, axis=1)
    mass = np.where(chosen, p, 0)
    mass /= mass.sum(axis=1, keepdims=True)
    together = chosen.T.astype(int) @ chosen.astype(int)
    entropy = float(-(p * np.log(p)).sum())
    return [
        {
            "task": task,
            "document": document,
            "phase": phase,
            "layer": layer,
            "projection": projection,
            "expert": e,
            "tokens": tokens,
            "count": int(chosen[:, e].sum()),
            "mass": float(mass[:, e].sum()),
            "top1": int((order[:, 0] == e).sum()),
            "prob": float(p[:, e].sum()),
            "entropy": entropy,
            "near_ties": 0,
            "coactive": together[e].tolist(),
        }
        for e in range(experts)
    ]


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8")).hexdigest()
