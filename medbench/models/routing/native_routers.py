"""The routers of architectures that are mixtures of experts themselves.

transformers names the class of a model's routers (``_can_record_outputs``), and all but a few of these return
logits, gate weights and the experts chosen. What the three mean differs: weights may be softmax or sigmoid,
scaled or not; the choice may go by scores with a bias added, or be limited to groups of experts. So every
model is tried on a few tokens: its routers are read only where what they return can be told, and the scores
that a router ranks its experts by are those that it hands to ``topk``.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple, cast
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from medbench.models.architecture.memory import is_out_of_memory
from medbench.models.architecture.text_config import usable_tokens, vocabulary_of
from medbench.models.routing.router_watch import watched
from medbench.models.routing.routers import Observer, Router, RouterOutputs

if TYPE_CHECKING:
    from transformers import PreTrainedModel

#: Where a router lies whose experts are whole MLPs.
BLOCK = "mlp"

_TRIED = 8  # tokens that a model is tried on
# Names that blocks give to the experts that serve every token.
_SHARED = ("shared_experts", "shared_expert", "shared_mlp")
_SHARED_COUNTS = ("n_shared_experts", "num_shared_experts", "moe_num_shared_experts", "num_shared_expert")
# Largest difference between gate weights and what a score function makes of the logits.
_TOLERANCE = 0.02
_ALIKE = 1e-5

# What routers make of logits before they choose: by name, the logarithm of each expert's score.
_SCORES: dict[str, Callable[[Tensor], Tensor]] = {
    "softmax": lambda logits: logits,
    "sigmoid": lambda logits: F.logsigmoid(_wide(logits)),
    "sqrtsoftplus": lambda logits: F.softplus(_wide(logits)).log() / 2,
}


class _Raw(NamedTuple):
    """What a router returned, and the scores that it ranked its experts by, if it called ``topk``."""

    logits: Tensor
    weights: Tensor
    choice: Tensor
    ranking: Tensor | None


class Change(NamedTuple):
    """What a router is made to do instead.

    Attributes:
        gone: Experts that are never chosen.
        outputs: Makes other weights and choices, [N, k'] each, of the router's own.
    """

    gone: tuple[int, ...] = ()
    outputs: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]] | None = None


class NativeRouter(Router):
    """A router module of an architecture; see :class:`~medbench.models.routing.routers.Router`.

    Args:
        module: The module.
        name: Its qualified name.
        tried: What it returned for some tokens.
        always_on: As of the base class.

    Raises:
        ValueError: What it returned cannot be read.

    Attributes:
        scores: What it makes of logits: ``softmax``, ``sigmoid``, ``sqrtsoftplus``, or ``given`` if it
            returns probabilities.
        by_logits: Whether it ranks the experts by their logits alone.
        masks: Whether experts can be kept from its choice.
    """

    def __init__(self, module: nn.Module, name: str, tried: _Raw, always_on: int) -> None:
        place = re.search(r"\.(\d+)\.", f"{name}.")
        if place is None:
            raise ValueError(f"{name} lies in no layer")
        _check(tried)
        super().__init__(
            int(place[1]), BLOCK, tried.logits.shape[1], tried.choice.shape[1], always_on=always_on
        )
        self.module = module
        self.scores = _score_name(tried)
        self.by_logits = self._ranks_by_logits(tried)
        self.masks = tried.ranking is not None

    @property
    def device(self) -> torch.device:
        """Where its outputs lie."""
        return next(self.module.parameters()).device

    @property
    def reach(self) -> int:
        """Experts among which a token's choice is made at least: fewer than E where groups limit it."""
        groups, kept = (getattr(self.module, name, None) for name in ("num_group", "topk_group"))
        if not isinstance(groups, int) or not isinstance(kept, int) or groups < 1:
            return self.num_experts
        return min(kept, groups) * (self.num_experts // groups)

    @contextmanager
    def observed(self, observer: Observer) -> Iterator[None]:
        """Call the observer with the outputs of every forward, for as long as a block runs."""

        def see(result: Any, ranking: Tensor | None) -> Any:
            observer(self, self._outputs(_raw(result, ranking)))
            return result

        with watched(self.module, self.num_experts, self.top_k, see):
            yield

    @contextmanager
    def changed(self, change: Change) -> Iterator[None]:
        """Have it choose otherwise, for as long as a block runs."""

        def put(result: Any, _: Tensor | None) -> Any:
            if change.outputs is None:
                return result
            logits, weights, choice, *rest = result
            return (logits, *change.outputs(weights, choice), *rest)

        with watched(self.module, self.num_experts, self.top_k, put, change.gone):
            yield

    def _log_scores(self, logits: Tensor) -> Tensor:
        if self.scores == "given":
            return _wide(logits).clamp(min=1e-30).log()
        return _SCORES[self.scores](logits)

    def _outputs(self, raw: _Raw) -> RouterOutputs:
        weights = _wide(raw.weights)
        weights, order = weights.sort(dim=1, descending=True, stable=True)
        choice = raw.choice.gather(1, order)
        total = weights.sum(1, keepdim=True)
        # Weights that are all zero are shares of nothing.
        weights = torch.where(total > 0, weights / total, 1 / weights.shape[1])
        margin = None
        if not self.by_logits:
            margin = _margin(raw.logits if raw.ranking is None else raw.ranking, choice)
        return RouterOutputs(self._log_scores(raw.logits), choice, weights, margin)

    def _ranks_by_logits(self, tried: _Raw) -> bool:
        if tried.ranking is None:
            best = tried.logits.topk(self.top_k, dim=1).indices
            if not torch.equal(best.sort(1).values, tried.choice.sort(1).values):
                raise ValueError("it chooses by a rule of its own")
            return True
        ranking, logits = _wide(tried.ranking), _wide(tried.logits)
        same = [logits, logits.softmax(1), self._log_scores(logits).exp()]
        return any(bool((ranking - other).abs().max() <= _ALIKE) for other in same)


class NativeRouters(NamedTuple):
    """The routers of a model.

    Attributes:
        routers: By layer; none where there are none, or where they cannot be read.
        why: Why they cannot be read; empty if they can, or if there are none.
    """

    routers: tuple[NativeRouter, ...] = ()
    why: str = ""


_KNOWN: WeakKeyDictionary[nn.Module, NativeRouters] = WeakKeyDictionary()


def native_routers(model: nn.Module) -> NativeRouters:
    """Find the routers that a model's architecture has, by a forward of a few tokens the first time."""
    known = _KNOWN.get(model)
    if known is None:
        try:
            known = _KNOWN[model] = NativeRouters(_found(model))
        except ValueError as error:
            return NativeRouters(why=str(error))  # another number format or device may change that
    return known


def router_modules(model: nn.Module) -> dict[str, nn.Module]:
    """The modules that transformers calls a model's routers, by name."""
    classes: list[type[nn.Module]] = []
    for module in model.modules():
        recorded = getattr(module, "_can_record_outputs", None)
        routers = recorded.get("router_logits") if isinstance(recorded, dict) else None
        for entry in routers if isinstance(routers, list | tuple) else [routers]:
            target = getattr(entry, "target_class", entry)
            if isinstance(target, type):
                classes.append(target)
    kinds = tuple(dict.fromkeys(classes))
    return {name: module for name, module in model.named_modules() if kinds and isinstance(module, kinds)}


@torch.inference_mode()
def _found(model: nn.Module) -> tuple[NativeRouter, ...]:
    """The routers.

    Raises:
        ValueError: They cannot be read.
    """
    modules = router_modules(model)
    if not modules:
        return ()
    seen: dict[str, _Raw] = {}
    tokens = usable_tokens(cast("PreTrainedModel", model), vocabulary_of(cast("PreTrainedModel", model)))
    tokens = tokens[:_TRIED]
    with ExitStack() as stack:
        for name, module in modules.items():

            def see(result: Any, ranking: Tensor | None, name: str = name) -> Any:
                if name in seen:
                    raise ValueError("a router runs more than once in a forward")
                seen[name] = _raw(result, ranking)
                return result

            stack.enter_context(watched(module, None, None, see))
        _try(model, tokens)
    routers = []
    for name, raw in seen.items():
        if len(raw.logits) != len(tokens):
            raise ValueError("a router does not see every token once")
        experts = getattr(model.get_submodule(name.rpartition(".")[0]), "experts", None)
        held = getattr(experts, "num_experts", None)
        if isinstance(held, int) and held != raw.logits.shape[1]:
            raise ValueError("a router chooses among other things than experts")
        routers.append(NativeRouter(modules[name], name, raw, _always_on(model, name)))
    if not routers:
        raise ValueError("no router runs")
    if len({(router.num_experts, router.top_k) for router in routers}) > 1:
        raise ValueError("the routers differ in shape")
    if len({router.layer for router in routers}) < len(routers):
        raise ValueError("a layer has several routers")
    if len({router.by_logits for router in routers}) > 1:
        for router in routers:
            router.by_logits = False
    return tuple(sorted(routers, key=lambda router: router.layer))


def _try(model: nn.Module, tokens: Sequence[int]) -> None:
    more: dict[str, Any] = {}
    if "use_cache" in inspect.signature(model.forward).parameters:
        more["use_cache"] = False
    device = cast("Any", model).get_input_embeddings().weight.device
    try:
        model(input_ids=torch.tensor([list(tokens)], device=device), **more)
    except ValueError:
        raise
    except Exception as error:  # foreign code may raise anything
        if is_out_of_memory(error):
            raise
        lines = str(error).strip().splitlines()
        raise ValueError(f"they cannot be tried: {lines[0] if lines else error!r}") from error


def _always_on(model: nn.Module, name: str) -> int:
    block = name.rpartition(".")[0]
    around = [model.get_submodule(place) for place in (block, block.rpartition(".")[0])]
    if not any(isinstance(getattr(place, shared, None), nn.Module) for place in around for shared in _SHARED):
        return 0
    config = cast("Any", model).config.get_text_config()
    counts = (getattr(config, count, None) for count in _SHARED_COUNTS)
    return next((count for count in counts if isinstance(count, int) and count > 0), 1)


def _raw(result: Any, ranking: Tensor | None) -> _Raw:
    """What a router returned.

    Raises:
        ValueError: It is not logits, weights and choices.
    """
    if not isinstance(result, tuple) or len(result) < 3:
        raise ValueError("a router does not return logits, weights and choices")
    logits, weights, choice = result[:3]
    if not all(isinstance(part, Tensor) for part in (logits, weights, choice)):
        raise ValueError("a router does not return logits, weights and choices")
    logits, weights, choice = (part.reshape(-1, part.shape[-1]) for part in (logits, weights, choice))
    if ranking is not None:
        ranking = ranking.reshape(-1, ranking.shape[-1])
        ranking = ranking if ranking.shape == logits.shape else None
    return _Raw(logits, weights, choice, ranking)


def _check(tried: _Raw) -> None:
    logits, weights, choice, _ = tried
    tokens, experts = logits.shape
    if choice.is_floating_point() or choice.is_complex() or weights.shape != choice.shape:
        raise ValueError("a router does not return logits, weights and choices")
    if len(choice) != tokens or not 1 <= choice.shape[1] <= experts or experts < 2:
        raise ValueError("a router does not return weights and choices of every token")
    ordered = choice.sort(1).values
    if int(ordered.min()) < 0 or int(ordered.max()) >= experts:
        raise ValueError("a router chooses experts that it has no logits for")
    if bool((ordered[:, 1:] == ordered[:, :-1]).any()):
        raise ValueError("a router chooses an expert twice")
    if not bool(torch.isfinite(weights).all()) or bool((weights < 0).any()):
        raise ValueError("a router has weights that are no shares")


def _score_name(tried: _Raw) -> str:
    """What the weights show the router to make of its logits."""
    logits, weights = _wide(tried.logits), _wide(tried.weights)
    if bool((logits >= 0).all()) and bool(((logits.sum(1) - 1).abs() < _TOLERANCE).all()):
        return "given"
    share = weights / weights.sum(1, keepdim=True).clamp(min=1e-30)
    off: dict[str, float] = {}
    for name, scores in _SCORES.items():
        chosen = scores(logits).gather(1, tried.choice)
        if tried.choice.shape[1] > 1:
            off[name] = float((chosen.softmax(1) - share).abs().max())
        else:  # one weight is always the whole; what it is of tells
            score = logits.softmax(1).gather(1, tried.choice) if name == "softmax" else chosen.exp()
            off[name] = float((score - weights).abs().max())
    best = min(off, key=lambda name: off[name])
    return best if off[best] < _TOLERANCE else "softmax"


def _margin(ranking: Tensor, choice: Tensor) -> Tensor:
    wide = _wide(ranking)
    chosen = torch.zeros_like(wide, dtype=torch.bool).scatter(1, choice, value=True)
    worst = wide.gather(1, choice).amin(1, keepdim=True)
    return worst - wide.masked_fill(chosen, float("-inf")).amax(1, keepdim=True)


def _wide(values: Tensor) -> Tensor:
    return values if values.dtype == torch.float64 else values.float()
