"""Invariants of sums of router choices over tokens."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

# Weights and probabilities are summed in single precision.
_ROUNDING = 1e-3
# Traces keep a gate weight in steps of 1/255.
_GATE_STEP = 0.5 / 255

_WHOLE = ("tokens", "near_ties", "count", "top1", "coactive")
_OPTIONAL = ("entropy", "near_ties", "prob")

# Pairs of experts checked at once, since comparing copies them.
_BLOCK = 2**20

# A mask of the groups that break a rule, and a function that says what is wrong with one of them.
Check = tuple[Any, Callable[[int], str]]


@dataclass(frozen=True)
class RouterSums:
    """Sums over the tokens of G groups, of routers with up to E experts.

    Attributes:
        experts: [G] number of experts of the router.
        tokens: [G] tokens.
        entropy: [G] summed entropies; like ``near_ties`` and ``prob``, NaN throughout if not recorded.
        near_ties: [G] tokens with nearly tied ranks k and k + 1.
        count: [G, E] tokens that chose the expert.
        mass: [G, E] summed gate weights.
        top1: [G, E] tokens that ranked the expert first.
        prob: [G, E] summed probabilities.
        coactive: [G, E, E] tokens that chose both experts.
    """

    experts: NDArray[np.int64]
    tokens: NDArray[Any]
    entropy: NDArray[Any]
    near_ties: NDArray[Any]
    count: NDArray[Any]
    mass: NDArray[Any]
    top1: NDArray[Any]
    prob: NDArray[Any]
    coactive: NDArray[Any]


_FIELDS = tuple(field.name for field in fields(RouterSums))


class Violation(NamedTuple):
    """A group whose sums are inconsistent.

    Attributes:
        group: Index of the group.
        what: What is wrong with it.
    """

    group: int
    what: str


def find_violation(sums: RouterSums, top_k: int | None = None) -> Violation | None:
    """The first group that breaks an invariant, or ``None``.

    Each token chooses k different experts, with the same k for all tokens of a group, and ranks one of them
    first. Its gate weights add up to 1, and so do its probabilities.

    Args:
        sums: The sums.
        top_k: k, if known; by default any whole number up to E, which may differ between groups.
    """
    recorded = {name for name in _FIELDS if not _absent(name, getattr(sums, name))}
    step = max(1, _BLOCK // max(1, sums.count.shape[1] ** 2))
    for start in range(0, len(sums.tokens), step):
        block = RouterSums(*(getattr(sums, name)[start : start + step] for name in _FIELDS))
        for broken, what in _checks(block, recorded, top_k):
            if broken.any():
                group = int(np.argmax(broken))
                return Violation(start + group, what(group))
    return None


def _absent(name: str, values: NDArray[Any]) -> bool:
    return name in _OPTIONAL and bool(np.isnan(values).all())


def _checks(sums: RouterSums, recorded: set[str], known_k: int | None) -> Iterator[Check]:
    for name in _FIELDS[1:]:
        if name in recorded:
            yield _numbers(name, getattr(sums, name), sums.experts)
    tokens, count = sums.tokens, sums.count
    yield (
        (count > tokens[:, None]).any(axis=1),
        lambda g: f"of {tokens[g]:,.0f} tokens, {count[g].max():,.0f} choose one expert",
    )
    chosen = count.sum(axis=1)
    top_k = np.divide(chosen, tokens, out=np.zeros(len(tokens)), where=tokens > 0)
    wrong = top_k < 1 if known_k is None else top_k != known_k
    yield (
        (top_k != np.rint(top_k)) | (top_k > sums.experts) | (wrong & (tokens > 0)),
        lambda g: f"{tokens[g]:,.0f} tokens make {chosen[g]:,.0f} choices among {sums.experts[g]} experts",
    )
    first = sums.top1.sum(axis=1)
    yield (
        (first != tokens) | (sums.top1 > count).any(axis=1),
        lambda g: f"{tokens[g]:,.0f} tokens have {first[g]:,.0f} first choices, or one that was not chosen",
    )
    yield _gates(sums, top_k)
    yield from _distributions(sums, recorded)
    yield _pairs(sums, top_k)


def _numbers(name: str, values: NDArray[Any], experts: NDArray[np.int64]) -> Check:
    # The entropy of a certain router is 0, and rounding may make it slightly negative.
    bad = ~np.isfinite(values) | (values < (-_ROUNDING if name == "entropy" else 0))
    if name in _WHOLE:
        bad |= values != np.rint(values)
    if values.ndim > 1:
        beyond = np.arange(values.shape[1]) >= experts[:, None]
        bad |= (values != 0) & beyond.reshape(*beyond.shape, *(1,) * (values.ndim - 2))
    kind = "a number" if name in _WHOLE else "a sum"
    return bad.reshape(len(bad), -1).any(axis=1), lambda _: f"{name} is not {kind} of tokens"


def _gates(sums: RouterSums, top_k: NDArray[Any]) -> Check:
    mass = sums.mass.sum(axis=1)
    slack = sums.tokens * (_ROUNDING + top_k * _GATE_STEP)
    more = (sums.mass > sums.count * (1 + _ROUNDING + _GATE_STEP)).any(axis=1)
    return (
        (abs(mass - sums.tokens) > slack) | more,
        lambda g: (
            f"the gate weights of {sums.tokens[g]:,.0f} tokens add up to {mass[g]:,.5g}, or those of "
            "an expert to more than its tokens"
        ),
    )


def _distributions(sums: RouterSums, recorded: set[str]) -> Iterator[Check]:
    tokens, slack = sums.tokens, sums.tokens * _ROUNDING
    if "prob" in recorded:
        prob = sums.prob.sum(axis=1)
        yield (
            abs(prob - tokens) > slack,
            lambda g: f"the probabilities of {tokens[g]:,.0f} tokens add up to {prob[g]:,.5g}",
        )
    if "entropy" in recorded:
        most = tokens * np.log(sums.experts)
        yield (
            sums.entropy > most + slack,
            lambda g: f"the entropy {sums.entropy[g]:,.5g} is more than {tokens[g]:,.0f} tokens can have",
        )
    if "near_ties" in recorded:
        yield sums.near_ties > tokens, lambda g: f"{sums.near_ties[g]:,.0f} of {tokens[g]:,.0f} tokens tie"


def _pairs(sums: RouterSums, top_k: NDArray[Any]) -> Check:
    pairs, count = sums.coactive, sums.count
    broken = (pairs != pairs.transpose(0, 2, 1)).any(axis=(1, 2))
    broken |= (pairs.diagonal(axis1=1, axis2=2) != count).any(axis=1)
    broken |= (pairs > count[:, :, None]).any(axis=(1, 2))
    broken |= (pairs.sum(axis=2) != count * top_k[:, None]).any(axis=1)
    return broken, lambda _: "the experts chosen together do not fit the experts chosen"
