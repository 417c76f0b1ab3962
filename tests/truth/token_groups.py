"""Template beside content, and the words that experts serve, from single tokens."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import numpy as np

from tests.truth import plain
from tests.truth.ledger import UNKNOWN, rows_shown
from tests.truth.routing import DRAWS, METRICS, figures, halves, mean_of_draws, resampled, similar, whole
from tests.truth.token_figures import kind_of
from tests.truth.traces import Counts, Owner, Trace


def parts(trace: Trace) -> dict[tuple[Owner, str], Any]:
    """Choices ``[R, E + 1]`` of the template, the content and what was generated, tokens last.

    What all prompts of a task have in common at either end is template, and so is what a second pass appends.
    """
    prompts: dict[str, list[Any]] = defaultdict(list)
    for piece in trace.pieces:
        if piece.phase == "prompt" and not piece.start:
            prompts[piece.owner[0]].append(piece)
    found: dict[tuple[Owner, str], Any] = {}
    for piece in trace.pieces:
        mine = prompts[piece.owner[0]]
        if len({other.owner for other in mine}) < 2:
            continue
        shortest = min(len(other.tokens) for other in mine)
        start = _common([other.tokens for other in mine], shortest)
        end = _common([other.tokens[::-1] for other in mine], shortest - start)
        for t in range(len(piece.tokens)):
            inside = start <= t < len(piece.tokens) - end and not piece.start
            part = "generated" if piece.phase == "generated" else "content" if inside else "template"
            sums = found.setdefault((piece.owner, part), np.zeros((len(trace.routers), trace.experts + 1)))
            for r in range(len(trace.routers)):
                for expert in piece.chosen[r][t]:
                    sums[r, expert] += 1
                sums[r, -1] += 1
    return found


def _common(texts: list[list[int]], most: int) -> int:
    length = 0
    while length < most and len({text[length] for text in texts}) == 1:
        length += 1
    return length


def counts_of_parts(trace: Trace) -> Counts:
    """The counts of :func:`parts`, the parts in the place of tasks; what a trace does not hold is unknown."""
    found = parts(trace)
    owners = sorted({owner for owner, _ in found})
    labels = sorted((part, owners.index(owner)) for owner, part in found)
    sums = np.stack([found[owners[document], part] for part, document in labels])
    missing = np.full(sums[..., :-1].shape, np.nan)
    return Counts(labels, sums[..., :-1], sums[:, 0, -1], missing, missing[..., 0], missing[..., 0])


def documents_of_part(trace: Trace, counts: Counts, part: str) -> Counts:
    """The counts of one part, under the names of the documents again."""
    owners = sorted({owner for owner, _ in parts(trace)})
    mine = counts.keep(lambda owner: owner[0] == part)
    mine.owners = [owners[document] for _, document in mine.owners]
    return mine


def check_parts(trace: Trace, found: dict[str, list[dict[str, Any]]], *, draws: int = 1_000) -> int:
    """Compare what `routing tokens --show parts --json` prints."""
    shown = rows_shown("parts", found["metrics"], "phase", "metric")
    counts = counts_of_parts(trace)
    names = sorted({part for part, _ in counts.owners})
    mine = {name: counts.keep(lambda owner, name=name: owner[0] == name) for name in names}  # type: ignore[misc]
    chance = {"load_entropy": 1.0, "token_entropy": np.log(trace.experts), "effective_experts": trace.experts}
    for name, part in mine.items():
        value, drawn = figures(*whole(part)), figures(*resampled(part))
        for metric in METRICS:
            key = (name, metric)
            known = not np.isnan(value[metric])
            low, high = plain.percentiles(drawn[metric], draws) if known else (UNKNOWN, UNKNOWN)
            if metric == "dead_experts":
                low, high = UNKNOWN, UNKNOWN
            shown.number((*key, "value"), float(value[metric]))
            shown.number((*key, "low"), low)
            shown.number((*key, "high"), high)
            shown.number((*key, "chance"), float(chance.get(metric, np.nan if metric == "near_ties" else 0)))
            shown.number((*key, "tokens"), float(part.tokens.sum()))
            shown.number((*key, "experts"), trace.experts)
            shown.number((*key, "top_k"), trace.top_k)
            shown.number((*key, "routers"), len(trace.routers))
            shown.number((*key, "documents"), len(part.owners))
    return shown.closed() + _check_alike(mine, found["similarity"])


def _check_alike(mine: dict[str, Counts], rows: list[dict[str, Any]], draws: int = 200) -> int:
    shown = rows_shown("parts", rows, "task", "other")
    names = list(mine)
    half = {name: mean_of_draws(halves(part.chosen), draws) for name, part in mine.items()}
    assert len(rows) == len(names) * (len(names) + 1) // 2
    for row in rows:
        one, two = (mine[row[side]] for side in ("task", "other"))
        drawn = [
            np.tensordot(plain.weights(len(part.owners), draws=DRAWS, seed=70 + i), part.chosen, axes=1)
            for i, part in enumerate((one, two))
        ]
        low, high = (UNKNOWN, UNKNOWN) if one is two else plain.percentiles(similar(*drawn), draws)
        key = (row["task"], row["other"])
        shown.number((*key, "similarity"), float(similar(one.chosen.sum(axis=0), two.chosen.sum(axis=0))))
        shown.number((*key, "low"), low)
        shown.number((*key, "high"), high)
        ends = [(half[key[0]][end] + half[key[1]][end]) / 2 for end in (0, 1)]
        shown.number((*key, "split_half"), type(half[key[0]])(*ends))
    return shown.closed()


def check_vocabulary(
    trace: Trace, rows: list[dict[str, Any]], *, top: int = 5, least: int = 20, draws: int = 1_000
) -> int:
    """Compare the rows of `routing tokens --show vocabulary --json`, and which words were picked."""
    shown = rows_shown("vocabulary", rows, "layer", "projection", "expert", "rank")
    owners = sorted({piece.owner for piece in trace.pieces})
    place = {owner: i for i, owner in enumerate(owners)}
    held: dict[int, Any] = defaultdict(lambda: np.zeros(len(owners)))
    served: dict[Any, Any] = defaultdict(lambda: np.zeros(len(owners)))
    every = np.zeros(len(owners))
    for piece in trace.pieces:
        d = place[piece.owner]
        for t, token in enumerate(piece.tokens):
            held[token][d] += 1
            every[d] += 1
            for r in range(len(trace.routers)):
                for expert in piece.chosen[r][t]:
                    served[r, expert, token][d] += 1
                    served[r, expert][d] += 1
    frequent = [token for token, mine in held.items() if mine.sum() >= least and (mine > 0).sum() >= 5]
    w = np.vstack([np.ones(len(owners)), plain.weights(len(owners), draws=DRAWS)])
    for row in rows:
        r, expert, token = trace.routers.index((row["layer"], row["projection"])), row["expert"], row["token"]
        key = (row["layer"], row["projection"], expert, row["rank"])

        def lift(token: int, r: int = r, expert: int = expert) -> float:
            return float(served[r, expert, token].sum() / held[token].sum())

        better = sum(lift(other) > lift(token) + 1e-12 for other in frequent)
        alike = sum(abs(lift(other) - lift(token)) <= 1e-12 for other in frequent)
        assert better < row["rank"] <= better + alike, key
        rate = (w @ served[r, expert, token]) / np.where(w @ held[token] > 0, w @ held[token], np.nan)
        lifts = rate / ((w @ served[r, expert]) / (w @ every))
        for prefix, values in (("", rate), ("lift_", lifts)):
            low, high = plain.percentiles(values[1:][~np.isnan(values[1:])], draws)
            shown.number((*key, prefix.removesuffix("_") or "rate"), float(values[0]))
            shown.number((*key, f"{prefix}low"), low)
            shown.number((*key, f"{prefix}high"), high)
        shown.number((*key, "count"), float(served[r, expert, token].sum()))
        shown.number((*key, "tokens"), float(held[token].sum()))
        shown.number((*key, "documents"), int((held[token] > 0).sum()))
        shown.number((*key, "chance"), trace.top_k / trace.experts)
        assert (row["text"], row["class"]) == (trace.words["texts"][str(token)], kind_of(trace, token))
    return shown.closed("token")
