"""Tables of router counts: which columns they have, and which of their rows count the same tokens."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from medbench.errors import AnalysisError

#: What tells the groups of ``routing.parquet`` apart, the expert aside.
CELL_KEYS = ("model", "run", "task", "document", "phase", "layer", "projection")

PER_EXPERT = ("count", "mass", "top1", "prob")
PER_GROUP = ("tokens", "entropy", "near_ties")

#: What to try where counts cannot be right.
DAMAGED = "the run's routing.parquet is damaged or was changed; `medbench run --fresh` records anew"

_NAMES = ("model", "run", "task", "phase", "projection")
_PLACES = ("document", "layer", "expert")


class NotRecordedError(AnalysisError):
    """What an analysis of routing needs was not recorded; nothing is damaged."""


def recorded(frame: pd.DataFrame, phase: str | None = None) -> pd.DataFrame:
    """The rows of ``runs.routing()``, or those of one phase.

    Raises:
        NotRecordedError: There are none.
    """
    if frame.empty:
        raise NotRecordedError(
            "there is no routing to analyze", hint="only models with routers record any, unless --routing off"
        )
    if phase is None:
        return frame
    chosen = frame[frame["phase"] == phase]
    if chosen.empty:
        raise NotRecordedError(
            f"no routing of a phase {phase!r} was recorded",
            hint=f"there are {' and '.join(sorted(frame['phase'].astype(str).unique()))}",
        )
    return chosen


def place(key: Any) -> str:
    """Where a group of tokens belongs, for people: its run, and what of the run.

    Args:
        key: A row with the columns :data:`CELL_KEYS`, as far as it has them.
    """
    known = {name: key[name] for name in CELL_KEYS if name in key}
    run = "/".join(str(known[name]) for name in ("model", "run") if known.get(name))
    parts = [str(known[name]) for name in ("task",) if name in known]
    if known.get("document", -1) >= 0:
        parts.append(f"document {known['document']}")
    parts += [str(known[name]) for name in ("phase",) if name in known]
    parts += [f"layer {known[name]}" for name in ("layer",) if name in known]
    parts += [str(known[name]) for name in ("projection",) if name in known]
    return ": ".join(part for part in (run, ", ".join(parts)) if part)


def routing_table(frame: pd.DataFrame) -> pd.DataFrame:
    """The rows of ``runs.routing()``, with names of model and run in any case.

    Raises:
        AnalysisError: There are no rows, or a column is missing or holds something else than it should.
    """
    frame = recorded(frame)
    frame = frame.assign(**{name: "" for name in ("model", "run") if name not in frame})
    missing = {*CELL_KEYS, "expert", *PER_EXPERT, *PER_GROUP, "coactive"} - set(frame.columns)
    if missing:
        raise _damaged(f"it lacks the columns {', '.join(sorted(missing))}", frame)
    for name in (*_PLACES, *PER_EXPERT, *PER_GROUP):
        if not pd.api.types.is_numeric_dtype(frame[name]):
            raise _damaged(f"{name} holds no numbers", frame)
    for name in (*_NAMES, *_PLACES, "coactive"):
        if frame[name].isna().any():
            raise _damaged(f"{name} is missing in a row", frame)
    for name in _PLACES:
        values = frame[name].to_numpy()
        if (values < (-1 if name == "document" else 0)).any() or (values != np.rint(values)).any():
            raise _damaged(f"{name} is no number of anything", frame)
    return frame


def without_totals(frame: pd.DataFrame) -> pd.DataFrame:
    """Leave out the rows of all documents together (document -1) where single ones are there as well.

    Args:
        frame: A table as :func:`routing_table` gives it.

    Raises:
        AnalysisError: The single documents do not add up to all of them.
    """
    of_task = ["model", "run", "task"]
    detailed = frame.groupby(of_task, observed=True)["document"].transform("max") >= 0
    single = frame["document"] >= 0
    totals = frame[detailed & ~single]
    if len(totals):
        keys = [*of_task, "phase", "layer", "projection", "expert"]
        sums = [
            rows.groupby(keys, observed=True, sort=True)[["tokens", "count", "top1"]].sum()
            for rows in (frame[detailed & single], totals)
        ]
        together, whole = sums[0].align(sums[1], fill_value=0)
        different = (together != whole).any(axis=1)
        if different.any():
            key = dict(zip(keys, different.index[int(np.argmax(different))], strict=True))
            raise AnalysisError(
                "the routing of single documents does not add up to that of all documents",
                where=place(key),
                hint=DAMAGED,
            )
    return frame[~detailed | single]


def _damaged(what: str, frame: pd.DataFrame) -> AnalysisError:
    named = frame[["model", "run"]].astype(str).drop_duplicates().to_numpy().tolist()
    runs = ", ".join("/".join(filter(None, names)) for names in named)
    return AnalysisError(f"the routing table cannot be used: {what}", where=runs or None, hint=DAMAGED)
