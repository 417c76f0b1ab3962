"""Rotary positions that depend on the length of a sequence.

longrope uses other angles once a sequence is longer than a switch (Phi-3, Phi-4-mini, MiniCPM). transformers
decides by the largest position of a whole forward, but a pack holds many sequences. So sequences are sorted
by *stretch*: the range of lengths between two switches. A forward takes sequences of one stretch only, and
the rotary modules get one more position of that stretch in addition to those of the pack.

Switches are found by calling the modules at every length in the configuration.
"""

from __future__ import annotations

import inspect
from bisect import bisect_left
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from medbench.errors import ModelError

if TYPE_CHECKING:
    from transformers import PreTrainedModel

_POSITIONS = 4  # number of positions whose angles are compared
LENGTH_KEYS = ("max_position", "n_positions", "max_seq", "original_max", "n_ctx")


def named_lengths(config: Mapping[str, Any], keys: tuple[str, ...] = LENGTH_KEYS) -> list[int]:
    """The lengths in a configuration, nested ones included, in tokens, ascending."""
    found: set[int] = set()
    for key, value in config.items():
        if isinstance(value, Mapping):
            found.update(named_lengths(value, keys))
        elif any(part in str(key) for part in keys) and isinstance(value, int) and value > 1:
            found.add(value)
    return sorted(found)


class RopeSwitches:
    """The lengths at which a model's rotary positions change.

    Args:
        model: Any model.
        max_length: The most tokens it takes, or ``None``.

    Raises:
        ModelError: The angles change at a length that is not in the configuration.

    Attributes:
        switches: Lengths, ascending: longer sequences use other angles.
    """

    def __init__(self, model: PreTrainedModel, max_length: int | None) -> None:
        rotary = [module for module in model.modules() if _is_rotary(module)]
        lengths = named_lengths(model.config.to_dict())
        longest = max_length or max(lengths, default=0)
        lengths = [length for length in lengths if length < longest]
        self._modules: list[nn.Module] = []
        found: set[int] = set()
        for module in rotary:
            own = {length for layer in _layer_types(module) for length in _switches(module, layer, lengths)}
            if any(_unsteady(module, layer, own, longest) for layer in _layer_types(module)):
                raise ModelError("rotary positions change at lengths that the configuration does not name")
            if own:
                self._modules.append(module)
                found |= own
        self.switches = tuple(sorted(found))

    def stretch(self, length: int) -> int:
        """The stretch of lengths that a sequence of so many tokens belongs to; 0 is the shortest."""
        return bisect_left(self.switches, length)

    @contextmanager
    def at(self, stretch: int) -> Iterator[None]:
        """Let rotary modules use the angles of a stretch; no position may lie beyond it."""
        if not stretch:
            yield
            return
        beside = self.switches[stretch - 1]  # the last position of a sequence one longer than the switch
        handles = [
            handle for module in self._modules for handle in (_tell_of(module, beside), _forget(module))
        ]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()


def _is_rotary(module: nn.Module) -> bool:
    """Whether a module does nothing but turn positions into angles."""
    if next(module.parameters(), None) is not None or next(module.children(), None) is not None:
        return False
    return "position_ids" in inspect.signature(module.forward).parameters


def _layer_types(module: nn.Module) -> list[str | None]:
    """The layer types that a rotary module distinguishes; ``[None]`` if none."""
    types = getattr(module, "rope_type", None)
    return list(types) if isinstance(types, Mapping) else [None]


def _angles(module: nn.Module, layer: str | None, length: int) -> list[Tensor]:
    """The angles of the first positions of a sequence of so many tokens."""
    buffer = next(module.buffers(), torch.zeros(0))
    positions = torch.tensor([[*range(_POSITIONS), length - 1]], device=buffer.device)
    like = torch.zeros(1, 1, 1, device=buffer.device)
    more = {} if layer is None else {"layer_type": layer}
    with torch.no_grad():
        given = module(like, position_ids=positions, **more)
    parts = given if isinstance(given, tuple) else (given,)
    return [part[:, :_POSITIONS].clone() for part in parts]


def _same(module: nn.Module, layer: str | None, one: int, other: int) -> bool:
    pairs = zip(_angles(module, layer, one), _angles(module, layer, other), strict=True)
    return all(torch.equal(a, b) for a, b in pairs)


def _switches(module: nn.Module, layer: str | None, lengths: list[int]) -> Iterator[int]:
    for length in lengths:
        try:
            same = _same(module, layer, length, length + 1)
        except (TypeError, ValueError, RuntimeError, IndexError, KeyError):
            return  # takes other arguments: it belongs to another part of the model, such as vision
        if not same:
            yield length


def _unsteady(module: nn.Module, layer: str | None, switches: set[int], longest: int) -> bool:
    """Whether angles change within a stretch."""
    bounds = [_POSITIONS, *sorted(switches), longest]
    try:
        return any(
            high > low + 1 and not _same(module, layer, low + 1, high) for low, high in pairwise(bounds)
        )
    except (TypeError, ValueError, RuntimeError, IndexError, KeyError):
        return False


def _tell_of(module: nn.Module, position: int) -> Any:
    return module.register_forward_pre_hook(partial(_append, position), with_kwargs=True)


def _append(
    position: int, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    del module
    positions = kwargs.get("position_ids", args[1] if len(args) > 1 else None)
    if positions is None:
        raise ModelError("a rotary module was given no positions")
    longer = torch.cat([positions, positions.new_full((*positions.shape[:-1], 1), position)], dim=-1)
    if "position_ids" in kwargs:
        return args, {**kwargs, "position_ids": longer}
    return (args[0], longer, *args[2:]), kwargs


def _forget(module: nn.Module) -> Any:
    return module.register_forward_hook(_drop_last)


def _drop_last(module: nn.Module, args: Any, output: Any) -> Any:
    del module, args
    if isinstance(output, tuple):
        return tuple(part[:, :-1] for part in output)
    return output[:, :-1]
