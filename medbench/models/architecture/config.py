"""What a checkpoint says about its mixture of LoRA experts."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from medbench.common.choices import MLP_PROJECTIONS, PROJECTIONS, Projection
from medbench.errors import ModelError

# Keys of the authors' config.json that describe training or the experts. The base architecture knows none of
# them, and a `num_experts` left in its configuration makes other engines see a mixture of FFN experts.
AUTHORS_KEYS = frozenset(
    {
        "bias",
        "enable_router_loss",
        "expert_selection",
        "freeze_base_experts",
        "lora_alpha",
        "lora_dropout",
        "num_experts",
        "num_experts_per_token",
        "num_share_experts",
        "output_logit_bias",
        "r",
        "router_loss_coeff",
        "router_loss_mode",
        "share_expert",
        "use_lbl_loss",
        "use_rslora",
    }
)

# What the authors' loader assumes for checkpoints older than these keys.
_OLD_NUM_EXPERTS = 4
_OLD_TOP_K = 2

# What transformers notes about the folder a configuration was read from and about code outside it.
_PROVENANCE = frozenset({"_name_or_path", "auto_map", "transformers_version"})

# Two spellings of the same rule; the second is that of the authors' command line.
_TOP_K = ("top_k", "topk")

_MAX_EXPERTS = 1024
_MAX_RANK = 65536


@dataclass(frozen=True)
class MoLoRAConfig:
    """The shape of every mixture of LoRA experts in a model.

    The defaults are those of MING-MOE (arXiv 2404.09027): a router in front of each linear of the MLPs. With
    ``top_k`` equal to ``num_experts`` the gate is dense: a softmax over all experts.

    Args:
        num_experts: Experts among which a router chooses, E. With one expert there is no router.
        top_k: Experts that a token uses, k.
        rank: Rank r of every expert.
        alpha: LoRA's alpha.
        use_rslora: Scale by ``alpha / sqrt(r)`` (arXiv 2312.03732) instead of ``alpha / r``.
        router_bias: Whether the routers have a bias.
        shared_experts: Experts besides, of the same rank and scaling, that every token passes with weight 1.
        shared_a: Whether all experts of a linear share one A (HydraLoRA, arXiv 2404.19245).
        projections: The linears of a decoder layer that carry experts.
        block: Whether an expert is a whole MLP with its LoRAs, and one router chooses for the MLP (MixLoRA).
        top_p: Keep the likeliest experts, up to the first with which their probabilities exceed this, with
            these as weights; k is then E. 0: keep k.
        temperature: Divides those probabilities, if it is not 0.
        activation: The experts' activation; ``None``: the base's.

    Raises:
        ModelError: A value is out of range, or k exceeds E.
    """

    num_experts: int
    top_k: int
    rank: int
    alpha: float
    use_rslora: bool = False
    router_bias: bool = True
    shared_experts: int = 0
    shared_a: bool = False
    projections: tuple[Projection, ...] = MLP_PROJECTIONS
    block: bool = False
    top_p: float = 0.0
    temperature: float = 0.0
    activation: str | None = None

    def __post_init__(self) -> None:
        if not 1 <= self.num_experts <= _MAX_EXPERTS:
            raise ModelError(f"num_experts is {self.num_experts}, expected 1 to {_MAX_EXPERTS}")
        if not 1 <= self.top_k <= self.num_experts:
            raise ModelError(
                f"num_experts_per_token is {self.top_k}, expected 1 to num_experts ({self.num_experts})"
            )
        if not 1 <= self.rank <= _MAX_RANK:
            raise ModelError(f"the rank r is {self.rank}, expected 1 to {_MAX_RANK}")
        if not (math.isfinite(self.alpha) and self.alpha > 0):
            raise ModelError(f"lora_alpha is {self.alpha}, expected a positive number")
        if not 0 <= self.shared_experts <= _MAX_EXPERTS:
            raise ModelError(f"num_share_experts is {self.shared_experts}, expected 0 to {_MAX_EXPERTS}")
        if not self.projections or not set(self.projections) <= set(PROJECTIONS):
            raise ModelError(
                f"experts at {', '.join(self.projections) or 'no linear'}",
                hint=f"some of {', '.join(PROJECTIONS)}",
            )

        if self.block and not set(self.projections) <= set(MLP_PROJECTIONS):
            raise ModelError("experts that are whole MLPs have no LoRA in attention")
        if self.block and (self.router_bias or self.shared_experts or self.shared_a or not self.has_router):
            raise ModelError("experts that are whole MLPs have a router without bias, and nothing shared")
        if not 0 <= self.top_p <= 1 or not 0 <= self.temperature < math.inf:
            raise ModelError(f"top_p is {self.top_p}, temperature {self.temperature}: 0 to 1, and 0 or more")
        if self.top_p and (not self.block or self.top_k != self.num_experts):
            raise ModelError("top_p belongs to experts that are whole MLPs, with top_k equal to num_experts")

    @property
    def scaling(self) -> float:
        """The factor on every expert's output."""
        return self.alpha / (math.sqrt(self.rank) if self.use_rslora else self.rank)

    @property
    def has_router(self) -> bool:
        """Whether the linears choose among experts."""
        return self.num_experts > 1

    @property
    def dense(self) -> bool:
        """Whether every token uses all experts, so that its weights alone tell anything."""
        return self.has_router and self.top_k == self.num_experts

    @property
    def shared_rank(self) -> int:
        """Rank of the experts that every token passes, all together."""
        return self.rank * self.shared_experts

    def described(self) -> str:
        """The shape in words, such as ``one router per linear (gate, up, down), the best 2 of 8 experts``."""
        if not self.has_router:
            return f"one LoRA at each linear ({', '.join(self.projections)})"
        linears = ", ".join(self.projections)
        where = (
            f"one router per MLP, experts with LoRA at {linears}"
            if self.block
            else (f"one router per linear ({linears})")
        )
        if self.top_p:
            gate = f"the likeliest of {self.num_experts} experts up to {self.top_p:g}"
        elif self.dense:
            gate = f"all {self.num_experts} experts"
        else:
            gate = f"the best {self.top_k} of {self.num_experts} experts"
        shared = f", and {self.shared_experts} that every token passes" if self.shared_experts else ""
        return f"{where}, {gate}{', one A for all' if self.shared_a else ''}{shared}"

    @property
    def fusible(self) -> bool:
        """Whether the CUDA kernel computes such a mixture."""
        return not (self.shared_experts or self.shared_a or self.block)

    @classmethod
    def from_authors(
        cls, config: Mapping[str, Any], lora: Mapping[str, Any], *, where: str, lora_where: str
    ) -> MoLoRAConfig:
        """Read the keys that the authors' training code writes.

        Args:
            config: Contents of ``config.json``.
            lora: The mapping that holds ``r`` and ``lora_alpha``: ``adapter_config.json`` of an adapter,
                ``config.json`` itself of a merged checkpoint.
            where: The file of ``config``, for messages.
            lora_where: The file of ``lora``, for messages.

        Raises:
            ModelError: A value has the wrong type or range, or asks for arithmetic that medbench refuses.
        """
        _refuse_unsupported(config, where)
        shared = boolean(config, "share_expert", where) if config.get("share_expert") is not None else False
        num_experts = integer(config, "num_experts", where, default=_OLD_NUM_EXPERTS)
        top_k = integer(config, "num_experts_per_token", where, default=_OLD_TOP_K)
        return cls(
            num_experts=max(num_experts, 1),
            top_k=top_k if num_experts > 1 else 1,
            rank=integer(lora, "r", lora_where),
            alpha=number(lora, "lora_alpha", lora_where),
            use_rslora=_use_rslora(config, lora, where, lora_where),
            shared_experts=_shared_experts(config, where) if shared else 0,
        )

    @classmethod
    def from_converted(cls, values: Any, *, where: str) -> MoLoRAConfig:
        """Read the ``molora`` section of a converted checkpoint's ``config.json``.

        Raises:
            ModelError: A key is missing, unknown, or of the wrong type or range.
        """
        if not isinstance(values, Mapping):
            raise ModelError("the section `molora` is missing or is no mapping", where=where)
        known = {"molora_count", "molora_top_k", "molora_rank", "molora_alpha", "molora_use_rslora"}
        if unknown := sorted(set(values) - known - _FORM.keys()):
            raise ModelError(f"unknown keys in the section `molora`: {', '.join(unknown)}", where=where)
        form = {field: read(values, key, where) for key, (field, read) in _FORM.items() if key in values}
        return cls(
            num_experts=integer(values, "molora_count", where),
            top_k=integer(values, "molora_top_k", where),
            rank=integer(values, "molora_rank", where),
            alpha=number(values, "molora_alpha", where),
            use_rslora=boolean(values, "molora_use_rslora", where),
            **form,
        )

    def to_converted(self) -> dict[str, Any]:
        """Return the ``molora`` section of a converted checkpoint's ``config.json``."""
        return {
            "molora_count": self.num_experts,
            "molora_top_k": self.top_k,
            "molora_rank": self.rank,
            "molora_alpha": self.alpha,
            "molora_use_rslora": self.use_rslora,
            **{
                key: list(value) if isinstance(value, tuple) else value
                for key, (field, _) in _FORM.items()
                if (value := getattr(self, field)) != getattr(type(self), field)
            },
        }


def architecture(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a ``config.json`` says about the base architecture, without the experts and provenance."""
    return {key: value for key, value in config.items() if key not in AUTHORS_KEYS | _PROVENANCE}


def _refuse_unsupported(config: Mapping[str, Any], where: str) -> None:
    selection = config.get("expert_selection")
    if selection not in (None, *_TOP_K):
        reason = (
            "it draws experts at random, so that no two evaluations would agree"
            if selection == "sampling"
            else "medbench knows only top_k"
        )
        raise ModelError(
            f"expert_selection is {selection!r}: {reason}",
            where=where,
            hint='if it is meant to be evaluated with its best experts, set "expert_selection": "top_k"',
        )


def _shared_experts(config: Mapping[str, Any], where: str) -> int:
    shared = config.get("num_share_experts")
    if isinstance(shared, bool) or not isinstance(shared, int) or shared < 1:
        raise ModelError(
            f"share_expert is true, but num_share_experts is {shared!r}",
            where=where,
            hint='if it was trained without them after all, set "share_expert": false',
        )
    return shared


def _use_rslora(config: Mapping[str, Any], lora: Mapping[str, Any], where: str, lora_where: str) -> bool:
    """Both files may say it; where they contradict each other, neither is believed."""
    said = {
        name: boolean(values, "use_rslora", name)
        for name, values in ((where, config), (lora_where, lora))
        if values.get("use_rslora") is not None
    }
    if len(set(said.values())) > 1:
        raise ModelError(
            f"use_rslora is {said[where]} in {where} and {said[lora_where]} in {lora_where}",
            hint="correct the wrong one: it decides between the scalings alpha/sqrt(r) and alpha/r",
        )
    return next(iter(said.values()), False)


def integer(values: Mapping[str, Any], key: str, where: str, default: int | None = None) -> int:
    """A value that must be an integer."""
    value = values.get(key, default)
    if isinstance(value, bool) or not isinstance(value, int):
        raise ModelError(f"{key} is {value!r}, expected an integer", where=where)
    return value


def number(values: Mapping[str, Any], key: str, where: str) -> float:
    """A value that must be a number."""
    value = values.get(key)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ModelError(f"{key} is {value!r}, expected a number", where=where)
    return value


def boolean(values: Mapping[str, Any], key: str, where: str) -> bool:
    """A value that must be true or false."""
    value = values.get(key)
    if not isinstance(value, bool):
        raise ModelError(f"{key} is {value!r}, expected true or false", where=where)
    return value


def _projections(values: Mapping[str, Any], key: str, where: str) -> tuple[Projection, ...]:
    value = values.get(key)
    if not isinstance(value, list) or not all(name in PROJECTIONS for name in value):
        raise ModelError(
            f"{key} is {value!r}, expected a list of linears", where=where, hint=", ".join(PROJECTIONS)
        )
    return tuple(name for name in PROJECTIONS if name in value)


def _text(values: Mapping[str, Any], key: str, where: str) -> str:
    value = values.get(key)
    if not isinstance(value, str):
        raise ModelError(f"{key} is {value!r}, expected a name", where=where)
    return value


# What tells other mixtures from MING-MOE's: key of a converted checkpoint -> field, and how it is read.
# Written where it differs from the default only, so that older versions refuse what they do not compute.
_FORM: dict[str, tuple[str, Callable[[Mapping[str, Any], str, str], Any]]] = {
    "molora_router_bias": ("router_bias", boolean),
    "molora_shared_experts": ("shared_experts", integer),
    "molora_shared_a": ("shared_a", boolean),
    "molora_projections": ("projections", _projections),
    "molora_block": ("block", boolean),
    "molora_top_p": ("top_p", number),
    "molora_temperature": ("temperature", number),
    "molora_activation": ("activation", _text),
}
