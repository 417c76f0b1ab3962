"""The words of the template and the words of the question, told apart without the template.

What all prompts of a task have in common from their first token on, and from their last token back, is
*template*: the chat's marks, the system prompt, worked examples, the instruction. What lies between is
*content*. What a protocol appends for a second pass is template too. A task of one document says nothing.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from medbench.analysis.runs import Runs
from medbench.errors import AnalysisError
from medbench.runs.traces import Traces, run_traces

PARTS = ("template", "content", "generated")

Codes = NDArray[np.int64]


def token_parts(traces: Traces) -> Codes:
    """The part of every token: [T], a place in :data:`PARTS`, or -1 where a task has one prompt only.

    The borders are the same for all prompts of a task: the common start, and as much of the common end as the
    shortest prompt has left.
    """
    prompts: dict[str, list[int]] = defaultdict(list)
    for piece, (task, _) in enumerate(traces.documents):
        if traces.phases[piece] == 0 and traces.starts[piece] == 0:
            prompts[task].append(piece)
    ends = traces.offsets
    parts = np.full(len(traces.tokens), PARTS.index("template"))
    parts[np.repeat(traces.phases == 1, np.diff(ends))] = PARTS.index("generated")
    for pieces in prompts.values():
        if len({traces.documents[piece] for piece in pieces}) < 2:
            for piece in pieces:
                parts[ends[piece] : ends[piece + 1]] = -1
            continue
        texts = [traces.tokens[ends[piece] : ends[piece + 1]] for piece in pieces]
        shortest = min(map(len, texts))
        start = _common([text[:shortest] for text in texts])
        end = _common([text[::-1][: shortest - start] for text in texts])
        for piece in pieces:
            parts[ends[piece] + start : ends[piece + 1] - end] = PARTS.index("content")
    return parts


def part_routing(traces: Traces) -> pd.DataFrame:
    """Router counts with the parts as phases, for all that takes ``runs.routing()``.

    Returns:
        The columns of ``routing.parquet``, a row per document, part, layer, projection and expert. ``prob``,
        ``entropy`` and ``near_ties`` are NaN: a trace holds what was chosen, not what was weighed.

    Raises:
        AnalysisError: No task has two documents.
    """
    parts = token_parts(traces)
    pieces = np.repeat(np.arange(len(traces.documents)), np.diff(traces.offsets))
    number = {label: place for place, label in enumerate(dict.fromkeys(traces.documents))}
    document = np.array([number[label] for label in traces.documents], np.int64)[pieces]
    known = parts >= 0
    if not known.any():
        raise AnalysisError(
            "template and content cannot be told apart",
            where=traces.model,
            hint="trace two documents or more",
        )
    codes, group = np.unique((document * len(PARTS) + parts)[known], return_inverse=True)
    routers, experts, groups = len(traces.routers), traces.num_experts, len(codes)
    tokens = np.bincount(group, minlength=groups)
    shape = (groups, routers, experts)
    count, top1, mass = np.zeros(shape, np.int64), np.zeros(shape, np.int64), np.zeros(shape)
    together = np.zeros((*shape, experts), np.int64)
    for m in range(routers):
        choice = traces.choice[m, known].astype(np.int64)
        place = group[:, None] * experts + choice
        size = groups * experts
        count[:, m] = np.bincount(place.ravel(), minlength=size).reshape(groups, experts)
        top1[:, m] = np.bincount(place[:, 0], minlength=size).reshape(groups, experts)
        gate = traces.gate[m, known].ravel() / 255
        mass[:, m] = np.bincount(place.ravel(), gate, size).reshape(groups, experts)
        pairs = (place[:, :, None] * experts + choice[:, None, :]).ravel()
        together[:, m] = np.bincount(pairs, minlength=size * experts).reshape(groups, experts, experts)
    labels = list(number)
    owners = [labels[code // len(PARTS)] for code in codes.tolist()]
    width = routers * experts
    return pd.DataFrame(
        {
            "task": np.repeat(np.array([task for task, _ in owners], object), width),
            "document": np.repeat(np.array([place for _, place in owners], np.int32), width),
            "phase": np.repeat(np.array(PARTS, object)[codes % len(PARTS)], width),
            "layer": np.tile(np.repeat([layer for layer, _ in traces.routers], experts), groups),
            "projection": np.tile(np.repeat([name for _, name in traces.routers], experts), groups),
            "expert": np.tile(np.arange(experts), groups * routers),
            "tokens": np.repeat(tokens, width),
            "count": count.ravel(),
            "mass": mass.ravel(),
            "top1": top1.ravel(),
            "prob": np.nan,
            "entropy": np.nan,
            "near_ties": np.nan,
            "coactive": list(together.reshape(-1, experts)),
        }
    )


def part_counts(runs: Runs) -> pd.DataFrame:
    """:func:`part_routing` of all runs, with their names, as ``runs.routing()`` has them.

    Raises:
        RunError: A run has no traces.
    """
    parts = [part_routing(run_traces(run.path)).assign(model=run.model, run=run.run) for run in runs]
    return pd.concat(parts, ignore_index=True)


def _common(texts: Sequence[NDArray[np.int32]]) -> int:
    """How many tokens texts have in common at their start; all are cut to the shortest first."""
    length = min(map(len, texts))
    stacked = np.stack([text[:length] for text in texts])
    different = np.flatnonzero((stacked != stacked[0]).any(axis=0))
    return int(different[0]) if len(different) else length
