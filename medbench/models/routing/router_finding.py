"""Which routers a model has, of either kind."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from medbench.errors import ModelError
from medbench.models.architecture.mixture import Mixture
from medbench.models.architecture.mixtures import mixtures_of
from medbench.models.routing.native_routers import native_routers, router_modules
from medbench.models.routing.routers import Observer, Router, RouterOutputs

if TYPE_CHECKING:
    from torch import nn

_BYTES = 256  # experts that a trace has numbers for


class MoLoRARouter(Router):
    """The router of a mixture of LoRA experts; see :class:`~medbench.models.routing.routers.Router`.

    Args:
        module: The mixture, of several experts.
    """

    def __init__(self, module: Mixture) -> None:
        super().__init__(
            module.layer,
            module.projection,
            module.num_experts,
            module.top_k,
            always_on=module.config.shared_experts,
        )
        self.module = module

    @property
    def device(self) -> torch.device:
        """Where its outputs lie."""
        return self.module.device

    @contextmanager
    def observed(self, observer: Observer) -> Iterator[None]:
        """Call the observer with the outputs of every forward, for as long as a block runs."""

        def see(_: Mixture, logits: Tensor, choice: Tensor, weights: Tensor) -> None:
            observer(self, RouterOutputs(logits, choice, weights))

        before = self.module.observer
        self.module.observer = see
        try:
            yield
        finally:
            self.module.observer = before


def routers_of(model: nn.Module) -> list[Router]:
    """The routers of a model that can be read, by layer, then gate, up, down; empty if there are none.

    Those of LoRA experts go before those of the architecture beneath them.
    """
    mixtures = [module for module in mixtures_of(model) if module.num_experts > 1]
    if mixtures:
        return [MoLoRARouter(module) for module in mixtures]
    return list(native_routers(model).routers)


def why_unread(model: nn.Module) -> str:
    """Why the routers that a model has cannot be read; empty if they can, or if it has none."""
    return "" if routers_of(model) else native_routers(model).why


def has_routers(model: nn.Module) -> bool:
    """Whether an architecture has routers of its own, by its modules alone: it may be without weights."""
    return bool(router_modules(model))


def need_routers(model: nn.Module, *, traced: bool = False) -> list[Router]:
    """The routers of a model.

    Args:
        model: The model.
        traced: Whether single tokens are to be traced.

    Raises:
        ModelError: There are none, they cannot be read, or they cannot be traced.
    """
    routers = routers_of(model)
    if not routers:
        why = why_unread(model)
        raise ModelError(
            f"the model's routers cannot be read: {why}" if why else "the model has no routers",
            where=type(model).__name__,
            hint="it takes a mixture of experts",
        )
    shapes = {(router.num_experts, router.top_k) for router in routers}
    if traced and (len(shapes) != 1 or max(experts for experts, _ in shapes) > _BYTES):
        raise ModelError(f"a trace needs routers of one shape, with {_BYTES} experts at most")
    return routers


def describe_routers(routers: Sequence[Router]) -> dict[str, Any]:
    """What a run says of its model's routers."""
    if not routers:
        return {}
    return {
        "routers": len(routers),
        "router_layers": list(dict.fromkeys(router.layer for router in routers)),
        "router_projections": list(dict.fromkeys(router.projection for router in routers)),
        "num_experts": routers[0].num_experts,
        "top_k": routers[0].top_k,
        "shared_experts": max(router.always_on for router in routers),
    }
