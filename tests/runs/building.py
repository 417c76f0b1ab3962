"""lm-eval tasks over rows written in a test."""

from __future__ import annotations

from typing import Any

from medbench.runs.askable import settle_documents
from medbench.runs.settings import RunSettings

__all__ = ["ABCD", "EXAM", "config_of", "exam", "make", "settle"]

EXAM: dict[str, Any] = {"doc_to_choice": "letters"}
ABCD = ["A", "B", "C", "D"]


def config_of(
    rows: list[dict[str, Any]], dev: list[dict[str, Any]] | None = None, **config: Any
) -> dict[str, Any]:
    """What a task over rows is made of; it asks for letters, and its target is `answer`, unless told else."""
    from datasets import Dataset

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
    return settings | config


def make(rows: list[dict[str, Any]], dev: list[dict[str, Any]] | None = None, **config: Any) -> Any:
    """An lm-eval task over rows, made of :func:`config_of`."""
    from lm_eval.api.task import ConfigurableTask

    return ConfigurableTask(config=config_of(rows, dev, **config))


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
