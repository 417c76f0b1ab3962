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

In a model that is a mixture of experts itself, the k experts keep their weights together: ``top1`` gives
all of them to the best, ``uniform`` deals them out evenly, ``average`` to all E. ``expert`` leaves it to
the router to weigh those that it then chooses, ``off`` leaves what every token passes, as shared experts.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, get_args

import torch
from torch import Tensor
from torch.nn import functional as F

from medbench.common.choices import ROUTED, SWEEPS
from medbench.errors import ModelError
from medbench.models.architecture.mixture import Mixture, Rule
from medbench.models.architecture.mixtures import mixtures_of
from medbench.models.routing.native_routers import Change, NativeRouter
from medbench.models.routing.router_finding import need_routers

if TYPE_CHECKING:
    from torch import nn

Form = Literal["expert", "top1", "uniform", "average", "off"]

FORMS: tuple[Form, ...] = get_args(Form)

_SPELLING = re.compile(
    r"(?P<form>[a-z0-9]+)(:(?P<experts>\d{1,4}(\+\d{1,4})*))?"
    rf"(@(?P<layer>\d{{1,4}})?\.?(?P<projection>{'|'.join(ROUTED)})?)?"
)


@dataclass(frozen=True)
class Ablation:
    """A change of routers.

    Attributes:
        form: What changes.
        experts: Which experts go; for ``expert`` only.
        layer: The layer concerned; ``None``: all.
        projection: The projection concerned, or ``mlp`` for whole blocks; ``None``: all.
    """

    form: Form
    experts: tuple[int, ...] = ()
    layer: int | None = None
    projection: str | None = None

    def __str__(self) -> str:
        """As :func:`parse_ablation` reads it: ``expert:0+1@2.gate``."""
        text = self.form + (":" + "+".join(map(str, self.experts)) if self.experts else "")
        place = ".".join(str(part) for part in (self.layer, self.projection) if part is not None)
        return f"{text}@{place}" if place else text

    def concerns(self, module: Mixture | NativeRouter) -> bool:
        """Whether the change applies to this router."""
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
    return Ablation(form, experts, layer, found["projection"] or None)


def sweep(model: nn.Module, where: str = "everywhere", forms: Sequence[Form] = FORMS[1:]) -> list[Ablation]:
    """Every expert knocked out in turn, and the other forms everywhere.

    Args:
        model: A model with mixtures.
        where: One of ``SWEEPS``: each knock-out in all linears, per layer, or per linear.
        forms: Other forms to add, each applied to the whole model.

    Raises:
        ModelError: There are no routers, or ``where`` is unknown.
    """
    if where not in SWEEPS:
        raise ModelError(f"unknown sweep {where!r}", hint=f"one of {', '.join(SWEEPS)}")
    routed = _routed(model)
    places: dict[tuple[int | None, str | None], int] = {}
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
    with ExitStack() as stack:
        # All changes are made out before any is put in place.
        for change in [_changed(module, ablation) for module in modules]:
            stack.enter_context(change)
        yield


def _routed(model: nn.Module, form: Form = "expert") -> Sequence[Mixture | NativeRouter]:
    # One expert has nothing to choose, but it can be switched off.
    least = 1 if form == "off" else 2
    modules = [module for module in mixtures_of(model) if module.num_experts >= least]
    return modules or [router for router in need_routers(model) if isinstance(router, NativeRouter)]


def _changed(module: Mixture | NativeRouter, ablation: Ablation) -> AbstractContextManager[None]:
    if isinstance(module, NativeRouter):
        return module.changed(_change(module, ablation))
    return _ruled(module, _rule(module, ablation), off=ablation.form == "off")


@contextmanager
def _ruled(module: Mixture, rule: Rule | None, *, off: bool) -> Iterator[None]:
    before = module.router, module.scaling
    module.router = rule
    if off:
        module.scaling = 0.0
    try:
        yield
    finally:
        module.router, module.scaling = before


def _rule(module: Mixture, ablation: Ablation) -> Rule | None:
    experts, k = module.num_experts, module.top_k
    if ablation.form == "off":
        return None
    if ablation.form == "top1":
        return lambda logits: _best(logits, 1)
    if ablation.form == "uniform":
        return lambda logits: _even(_best(logits, k)[0])
    if ablation.form == "average":
        return lambda logits: _even(torch.arange(experts, device=logits.device).expand(len(logits), experts))
    left = _left(experts, ablation)
    gone = list(ablation.experts)

    def without(logits: Tensor) -> tuple[Tensor, Tensor]:
        masked = logits.clone()
        masked[:, gone] = float("-inf")
        return module.nucleus(masked) if module.config.top_p else _best(masked, min(k, left))

    return without


def _left(experts: int, ablation: Ablation) -> int:
    """How many experts an ablation leaves.

    Raises:
        ModelError: It names one that is not there, or leaves none.
    """
    if max(ablation.experts) >= experts:
        raise ModelError(
            f"there is no expert {max(ablation.experts)}", where=str(ablation), hint=f"0 to {experts - 1}"
        )
    left = experts - len(ablation.experts)
    if not left:
        raise ModelError("no expert would be left", where=str(ablation), hint="use off for the base model")
    return left


def _change(router: NativeRouter, ablation: Ablation) -> Change:
    experts, k = router.num_experts, router.top_k
    if ablation.form == "off":
        return Change(outputs=lambda weights, choice: (torch.zeros_like(weights), choice))
    if ablation.form == "top1":
        return Change(outputs=_all_to_best)
    if ablation.form == "uniform":
        return Change(outputs=_all_alike)
    if ablation.form == "average":
        return Change(outputs=lambda weights, choice: _all_to_everyone(weights, choice, experts))
    left = min(_left(experts, ablation), router.reach - len(ablation.experts))
    if left < k:
        raise ModelError(
            f"fewer experts would be left than the {k} that a token needs",
            where=str(ablation),
            hint=f"take {router.reach - k} at most",
        )
    if not router.masks:
        raise ModelError(
            "this router cannot be kept from an expert: it chooses by a rule of its own",
            where=str(ablation),
            hint="top1, uniform, average and off can be had",
        )
    return Change(ablation.experts)


def _all_to_best(weights: Tensor, choice: Tensor) -> tuple[Tensor, Tensor]:
    best = weights.argmax(-1, keepdim=True)
    return torch.zeros_like(weights).scatter(-1, best, weights.sum(-1, keepdim=True)), choice


def _all_alike(weights: Tensor, choice: Tensor) -> tuple[Tensor, Tensor]:
    return weights.mean(-1, keepdim=True).expand_as(weights), choice


def _all_to_everyone(weights: Tensor, choice: Tensor, experts: int) -> tuple[Tensor, Tensor]:
    shape = (*choice.shape[:-1], experts)
    even = (weights.sum(-1, keepdim=True) / experts).expand(shape)
    return even, torch.arange(experts, device=choice.device, dtype=choice.dtype).expand(shape)


def _best(logits: Tensor, k: int) -> tuple[Tensor, Tensor]:
    best, choice = torch.topk(logits, k, dim=1)
    wide = torch.float64 if logits.dtype == torch.float64 else torch.float32
    return choice, F.softmax(best, dim=1, dtype=wide)


def _even(choice: Tensor) -> tuple[Tensor, Tensor]:
    return choice, torch.full(choice.shape, 1 / choice.shape[1], device=choice.device)
