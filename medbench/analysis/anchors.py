"""Published values with their provenance, to set own scores beside."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from functools import lru_cache
from os import PathLike
from pathlib import Path
from typing import Annotated, Any

import pandas as pd
from pydantic import Field

from medbench.common.strict import Name, Record, expecting, record_of
from medbench.common.suggest import nearest
from medbench.common.yaml_files import read_yaml
from medbench.errors import AnalysisError

_REGISTER = Path(__file__).with_name("anchors.yaml")


class _Written(Record):
    source: Name
    protocol: Name
    num_fewshot: int
    split: Name
    metric: Name
    scores: dict[str, dict[str, Annotated[float, Field(ge=0, le=100), expecting("a score in percent")]]]
    documents: dict[str, int] = Field(default_factory=dict)
    inferred: bool = False
    chat_template: bool | None = None
    note: str = ""


@dataclass(frozen=True)
class Anchor:
    """One published value and the conditions under which it came about.

    Attributes:
        model: Name as published.
        task: Task or group of ours that comes closest.
        value: The score, a share of 1.
        metric: What was measured.
        n: Documents; ``None`` where that is not known.
        inferred: Whether ``n`` follows from the printed values alone.
        split: Which documents.
        num_fewshot: Worked examples before each question.
        protocol: How answers were asked for and read.
        chat_template: Whether prompts went through one; ``None`` where that is not known.
        source: Repository, commit and file, or the publication.
        note: What else a reader should know.
    """

    model: str
    task: str
    value: float
    metric: str
    n: int | None
    inferred: bool
    split: str
    num_fewshot: int
    protocol: str
    chat_template: bool | None
    source: str
    note: str

    def differs(self, score: Mapping[Any, Any], chat_template: bool | None = None) -> list[str]:
        """What sets an own score apart from this value.

        Args:
            score: A row of ``runs.scores()``.
            chat_template: Whether the own prompts went through a template.

        Returns:
            A phrase per differing condition, the own one first. A condition that is not known on one side
            counts as differing, except the chat template.
        """
        found = []
        if self.n is None:
            found.append(f"{_whole(score['n'])} documents, there not stated")
        elif _whole(score["n"]) != self.n:
            found.append(f"{_whole(score['n'])} of {self.n} documents")
        if score.get("data_source") == "samples":
            found.append("bundled samples")
        shots = _whole(score.get("num_fewshot"))
        if shots != self.num_fewshot:
            found.append(f"{shots} examples, there {self.num_fewshot}")
        protocol = score.get("protocol")
        if protocol != self.protocol:
            found.append(f"protocol {protocol}, there {self.protocol}")
        if None not in (chat_template, self.chat_template) and chat_template != self.chat_template:
            found.append("chat template" if chat_template else "no chat template")
        return found


def read_anchors(path: Path = _REGISTER) -> list[Anchor]:
    """Read a register of published values; by default the one that is shipped.

    Raises:
        AnalysisError: The file cannot be read, or an entry lacks a condition or holds no scores.
    """
    return list(_read(path))


def of_tasks(anchors: Sequence[Anchor], tasks: Sequence[str] | None) -> list[Anchor]:
    """Those of some tasks.

    Args:
        anchors: Published values.
        tasks: Names of tasks and groups; ``None`` for all.

    Raises:
        AnalysisError: Nothing was published on one of them, as far as is known here.
    """
    if tasks is None:
        return list(anchors)
    known = list(dict.fromkeys(anchor.task for anchor in anchors))
    for task in tasks:
        if task not in known:
            close = nearest(task, known)
            raise AnalysisError(
                f"no published value of {task!r} is known",
                hint=f"did you mean {close}?" if close else "`medbench anchors` shows all there are",
            )
    return [anchor for anchor in anchors if anchor.task in tasks]


def anchors_frame(anchors: Sequence[Anchor]) -> pd.DataFrame:
    """A row per published value, with the fields of :class:`Anchor`."""
    return pd.DataFrame([asdict(anchor) for anchor in anchors], columns=[one.name for one in fields(Anchor)])


def as_published(anchors: Sequence[Anchor]) -> list[Published]:
    """The same as rows of a leaderboard, a model and source each, which say their conditions."""
    grouped: dict[tuple[str, str, str], dict[str, float]] = {}
    for anchor in anchors:
        condition = f"{anchor.num_fewshot}-shot, {anchor.protocol}, split: {anchor.split}"
        grouped.setdefault((anchor.model, anchor.source, condition), {})[anchor.task] = anchor.value
    return [
        Published(model, f"{source} ({condition})", scores)
        for (model, source, condition), scores in grouped.items()
    ]


def anchors_beside(
    scores: pd.DataFrame,
    anchors: Sequence[Anchor],
    templates: Mapping[tuple[str, str], bool | None] | None = None,
) -> pd.DataFrame:
    """Set own main scores beside the published values of the same task.

    Args:
        scores: ``runs.scores()``.
        anchors: Published values.
        templates: Whether the prompts of a run went through a chat template, by model and run id, since two
            models may have runs of one id.

    Returns:
        A row per own score and published value: ``model, run, task, value, n, published, published_value,
        differs`` (phrases joined by ``; ``; empty where every known condition agrees), ``source, note``.
    """
    main = scores[scores["main"].fillna(False).astype(bool) & scores["value"].notna()]
    by_task: dict[str, list[Anchor]] = {}
    for anchor in anchors:
        by_task.setdefault(anchor.task, []).append(anchor)
    rows = []
    for score in main.to_dict("records"):
        for anchor in by_task.get(str(score["task"]), []):
            template = (templates or {}).get((str(score["model"]), str(score["run"])))
            rows.append(
                {
                    "model": score["model"],
                    "run": score["run"],
                    "task": score["task"],
                    "value": score["value"],
                    "n": score["n"],
                    "published": anchor.model,
                    "published_value": anchor.value,
                    "differs": "; ".join(anchor.differs(score, template)),
                    "source": anchor.source,
                    "note": anchor.note,
                }
            )
    columns = ["model", "run", "task", "value", "n", "published", "published_value", "differs"]
    return pd.DataFrame(rows, columns=[*columns, "source", "note"])


@lru_cache(maxsize=4)
def _read(path: Path) -> tuple[Anchor, ...]:
    return tuple(
        Anchor(
            model=model,
            task=task,
            value=value / 100,
            n=written.documents.get(task),
            **written.model_dump(exclude={"scores", "documents"}),
        )
        for written in read_yaml(path, AnalysisError, list).records(_Written)
        for model, values in written.scores.items()
        for task, value in values.items()
    )


def _whole(value: Any) -> int | None:
    return None if value is None or pd.isna(value) else int(value)


@dataclass(frozen=True)
class Published:
    """Scores that someone else reported.

    Attributes:
        model: Name shown.
        source: Where they were published.
        scores: Task or group to score, on the scale of the runs (0 to 1).
    """

    model: Name
    source: Name
    scores: dict[
        str, Annotated[float, Field(ge=0, le=1), expecting("a share of 1", "divide percentages by 100")]
    ]


def read_published(path: str | PathLike[str]) -> list[Published]:
    """Read published scores from a YAML: a list of ``model``, ``source`` and ``scores``.

    Raises:
        AnalysisError: The file cannot be read, or an entry holds something else than a sourced score.
    """
    file = read_yaml(Path(path), AnalysisError, list)
    return [Published(**dict(entry)) for entry in file.records(record_of(Published))]
