"""Mixtures of LoRA experts in models: putting them in, finding them, switching their arithmetic."""

from __future__ import annotations

from typing import get_args

from torch import nn

from medbench.common.choices import ROUTED
from medbench.errors import ModelError
from medbench.models.architecture.block import MoLoRABlock
from medbench.models.architecture.config import MoLoRAConfig
from medbench.models.architecture.fused import require_fused
from medbench.models.architecture.mixture import Impl, Mixture
from medbench.models.architecture.molora import MoLoRALinear
from medbench.models.architecture.skeleton import find_linears


def add_molora(model: nn.Module, config: MoLoRAConfig, impl: Impl = "stacked") -> list[Mixture]:
    """Put a mixture of experts in front of linears, or in place of MLPs, of every layer of a language model.

    Args:
        model: A transformers model whose MLPs have ``gate_proj``, ``up_proj`` and ``down_proj``; changed in
            place.
        config: Shape of the mixtures, and where they lie.
        impl: Form of the arithmetic.

    Returns:
        The new modules, by layer, then in the order of ``PROJECTIONS``.

    Raises:
        ModelError: The model has no such linears, or the form is unknown.
    """
    _known_impl(impl)
    added: dict[nn.Module, Mixture] = {}
    for place in find_linears(model, config.projections):
        if not config.block:
            linear = MoLoRALinear(
                place.linear, config, layer=place.layer, projection=place.projection, impl=impl
            )
            setattr(place.parent, f"{place.projection}_proj", linear)
            added[linear] = linear
        elif place.parent not in added:
            block = MoLoRABlock(place.parent, config, layer=place.layer, impl=impl)
            owner, _, name = place.name.rpartition(".")[0].rpartition(".")
            setattr(model.get_submodule(owner), name, block)
            added[place.parent] = block
    return list(added.values())


def mixtures_of(model: nn.Module) -> list[Mixture]:
    """Return the mixtures of a model, by layer, then by linear; empty for a plain model."""
    found = [module for module in model.modules() if isinstance(module, Mixture)]
    return sorted(found, key=lambda module: (module.layer, ROUTED.index(module.projection)))


def molora_linears(model: nn.Module) -> list[MoLoRALinear]:
    """Return the mixtures in front of linears, in the order of :func:`mixtures_of`."""
    return [module for module in mixtures_of(model) if isinstance(module, MoLoRALinear)]


def set_impl(model: nn.Module, impl: Impl) -> None:
    """Switch every mixture of a model to another form of the same arithmetic.

    Raises:
        ModelError: The form is unknown, or cannot run here; then nothing changes.
    """
    _known_impl(impl)
    mixtures = mixtures_of(model)
    if impl == "fused":
        for module in mixtures:
            part = next(iter(module.parts().values()))
            require_fused(part.device, part.dtype, module.config)
    for module in mixtures:
        module.impl = impl


def _known_impl(impl: str) -> None:
    if impl not in get_args(Impl):
        raise ModelError(f"unknown impl {impl!r}", hint=f"one of {', '.join(get_args(Impl))}")
