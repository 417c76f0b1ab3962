"""Which kinds of tokens, and which items of the vocabulary, an expert serves more than it serves others."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from medbench.errors import AnalysisError
from medbench.runs.traces import PHASES, Traces
from medbench.statistics.resampling import bootstrap_totals

CLASSES = ("han", "latin", "digit", "punctuation", "space", "special", "other")

_LEVELS = [0.025, 0.975]
_FIGURES = ("rate", "low", "high", "lift", "lift_low", "lift_high")


def token_class(text: str, *, special: bool = False) -> str:
    """The class of a token, by its first character that is no white space.

    ``special`` are the marks of the tokenizer; ``other`` are other scripts and parts of characters.
    """
    if special:
        return "special"
    first = text.strip()[:1]
    if not first:
        return "space"
    if first == "\N{REPLACEMENT CHARACTER}":
        return "other"
    kind, name = unicodedata.category(first), unicodedata.name(first, "")
    if name.startswith("CJK") and kind == "Lo":
        return "han"
    if kind.startswith("L"):
        return "latin" if "LATIN" in name else "other"
    if kind.startswith("N"):
        return "digit"
    return "punctuation" if kind[0] in "PS" else "other"


def class_specialization(
    traces: Traces, *, phase: str | None = None, seed: int = 0, draws: int = 1_000
) -> pd.DataFrame:
    """How often the tokens of a class choose each expert, beside how often all tokens do.

    Args:
        traces: Traces that know the texts of their tokens.
        phase: Only ``prompt`` or ``generated`` tokens.
        seed: Seed of the bootstrap over documents.
        draws: Its draws.

    Returns:
        A row per layer, projection, expert and class that occurs: ``rate`` = n_{i,c} / T_c with ``low`` and
        ``high``, ``chance`` = k / E; ``lift`` = (n_{i,c} / T_c) / (n_i / T) with ``lift_low`` and
        ``lift_high``, whose chance is 1; ``tokens`` = T_c, ``documents`` that hold any.

    Raises:
        AnalysisError: There are no tokens, or their texts are unknown.
    """
    chosen = _phase(traces, phase)
    classes = _classes(chosen)
    experts, k = chosen.num_experts, chosen.choice.shape[2]
    document, documents = _documents(chosen)
    here = np.unique(classes)
    code = np.searchsorted(here, classes)
    size = np.zeros((documents, len(here)))
    np.add.at(size, (document, code), 1)
    labels = [(CLASSES[name], expert) for name in here for expert in range(experts)]
    facts = pd.DataFrame(labels, columns=["class", "expert"]).assign(
        chance=k / experts,
        tokens=np.repeat(size.sum(axis=0).astype(np.int64), experts),
        documents=np.repeat((size > 0).sum(axis=0), experts),
    )
    parts = []
    for (layer, projection), choice in _routers(chosen):
        place = (document * len(here) + code)[:, None] * experts + choice
        total = documents * len(here) * experts
        served = np.bincount(place.ravel(), minlength=total).reshape(documents, len(here), experts)
        overall = np.broadcast_to(served.sum(axis=1, keepdims=True), served.shape)
        lifts = _lifts(
            served.reshape(documents, -1),
            np.repeat(size, experts, axis=1),
            overall.reshape(documents, -1),
            size.sum(axis=1),
            seed,
            draws,
        )
        parts.append(pd.concat([facts, lifts], axis=1).assign(layer=layer, projection=projection))
    found = pd.concat(parts, ignore_index=True)
    return found[["layer", "projection", "expert", "class", *_FIGURES, "chance", "tokens", "documents"]]


def vocabulary_specialization(
    traces: Traces,
    *,
    top: int = 5,
    least: int = 20,
    least_documents: int = 5,
    phase: str | None = None,
    seed: int = 0,
    draws: int = 1_000,
) -> pd.DataFrame:
    """The items of the vocabulary that each expert serves most beyond its share.

    The intervals do not know that an item was picked for its lift: of many items, some lie high by luck.

    Args:
        traces: Traces that know the texts of their tokens.
        top: Items per expert.
        least: Tokens that an item has at least.
        least_documents: Documents that hold it at least.
        phase: Only ``prompt`` or ``generated`` tokens.
        seed: Seed of the bootstrap over documents.
        draws: Its draws.

    Returns:
        As :func:`class_specialization` with ``token``, ``text``, ``class``, ``rank`` (1 is the largest lift;
        of equal ones the more frequent first) and ``count`` = n_{i,v}; no rows if no item is frequent enough.

    Raises:
        AnalysisError: There are no tokens, or their texts are unknown; or less than one item is asked for.
    """
    if top < 1:
        raise AnalysisError(f"{top} items per expert cannot be shown", hint="ask for 1 or more")
    chosen = _phase(traces, phase)
    classes = _classes(chosen)
    experts, k = chosen.num_experts, chosen.choice.shape[2]
    document, documents = _documents(chosen)
    items, first, code, occurs = np.unique(
        chosen.tokens, return_index=True, return_inverse=True, return_counts=True
    )
    pairs = np.unique(code * np.int64(documents) + document)
    held = np.bincount(pairs // documents, minlength=len(items))
    frequent = np.flatnonzero((occurs >= least) & (held >= least_documents))
    every = np.bincount(document, minlength=documents)
    parts = []
    for (layer, projection), choice in _routers(chosen):
        flat = np.bincount((code[:, None] * experts + choice).ravel(), minlength=len(items) * experts)
        counts = flat.reshape(-1, experts)
        share = counts.sum(axis=0) / len(chosen.tokens)
        picked: list[dict[str, Any]] = []
        served, size = [], []
        for expert in np.flatnonzero(share).tolist():
            lift = counts[frequent, expert] / occurs[frequent] / share[expert]
            best = frequent[np.lexsort((-occurs[frequent], -lift))[:top]].tolist()
            for rank, item in enumerate(best, start=1):
                mine = np.flatnonzero(code == item)
                hits = mine[(choice[mine] == expert).any(axis=1)]
                size.append(np.bincount(document[mine], minlength=documents))
                served.append(np.bincount(document[hits], minlength=documents))
                token = int(items[item])
                picked.append(
                    {
                        "layer": layer,
                        "projection": projection,
                        "expert": expert,
                        "rank": rank,
                        "token": token,
                        "text": chosen.texts[token],
                        "class": CLASSES[classes[first[item]]],
                        "count": int(counts[item, expert]),
                        "chance": k / experts,
                        "tokens": int(occurs[item]),
                        "documents": int(held[item]),
                    }
                )
        if not picked:
            continue
        whole = np.bincount((document[:, None] * experts + choice).ravel(), minlength=documents * experts)
        overall = whole.reshape(documents, experts)[:, [row["expert"] for row in picked]]
        lifts = _lifts(np.column_stack(served), np.column_stack(size), overall, every, seed, draws)
        parts.append(pd.concat([pd.DataFrame(picked), lifts], axis=1))
    names = ["layer", "projection", "expert", "rank", "token", "text", "class", "count", *_FIGURES]
    names += ["chance", "tokens", "documents"]
    return pd.concat(parts, ignore_index=True)[names] if parts else pd.DataFrame(columns=names)


def _lifts(served: Any, size: Any, overall: Any, every: Any, seed: int, draws: int) -> pd.DataFrame:
    """Rates and lifts of X pairs of an expert and a group of tokens, with intervals over documents.

    Args:
        served: [D, X] tokens of the group that chose the expert.
        size: [D, X] tokens of the group.
        overall: [D, X] tokens that chose the expert.
        every: [D] tokens.
        seed: Seed of the bootstrap.
        draws: Its draws.
    """
    flat = np.column_stack([served, size, overall, every]).astype(np.float64)
    totals = np.vstack([flat.sum(axis=0), *bootstrap_totals(flat, seed=seed, draws=draws)])
    one, two, three = np.split(totals[:, :-1], 3, axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        rate = one / two
        lift = rate / (three / totals[:, -1:])
    columns: dict[str, Any] = {}
    for name, prefix, values in (("rate", "", rate), ("lift", "lift_", lift)):
        limits = np.full((2, values.shape[1]), np.nan)
        # A draw may miss a rare group; one document cannot be resampled.
        some = ~np.isnan(values[1:]).all(axis=0) & (len(flat) > 1)
        limits[:, some] = np.nanquantile(values[1:, some], _LEVELS, axis=0)
        columns |= {name: values[0], f"{prefix}low": limits[0], f"{prefix}high": limits[1]}
    return pd.DataFrame(columns)


def _phase(traces: Traces, phase: str | None) -> Traces:
    if phase is not None and phase not in PHASES:
        raise AnalysisError(f"there is no phase {phase!r}", hint=" or ".join(PHASES))
    chosen = traces if phase is None else traces.select(traces.phases == PHASES.index(phase))
    if not len(chosen.tokens):
        raise AnalysisError("there are no such tokens", where=traces.model)
    return chosen


def _classes(traces: Traces) -> NDArray[np.int64]:
    """The class of every token, as a place in :data:`CLASSES`."""
    items, code = np.unique(traces.tokens, return_inverse=True)
    unknown = [token for token in items.tolist() if token not in traces.texts]
    if unknown:
        raise AnalysisError(
            f"the texts of {len(unknown)} tokens are unknown",
            where=traces.model,
            hint="trace the model again",
        )
    kinds = [token_class(traces.texts[token], special=token in traces.special) for token in items.tolist()]
    return np.array([CLASSES.index(kind) for kind in kinds], np.int64)[code]


def _documents(traces: Traces) -> tuple[NDArray[np.int64], int]:
    """The number of every token's document, and how many documents there are."""
    number = {label: place for place, label in enumerate(dict.fromkeys(traces.documents))}
    owner = np.array([number[label] for label in traces.documents], np.int64)
    return np.repeat(owner, np.diff(traces.offsets)), len(number)


def _routers(traces: Traces) -> Iterator[tuple[tuple[int, str], NDArray[np.int64]]]:
    for router, choice in zip(traces.routers, traces.choice, strict=True):
        yield router, choice.astype(np.int64)
