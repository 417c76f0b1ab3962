"""lm-eval tasks over rows written in a test."""

from __future__ import annotations

from typing import Any

from medbench.runs.askable import settle_documents
from medbench.runs.settings import RunSettings

__all__ = ["ABCD", "EXAM", "exam", "make", "settle"]

EXAM: dict[str, Any] = {"doc_to_choice": "letters"}
ABCD = ["A", "B", "C", "D"]


def make(rows: list[dict[str, Any]], dev: list[dict[str, Any]] | None = None, **config: Any) -> Any:
    """An lm-eval task over rows; of letters, with the column `answer` as target, unless told otherwise."""
    from datasets import Dataset
    from lm_eval.api.task import ConfigurableTask

    splits = {"test": Dataset.from_list(rows)} | ({"dev": Dataset.from_list(dev)} if dev else {})
    settings = {
        "task": "own",
        "custom_dataset": lambda **_: splits,
        "test_split": "test",
        "output_type": "multiple_choice",
        "doc_to_text": "{{question}}\nAnswer:",
        "doc_to_choice": ABCD,
        "doc_to_target": "answer",
        "metric_list": [{"metric": "acc", "aggregation": "mean", "higher_is_better": True}],
        **({"fewshot_split": "dev"} if dev else {}),
    }
    return ConfigurableTask(config=settings | config)


def exam(number: int, answer: str, *options: str) -> dict[str, Any]:
    texts = list(options or ("alpha", "beta", "gamma", "delta"))
    letters = list("ABCDEFGHIJ"[: len(texts)])
    return {
        "id": f"d{number}",
        "question": f"q{number}",
        "letters": letters,
        "options": texts,
        "answer": answer,
    }


def settle(task: Any, **settings: Any) -> list[Any]:
    settle_documents(task, RunSettings(**settings))
    return list(task.eval_docs)
