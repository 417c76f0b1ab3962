"""What PEFT's ``adapter_config.json`` may say of the attention LoRA beside a mixture of experts."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from medbench.errors import ModelError

#: Keys that do not change ``W + scaling * B A``: notes, training, and what the caller reads itself.
READ_OR_UNUSED = frozenset(
    {
        "auto_mapping",
        "base_model_name_or_path",
        "fan_in_fan_out",
        "inference_mode",
        "lora_alpha",
        "lora_dropout",
        "megatron_core",
        "peft_version",
        "qalora_group_size",
        "r",
        "revision",
        "runtime_config",
        "target_modules",
        "use_rslora",
    }
)
# Values under which a key does not change it either. Any other key has to be off.
_ALLOWED: dict[str, tuple[Any, ...]] = {
    "bias": ("none",),
    # The others ("pissa", "olora", "loftq", …) make PEFT change the base's weights as it loads an adapter.
    "init_lora_weights": (True, False, "gaussian", "orthogonal"),
    "peft_type": ("LORA",),
    "task_type": ("CAUSAL_LM",),
}
_OFF: tuple[Any, ...] = (None, False, {}, [], "")


def check_lora(lora: Mapping[str, Any], where: str) -> None:
    """Demand that the attention LoRA is ``W + scaling * B A``, of one rank, at every target in every layer.

    Args:
        lora: Contents of ``adapter_config.json``.
        where: The file, for messages.

    Raises:
        ModelError: A key, known to medbench or not, asks for something else.
    """
    check_keys(lora, where, used=READ_OR_UNUSED, allowed=_ALLOWED)
    if lora.get("fan_in_fan_out"):
        raise ModelError(
            "fan_in_fan_out is true, which suits only layers that store their weight transposed",
            where=where,
            hint='the bases of MoLoRA checkpoints do not; set "fan_in_fan_out": false',
        )


def check_keys(
    values: Mapping[str, Any], where: str, *, used: Collection[str], allowed: Mapping[str, tuple[Any, ...]]
) -> None:
    """Refuse a configuration that asks for something else than what is computed.

    Args:
        values: Its keys.
        where: The file, for messages.
        used: Keys that are read, or that change nothing.
        allowed: Values, besides none, under which another key changes nothing. Any other key has to be off.

    Raises:
        ModelError: A key, known to medbench or not, asks for something else.
    """
    for key, value in values.items():
        harmless = (*allowed[key], None) if key in allowed else _OFF
        # `in` takes 0 and 1 for False and True.
        if key not in used and not any(value == one and type(value) is type(one) for one in harmless):
            raise ModelError(f"{key} is {value!r}, which medbench does not merge", where=where)


def lora_targets(lora: Mapping[str, Any], where: str) -> tuple[str, ...]:
    """Return the last names of the linears that carry attention LoRA, sorted.

    Raises:
        ModelError: ``target_modules`` is no list of names.
    """
    targets = lora.get("target_modules")
    if not isinstance(targets, list) or not all(isinstance(name, str) for name in targets):
        raise ModelError(f"target_modules is {targets!r}, expected a list of names", where=where)
    return tuple(sorted(set(targets)))
