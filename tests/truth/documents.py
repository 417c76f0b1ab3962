"""What a run folder holds of each document, judged again from the stored answers."""

from __future__ import annotations

import hashlib
import json
import math
import re
import sqlite3
from collections import Counter
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd
import pytest


@dataclass
class Judged:
    """A task of a run: for each metric a value for each document, in the order of the documents.

    Attributes:
        documents: Their names.
        clusters: Which belong together.
        values: Numbers, (tp, fp, fn) or (gold, predicted), by metric.
        answers: What each chose or wrote as its answer, where that is a matter of letters or labels.
        options: Log-probabilities of the options, where there are any.
        gold: Place of the right option.
        said: What the file says of each document beside the question, by column.
        trusted: Documents whose reading was taken from the run, because no simple rule reads them.
    """

    documents: list[str]
    clusters: list[str]
    values: dict[str, list[Any]] = field(default_factory=dict)
    answers: list[str] = field(default_factory=list)
    options: list[list[float]] = field(default_factory=list)
    gold: list[int] = field(default_factory=list)
    said: list[dict[str, str]] = field(default_factory=list)
    trusted: int = 0


def judged(run: Path) -> dict[str, Judged]:
    """Judge every task of a run from its stored answers, and hold `samples.parquet` to that."""
    manifest = json.loads((run / "run.json").read_text(encoding="utf-8"))
    stored = _answers(run)
    samples = pd.read_parquet(run / "samples.parquet")
    found = {}
    for path in sorted((run / "lm_eval").glob("samples_*.jsonl")):
        logged = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        task = path.name.removeprefix("samples_").rpartition("_")[0]
        rows = samples[samples["task"] == task].set_index("doc_id", drop=False)
        assert sorted(rows.index) == sorted(row["doc_id"] for row in logged)
        mine = _judge(task, logged, rows, stored, manifest["settings"]["seed"])
        _hold(task, rows.loc[[row["doc_id"] for row in logged]], mine)
        found[task] = mine
    assert set(found) == set(samples["task"].astype(str))
    return found


def _answers(run: Path) -> dict[str, dict[str, Any]]:
    address = f"{(run / 'responses.sqlite').resolve().as_uri()}?immutable=1"
    with closing(sqlite3.connect(address, uri=True)) as store:
        return {key: json.loads(text) for key, text in store.execute("SELECT key, answer FROM answers")}


def _judge(
    task: str, logged: list[dict[str, Any]], rows: Any, stored: dict[str, dict[str, Any]], seed: int
) -> Judged:
    mine = Judged([], [])
    for record in logged:
        doc, row = record["doc"], rows.loc[record["doc_id"]]
        asked = [list(arguments.values()) for arguments in record["arguments"].values()]
        kind = "generate_until" if isinstance(asked[0][1], dict) else "loglikelihood"
        keys = [_key(task, record["doc_id"], i, kind, arguments, seed) for i, arguments in enumerate(asked)]
        missing = [key for key in keys if key not in stored]
        assert not missing, (
            f"{task}, document {record['doc_id']}: no answer is stored for {len(missing)} requests"
        )
        answers = [stored[key] for key in keys]
        mine.documents.append(str(doc.get("id", record["doc_id"])))
        mine.clusters.append(str(doc.get("cluster") or mine.documents[-1]))
        told = {f"annotation.{name}": text for name, text in doc.get("annotations", {}).items()}
        mine.said.append(
            {name: text for name, text in (told | {"subject": doc.get("subject")}).items() if text}
        )
        if kind == "loglikelihood":
            values = _chosen(record, asked, answers, mine)
        elif doc.get("task_dataset"):
            values = _structured(doc, answers[0]["text"])
        elif "bleu_1" in record["metrics"]:
            values = _rationale(doc, answers[0])
        elif "letters" in doc:
            values = _lettered(doc, answers[0], row, mine)
        else:
            values = {"exact_match": float(record["filtered_resps"][0] == record["target"])}
        for metric, value in values.items():
            mine.values.setdefault(metric, []).append(value)
    return mine


def _key(task: str, document: int, index: int, kind: str, arguments: Sequence[Any], seed: int) -> str:
    """The name under which an answer is stored."""
    value = [task, document, index, 0, kind, list(arguments), seed]
    text = json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def _chosen(record: dict[str, Any], asked: Any, answers: Any, mine: Judged) -> dict[str, Any]:
    """The likeliest option, by the whole and by the mean over its characters."""
    options = [arguments[1].strip() for arguments in asked]
    logprobs = [answer["logprob"] for answer in answers]
    target = record["target"]
    gold = int(target) if str(target).isdigit() else options.index(str(target).strip())
    best = max(range(len(options)), key=lambda i: logprobs[i])
    by_length = max(range(len(options)), key=lambda i: logprobs[i] / len(options[i]))
    mine.answers.append(options[best])
    mine.options.append(logprobs)
    mine.gold.append(gold)
    return {"acc": float(best == gold), "acc_norm": float(by_length == gold)}


def _lettered(doc: dict[str, Any], answer: dict[str, Any], row: Any, mine: Judged) -> dict[str, Any]:
    """Letters that were written as such; what takes an understanding of texts is taken from the run."""
    text, second = answer["text"].strip(), str(answer.get("second_pass") or "").strip()
    plain_letters = "".join(doc["letters"])
    if second in doc["letters"]:
        read = second
    elif re.fullmatch(f"[{plain_letters}]+", text):
        read = "".join(sorted(set(text)))
    else:
        read, mine.trusted = str(row["answer"]), mine.trusted + 1
    mine.answers.append(read)
    return {
        "acc": float(bool(read) and set(read) == set(doc["answer"])),
        "extracted": float(bool(read)),
        "truncated": float(answer["truncated"]),
    }


# What CHIP-STS takes for the same answer.
_SAME = {"相同": "是的", "不同": "不是"}
# What an empty answer counts as there.
_NO_LABEL = {"CHIP-STS": "是的", "CHIP-CTC": "非上述类型"}
_LINE = re.compile(r"(.+?)实体：(.*)")


def _structured(doc: dict[str, Any], text: str) -> dict[str, Any]:
    """Records, labels or overlap, as the answers to PromptCBLUE are scored."""
    if doc["task_dataset"] == "CMeEE-V2":
        said, gold = (
            {
                (kind, name.strip())
                for kind, names in _LINE.findall(side)
                for name in names.split("，")
                if kind in doc["answer_choices"] and name.strip()  # other kinds were not asked for
            }
            for side in (text, doc["target"])
        )
        counts = (len(said & gold), len(said - gold), len(gold - said))
        return dict.fromkeys(("f1", "precision", "recall"), counts)
    if doc["task_type"] in ("cls", "matching", "nli"):
        metric = "weighted_f1" if doc["task_dataset"] == "CHIP-STS" else "macro_f1"
        right, label = (_SAME.get(side.strip(), side.strip()) for side in (doc["target"], text))
        return {metric: (right, label or _NO_LABEL[doc["task_dataset"]])}
    return _overlap(list(_letters(text)), list(_letters(doc["target"])), distinct=True)


def _letters(text: str) -> list[str]:
    """Chinese characters and marks one by one, words and numbers whole."""
    return re.findall(r"[a-z0-9]+|[^\sa-z0-9]", text.lower())


def _rationale(doc: dict[str, Any], answer: dict[str, Any]) -> dict[str, Any]:
    said, gold = (re.findall("[a-z0-9]+", text.lower()) for text in (answer["text"], doc["rationale"]))
    words = [_letters(text) for text in (answer["text"], doc["rationale"])]
    common = sum((Counter(words[0]) & Counter(words[1])).values())
    short = math.exp(min(0.0, 1 - len(words[1]) / len(words[0])))
    bleu = short * common / len(words[0])
    return _overlap(said, gold) | {"bleu_1": bleu, "truncated": float(answer["truncated"])}


def _overlap(said: list[str], gold: list[str], *, distinct: bool = False) -> dict[str, float]:
    """F-measures of pairs of words, and of the longest text that stands in both."""
    found = {}
    for n, name in ((1, "rouge_1"), (2, "rouge_2")):
        parts = [Counter(zip(*(side[i:] for i in range(n)), strict=False)) for side in (said, gold)]
        if distinct:
            parts = [Counter(set(part)) for part in parts]
        found[name] = _f(sum((parts[0] & parts[1]).values()), parts[0].total(), parts[1].total(), distinct)
    found["rouge_l"] = _f(_common(said, gold), len(said), len(gold), distinct)
    return found


def _f(both: int, said: int, gold: int, guarded: bool) -> float:
    if not both:
        return 0.0
    precision, recall = both / said, both / gold
    return 2 * precision * recall / (precision + recall + (1e-8 if guarded else 0.0))


def _common(one: list[str], two: list[str]) -> int:
    """Length of the longest common subsequence."""
    row = [0] * (len(two) + 1)
    for word in one:
        last = row
        row = [0]
        for i, other in enumerate(two):
            row.append(last[i] + 1 if word == other else max(row[i], last[i + 1]))
    return row[-1]


def _hold(task: str, rows: Any, mine: Judged) -> None:
    """Compare the table of documents with what was judged here, cell by cell."""
    assert rows["document"].tolist() == mine.documents
    assert rows["cluster"].tolist() == mine.clusters
    known = rows.dropna(axis="columns", how="all")
    for name in [str(name) for name in known.columns]:
        _, dot, metric = name.partition(".")
        if name == "subject" or name.startswith("annotation."):
            shown = [None if pd.isna(text) else text for text in known[name]]
            assert shown == [said.get(name) for said in mine.said], f"{task}, {name}"
        elif dot:
            for shown, value in zip(known[name], mine.values[metric], strict=True):
                expected = list(value) if isinstance(value, tuple) else pytest.approx(value, abs=1e-12)
                assert (list(shown) if isinstance(value, tuple) else shown) == expected, f"{task}, {name}"
    if mine.answers and "answer" in known:
        assert [text or "" for text in rows["answer"].fillna("")] == mine.answers, task
    for shown, logprobs in zip(rows["choice_logprobs"], mine.options, strict=False):
        assert list(shown) == logprobs, task
