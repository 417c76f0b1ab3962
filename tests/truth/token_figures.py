"""Figures of single tokens: classes, repetition, template and content, agreement of two checkpoints."""

from __future__ import annotations

import unicodedata
from collections import defaultdict
from itertools import pairwise
from math import comb
from typing import Any

import numpy as np

from tests.truth import plain
from tests.truth.ledger import UNKNOWN, rows_shown
from tests.truth.routing import DRAWS
from tests.truth.traces import Trace


def kind_of(trace: Trace, token: int) -> str:
    """The class of a token, by its first character that is no white space."""
    if token in trace.words["special"]:
        return "special"
    first = trace.words["texts"][str(token)].strip()[:1]
    if not first:
        return "space"
    category, name = unicodedata.category(first), unicodedata.name(first, "")
    if name.startswith("CJK") and category == "Lo":
        return "han"
    if "LATIN" in name and category[0] == "L":
        return "latin"
    return {"N": "digit", "P": "punctuation", "S": "punctuation"}.get(
        category[0] if first != "\N{REPLACEMENT CHARACTER}" else "", "other"
    )


def check_classes(trace: Trace, rows: list[dict[str, Any]], *, draws: int = 1_000) -> int:
    """Compare the rows of `routing tokens --json`."""
    shown = rows_shown("classes", rows, "layer", "projection", "expert", "class")
    owners = sorted({piece.owner for piece in trace.pieces})
    place = {owner: i for i, owner in enumerate(owners)}
    size: dict[str, Any] = defaultdict(lambda: np.zeros(len(owners)))
    served: dict[Any, Any] = defaultdict(lambda: np.zeros(len(owners)))
    for piece in trace.pieces:
        d = place[piece.owner]
        for t, token in enumerate(piece.tokens):
            kind = kind_of(trace, token)
            size[kind][d] += 1
            for r in range(len(trace.routers)):
                for expert in piece.chosen[r][t]:
                    served[kind, r, expert][d] += 1
    every = sum(size.values())
    w = np.vstack([np.ones(len(owners)), plain.weights(len(owners), draws=DRAWS)])
    for kind, mine in size.items():
        for r, (layer, projection) in enumerate(trace.routers):
            for expert in range(trace.experts):
                key = (layer, projection, expert, kind)
                whole = sum(served[other, r, expert] for other in size)
                rate = (w @ served[kind, r, expert]) / np.maximum(w @ mine, 1e-300)
                share = (w @ whole) / (w @ every)
                lift = np.divide(rate, share, out=np.full_like(rate, np.nan), where=share > 0)
                for prefix, values in (("", rate), ("lift_", lift)):
                    drawn = values[1:][~np.isnan(values[1:]) & (w[1:] @ mine > 0)]
                    low, high = plain.percentiles(drawn, draws) if len(drawn) else (UNKNOWN, UNKNOWN)
                    shown.number((*key, prefix.removesuffix("_") or "rate"), float(values[0]))
                    shown.number((*key, f"{prefix}low"), low)
                    shown.number((*key, f"{prefix}high"), high)
                shown.number((*key, "chance"), trace.top_k / trace.experts)
                shown.number((*key, "tokens"), float(mine.sum()))
                shown.number((*key, "documents"), int((mine > 0).sum()))
    return shown.closed()


def check_repetition(trace: Trace, rows: list[dict[str, Any]], *, draws: int = 1_000) -> int:
    """Compare the rows of `routing tokens --show repetition --json`."""
    shown = rows_shown("repetition", rows, "phase", "layer", "projection", "metric")
    k, experts = trace.top_k, trace.experts
    chances = {"any": 1 - comb(experts - k, k) / comb(experts, k), "top1": 1 / experts}
    for phase in ("prompt", "generated"):
        pieces = [piece for piece in trace.pieces if piece.phase == phase]
        owners = sorted({piece.owner for piece in pieces})
        w = np.vstack([np.ones(len(owners)), plain.weights(len(owners), draws=DRAWS)])
        for r, (layer, projection) in enumerate(trace.routers):
            sums = np.zeros((len(owners), 3))
            for piece in pieces:
                d = owners.index(piece.owner)
                for one, two in pairwise(piece.chosen[r]):
                    sums[d] += (bool(set(one) & set(two)), one[0] == two[0], 1)
            total = w @ sums
            for i, metric in enumerate(chances):
                key = (phase, layer, projection, metric)
                values = total[:, i] / np.where(total[:, 2] > 0, total[:, 2], np.nan)
                low, high = plain.percentiles(values[1:][~np.isnan(values[1:])], draws)
                shown.number((*key, "value"), float(values[0]))
                shown.number((*key, "low"), low)
                shown.number((*key, "high"), high)
                shown.number((*key, "chance"), chances[metric])
                shown.number((*key, "pairs"), float(sums[:, 2].sum()))
    return shown.closed()


def check_agreement(one: Trace, two: Trace, rows: list[dict[str, Any]], *, draws: int = 1_000) -> int:
    """Compare the rows of `routing agree --json`: the prompts of two checkpoints, token by token."""
    shown = rows_shown("agreement", rows, "layer", "projection")
    sides = [
        {piece.owner: piece for piece in trace.pieces if piece.phase == "prompt" and not piece.start}
        for trace in (one, two)
    ]
    assert sides[0].keys() == sides[1].keys()
    owners = sorted(sides[0])
    w = np.vstack([np.ones(len(owners)), plain.weights(len(owners), draws=DRAWS)])
    chance = one.top_k / one.experts
    for r, (layer, projection) in enumerate(one.routers):
        sums = np.array([_together(sides[0][owner], sides[1][owner], r, one.top_k) for owner in owners])
        total = w @ sums
        observed, top1 = total[:, 0] / total[:, 2], total[:, 1] / total[:, 2]
        kappa = (observed - chance) / (1 - chance)
        low, high = plain.percentiles(kappa[1:], draws)
        values = {"observed": observed[0], "kappa": kappa[0], "low": low, "high": high, "top1": top1[0]}
        values |= {"chance": chance, "top1_chance": 1 / one.experts}
        values |= {"tokens": sums[:, 2].sum(), "documents": len(owners)}
        for name, value in values.items():
            shown.number((layer, projection, name), value)
    return shown.closed()


def _together(one: Any, two: Any, router: int, top_k: int) -> tuple[float, int, int]:
    """Choices in common, equal first choices, and tokens of a prompt."""
    assert one.tokens == two.tokens
    pairs = list(zip(one.chosen[router], two.chosen[router], strict=True))
    common = sum(len(set(first) & set(second)) / top_k for first, second in pairs)
    return common, sum(first[0] == second[0] for first, second in pairs), len(pairs)
