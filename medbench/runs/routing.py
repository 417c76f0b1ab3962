"""Router counts of a run: added up over its batches, and never written where they cannot be right."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from medbench.errors import ModelError
from medbench.models.routing.invariants import RouterSums, find_violation

if TYPE_CHECKING:
    from medbench.models import RoutingCounts
    from medbench.models.source import ModelSource
    from medbench.runs.store import ResponseStore

__all__ = [
    "RouterSums",
    "find_violation",
    "need_router_modules",
    "stored_routing",
    "total_routing",
    "warn_without_routers",
]

_LOG = logging.getLogger(__name__)


def stored_routing(store: ResponseStore) -> RoutingCounts | None:
    """The router counts of all stored batches; ``None``, with a warning, where they cannot be right.

    Scores do not depend on them.
    """
    try:
        return total_routing(store.routing())
    except ModelError as error:
        where = f" ({error.where})" if error.where else ""
        _LOG.warning("routing is left out: %s%s", error.what, where)
        return None


def warn_without_routers(source: ModelSource, say: Callable[[str], None]) -> None:
    """Say at once, and beside the scores, that single tokens are asked of a model that has no routers."""
    if not _has_router_modules(source):
        text = "the model has no routers: --routing tokens records nothing"
        say(text)
        _LOG.warning(text)


def need_router_modules(source: ModelSource) -> None:
    """Refuse a model without routers before its weights are read.

    Raises:
        ModelError: It has none.
    """
    if not _has_router_modules(source):
        raise ModelError(
            "the model has no routers", where=str(source.path), hint="it takes a mixture of experts"
        )


def _has_router_modules(source: ModelSource) -> bool:
    import torch

    from medbench.models.architecture.skeleton import build_skeleton
    from medbench.models.checkpoints.layouts import open_checkpoint
    from medbench.models.routing.router_finding import has_routers

    checkpoint = open_checkpoint(source)
    if checkpoint.molora is not None and checkpoint.molora.has_router:
        return True
    skeleton = build_skeleton(checkpoint.config, torch.float32, where=str(checkpoint.folder))
    return has_routers(skeleton.model)


def total_routing(batches: Iterable[RoutingCounts]) -> RoutingCounts | None:
    """Add up router counts by halves: one after the other would copy the sum of all for every batch.

    Raises:
        ModelError: The counts of a batch or their sum break what holds of all counts, or come from models
            with different routers.
    """
    parts: list[tuple[int, RoutingCounts]] = []
    for counts in batches:
        size = 1
        while parts and parts[-1][0] == size:
            size, counts = 2 * size, parts.pop()[1] + counts
        parts.append((size, counts))
    total = None
    while parts:
        counts = parts.pop()[1]
        total = counts if total is None else counts + total
    return None if total is None else total.checked()
