"""What every router chose for every token of some texts."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from medbench.errors import ModelError
from medbench.models.forward import PackedModel
from medbench.models.molora import MoLoRALinear, molora_linears
from medbench.models.packing import Pack, Segment

if TYPE_CHECKING:
    from transformers import PreTrainedModel

__all__ = ["TokenChoices", "router_choices"]


class TokenChoices(NamedTuple):
    """The choices of M routers for the T tokens of one text.

    Attributes:
        choice: [M, T, k] experts, best first.
        gate: [M, T, k] their gate weights in units of 1/255.
    """

    choice: NDArray[np.uint8]
    gate: NDArray[np.uint8]


def router_choices(
    model: PreTrainedModel, texts: Iterable[Sequence[int]], *, max_batch_tokens: int = 8192
) -> Iterator[TokenChoices]:
    """Run texts through a model and yield the choices of its routers, text by text.

    Args:
        model: A model with routers; they come by layer, then gate, up, down.
        texts: Token ids, at least one each.
        max_batch_tokens: Tokens per forward; a longer text has one to itself.

    Raises:
        ModelError: The model has no routers, they differ in shape, or have more than 256 experts.
    """
    modules = [module for module in molora_linears(model) if module.num_experts > 1]
    shapes = {(module.num_experts, module.top_k) for module in modules}
    if len(shapes) != 1 or max(experts for experts, _ in shapes) > 256:
        raise ModelError("a trace needs routers of one shape, with 256 experts at most")
    packed = PackedModel(model)
    batch: list[Sequence[int]] = []
    for text in texts:
        if batch and sum(map(len, batch)) + len(text) > max_batch_tokens:
            yield from _run(packed, modules, batch)
            batch = []
        batch.append(text)
    if batch:
        yield from _run(packed, modules, batch)


@torch.inference_mode()
def _run(
    packed: PackedModel, modules: Sequence[MoLoRALinear], texts: Sequence[Sequence[int]]
) -> list[TokenChoices]:
    device = packed.device
    ids = torch.tensor([token for text in texts for token in text], device=device)
    positions = torch.cat([torch.arange(len(text), device=device) for text in texts])
    bounds = np.cumsum([0, *map(len, texts)]).tolist()
    segments = [Segment(start, stop, positions[start:stop]) for start, stop in pairwise(bounds)]
    seen: dict[MoLoRALinear, tuple[Tensor, Tensor]] = {}

    def observe(module: MoLoRALinear, _: Tensor, choice: Tensor, weights: Tensor) -> None:
        seen[module] = (choice.to(torch.uint8), (weights.float() * 255).round().to(torch.uint8))

    before = [module.observer for module in modules]
    try:
        for module in modules:
            module.observer = observe
        packed.hidden(ids, positions, Pack(segments))
    finally:
        for module, observer in zip(modules, before, strict=True):
            module.observer = observer
    choice, gate = (torch.stack([seen[module][i] for module in modules]).cpu().numpy() for i in (0, 1))
    return [TokenChoices(choice[:, start:stop], gate[:, start:stop]) for start, stop in pairwise(bounds)]
