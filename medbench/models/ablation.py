"""Routers and experts changed on purpose, to see what they are worth.

An :class:`Ablation` names a change and where it applies; :func:`ablated` applies it for as long as a block
runs. The forms:

========== =====================================================================================
``expert``  the named experts are never chosen: top-k and its softmax over the rest
``top1``    only the best expert, with weight 1
``uniform`` the k chosen experts with 1/k each: what the gate's weights add to the choice
``average`` all E experts with 1/E each: what choosing adds to having experts at all
``off``     no experts: the base model alone
========== =====================================================================================
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, get_args

import torch
from torch import Tensor
from torch.nn import functional as F

from medbench.errors import ModelError
from medbench.models.molora import MoLoRALinear, Router, molora_linears
from medbench.models.skeleton import Projection

if TYPE_CHECKING:
    from torch import nn

__all__ = ["FORMS", "SWEEPS", "Ablation", "ablated", "parse_ablation", "sweep"]

Form = Literal["expert", "top1", "uniform", "average", "off"]

FORMS: tuple[Form, ...] = get_args(Form)
#: Where the knock-outs of a sweep apply: everywhere, layer by layer, or linear by linear.
SWEEPS = ("everywhere", "layers", "linears")

_SPELLING = re.compile(
    r"(?P<form>[a-z0-9]+)(:(?P<experts>\d{1,4}(\+\d{1,4})*))?"
    r"(@(?P<layer>\d{1,4})?\.?(?P<projection>gate|up|down)?)?"
)


@dataclass(frozen=True)
class Ablation:
    """A change of routers.

    Attributes:
        form: What changes.
        experts: Which experts go; for ``expert`` only.
        layer: The layer concerned; ``None``: all.
        projection: The projection concerned; ``None``: all three.
    """

    form: Form
    experts: tuple[int, ...] = ()
    layer: int | None = None
    projection: Projection | None = None

    def __str__(self) -> str:
        """As :func:`parse_ablation` reads it: ``expert:0+1@2.gate``."""
        text = self.form + (":" + "+".join(map(str, self.experts)) if self.experts else "")
        place = ".".join(str(part) for part in (self.layer, self.projection) if part is not None)
        return f"{text}@{place}" if place else text

    def concerns(self, module: MoLoRALinear) -> bool:
        """Whether the change applies to this linear."""
        return self.layer in (None, module.layer) and self.projection in (None, module.projection)


def parse_ablation(text: str) -> Ablation:
    """Read ``top1``, ``off@2``, ``expert:3``, ``expert:0+1@2.gate``, ``uniform@down`` and the like.

    Raises:
        ModelError: The text says something else.
    """
    found = _SPELLING.fullmatch(text.strip())
    form = found["form"] if found else ""
    if found is None or form not in FORMS or (form == "expert") != bool(found["experts"]):
        raise ModelError(
            f"{text!r} names no ablation",
            hint=f"one of {', '.join(FORMS)}, such as expert:3, expert:0+1@2.gate, top1, off@2",
        )
    if text.strip().endswith(("@", ".")):
        raise ModelError(f"{text!r} does not say where", hint="@2, @gate or @2.gate, or nothing for all")
    experts = tuple(dict.fromkeys(int(part) for part in (found["experts"] or "").split("+") if part))
    layer = int(found["layer"]) if found["layer"] else None
    return Ablation(form, experts, layer, found["projection"] or None)  # type: ignore[arg-type]


def sweep(model: nn.Module, where: str = "everywhere", forms: Sequence[Form] = FORMS[1:]) -> list[Ablation]:
    """Every expert knocked out in turn, and the other forms everywhere.

    Args:
        model: A model with mixtures.
        where: One of :data:`SWEEPS`: each knock-out in all linears, per layer, or per linear.
        forms: Other forms to add, each applied to the whole model.

    Raises:
        ModelError: There are no routers, or ``where`` is unknown.
    """
    if where not in SWEEPS:
        raise ModelError(f"unknown sweep {where!r}", hint=f"one of {', '.join(SWEEPS)}")
    routed = _routed(model)
    places: dict[tuple[int | None, Projection | None], int] = {}
    for module in routed:
        place = {
            "everywhere": (None, None),
            "layers": (module.layer, None),
            "linears": (module.layer, module.projection),
        }[where]
        places[place] = max(places.get(place, 0), module.num_experts)
    knocked = [
        Ablation("expert", (expert,), layer, projection)
        for (layer, projection), experts in places.items()
        for expert in range(experts)
    ]
    return knocked + [Ablation(form) for form in forms if form != "expert"]


@contextmanager
def ablated(model: nn.Module, ablation: Ablation | None) -> Iterator[None]:
    """Change the routers of ``model`` for as long as the block runs; ``None`` changes nothing.

    Raises:
        ModelError: The model has no such expert, layer or projection, or none would be left to choose.
    """
    if ablation is None:
        yield
        return
    modules = [module for module in _routed(model, ablation.form) if ablation.concerns(module)]
    if not modules:
        raise ModelError(f"no router lies at {ablation}", hint="name a layer and projection of the model")
    routers = {module: _router(module, ablation) for module in modules}
    before = {module: (module.router, module.scaling) for module in modules}
    try:
        for module, router in routers.items():
            module.router = router
            if ablation.form == "off":
                module.scaling = 0.0
        yield
    finally:
        for module, (router, scaling) in before.items():
            module.router, module.scaling = router, scaling


def _routed(model: nn.Module, form: Form = "expert") -> list[MoLoRALinear]:
    # One expert has nothing to choose, but it can be switched off.
    least = 1 if form == "off" else 2
    modules = [module for module in molora_linears(model) if module.num_experts >= least]
    if not modules:
        raise ModelError("the model has no experts to change", hint="it takes a mixture of LoRA experts")
    return modules


def _router(module: MoLoRALinear, ablation: Ablation) -> Router | None:
    experts, k = module.num_experts, module.top_k
    if ablation.form == "off":
        return None
    if ablation.form == "top1":
        return lambda logits: _best(logits, 1)
    if ablation.form == "uniform":
        return lambda logits: _even(_best(logits, k)[0])
    if ablation.form == "average":
        return lambda logits: _even(torch.arange(experts, device=logits.device).expand(len(logits), experts))
    if max(ablation.experts) >= experts:
        raise ModelError(
            f"there is no expert {max(ablation.experts)}", where=str(ablation), hint=f"0 to {experts - 1}"
        )
    left = experts - len(ablation.experts)
    if not left:
        raise ModelError("no expert would be left", where=str(ablation), hint="use off for the base model")
    gone = list(ablation.experts)

    def without(logits: Tensor) -> tuple[Tensor, Tensor]:
        masked = logits.clone()
        masked[:, gone] = float("-inf")
        return _best(masked, min(k, left))

    return without


def _best(logits: Tensor, k: int) -> tuple[Tensor, Tensor]:
    best, choice = torch.topk(logits, k, dim=1)
    wide = torch.float64 if logits.dtype == torch.float64 else torch.float32
    return choice, F.softmax(best, dim=1, dtype=wide)


def _even(choice: Tensor) -> tuple[Tensor, Tensor]:
    return choice, torch.full(choice.shape, 1 / choice.shape[1], device=choice.device)
