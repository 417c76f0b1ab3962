"""Requests grouped for scoring: by context, by common prefix, and by the stretch of lengths they lie in."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from medbench.models.engines.native.packing import KeyValues
from medbench.models.engines.native.prefixes import find_prefixes

__all__ = ["Family", "ScoringPrefix", "group_requests"]

Tokens = tuple[int, ...]

# Continuations of one context behind each other need a mask of this many tokens squared at most.
_MAX_BRANCHES = 1024


@dataclass
class Family:
    """A context with its distinct continuations, and who asked for them.

    All its sequences lie in one stretch of lengths, which the model's rotary positions depend on.
    """

    context: Tokens
    stretch: int
    options: dict[Tokens, list[int]] = field(default_factory=dict)
    prefix: ScoringPrefix | None = None

    @property
    def past(self) -> int:
        """Tokens of the prefix."""
        return self.prefix.length if self.prefix else 0

    @property
    def branches(self) -> list[int]:
        """Tokens to feed of each continuation."""
        return [len(option) - 1 for option in self.options]

    @property
    def tokens(self) -> int:
        """Tokens to feed, but for the prefix."""
        return len(self.context) - self.past + sum(self.branches)

    def indices(self) -> Iterator[int]:
        """The requests it answers."""
        for asked in self.options.values():
            yield from asked


@dataclass(eq=False)
class ScoringPrefix:
    """A prefix of the contexts of several families; its store is filled when first needed."""

    tokens: Tokens
    waiting: int
    room: int
    store: KeyValues | None = None

    @property
    def length(self) -> int:
        """Its tokens."""
        return len(self.tokens)


def group_requests(
    requests: Sequence[tuple[Sequence[int], Sequence[int]]],
    stretch_of: Callable[[int], int],
    *,
    share_prefixes: bool,
) -> list[Family]:
    """Group requests by context, families with the same prefix next to each other.

    Args:
        requests: Contexts and continuations; those without a continuation are left out.
        stretch_of: The stretch of lengths that a sequence of so many tokens belongs to.
        share_prefixes: Whether prefixes are looked for.

    Returns:
        The families, those of a stretch together.
    """
    by_context: dict[tuple[int, Tokens], list[Family]] = {}
    for index, (context, continuation) in enumerate(requests):
        if not continuation:
            continue
        option = tuple(continuation)
        stretch = stretch_of(len(context) + len(option) - 1)
        families = by_context.setdefault((stretch, tuple(context)), [])
        known = next((family for family in families if option in family.options), None)
        if known is None:
            if not families or sum(families[-1].branches) + len(option) > _MAX_BRANCHES:
                families.append(Family(tuple(context), stretch))
            known = families[-1]
        known.options.setdefault(option, []).append(index)
    whole = [family for families in by_context.values() for family in families]
    parts = [
        [family for family in whole if family.stretch == stretch]
        for stretch in sorted({family.stretch for family in whole})
    ]
    return [family for part in parts for family in (_by_prefix(part) if share_prefixes else part)]


def _by_prefix(families: list[Family]) -> list[Family]:
    """Find the prefixes of families, and put those with the same prefix next to each other."""
    for shared in find_prefixes([family.context for family in families]):
        members = [families[member] for member in shared.members]
        prefix = ScoringPrefix(members[0].context[: shared.length], len(members), 0)
        for family in members:
            family.prefix = prefix
        prefix.room = max(family.tokens for family in members)
    first: dict[int, int] = {}
    for place, family in enumerate(families):
        first.setdefault(id(family.prefix), place)
    return sorted(families, key=lambda family: first[id(family.prefix)] if family.prefix else 0)
