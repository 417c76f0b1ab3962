"""The arguments of lm-eval's own ``hf`` model: carried out here in their way, or refused in words."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from medbench.errors import ModelError
from medbench.models.checkpoints.chat import AS_TEMPLATE_SAYS, Thinking
from medbench.scoring.reasoning import is_mark

# What asks for nothing, by argument; any other value is refused with these words.
_REFUSED: dict[str, tuple[tuple[Any, ...], str]] = {
    "autogptq": ((None, False), "quantized checkpoints are not loaded; medbench run has --quantization"),
    "backend": (("default", "causal"), "models here are causal ones"),
    "delta": ((None,), "delta weights are not added; give the sum as a checkpoint"),
    "gptqmodel": ((None, False), "quantized checkpoints are not loaded; medbench run has --quantization"),
    "max_cpu_memory": ((None,), "weights are not offloaded"),
    "max_memory_per_gpu": ((None,), "parallelize=True lays the model over all visible GPUs"),
    "mixed_precision_dtype": ((None,), "give dtype, in which everything is computed"),
    "offload_folder": ((None, "./offload"), "weights are not offloaded"),
    "softmax_dtype": (
        (None, "float32", "torch.float32"),
        "log-probabilities are computed in float32 at least",
    ),
    "tp_plan": ((None,), "parallelize=True lays the model over all visible GPUs, layer after layer"),
    "trust_remote_code": ((None, False), "no code of a checkpoint's is run"),
    "use_fast_tokenizer": ((None, True), "the tokenizer that the checkpoint has is used"),
}
# Arguments without effect here: prompts are always cut to what the model takes, and batches have a budget.
_IDLE = frozenset({"batch_size", "logits_cache", "max_batch_size", "truncation"})


@dataclass(frozen=True)
class HFArguments:
    """What some of ``hf``'s arguments come to.

    Attributes:
        pretrained: The checkpoint.
        base: Its base model.
        spread: Whether it is laid over all visible GPUs.
        thinking: Whether it is to reason, and how it marks that.
        chat: What chat templates are told beside the chat.
    """

    pretrained: str | None
    base: str | None = None
    spread: bool = False
    thinking: Thinking = AS_TEMPLATE_SAYS
    chat: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def settle(
        cls, given: Mapping[str, Any], pretrained: str | None, base: str | None, thinking: Thinking
    ) -> HFArguments:
        """Settle arguments that :class:`~medbench.models.MedbenchLM` does not take by name.

        Args:
            given: Them.
            pretrained: The checkpoint.
            base: Its base model.
            thinking: What it is told of reasoning, where ``given`` says nothing.

        Raises:
            ModelError: One is unknown, or cannot be carried out.
        """
        rest = {name: value for name, value in given.items() if name not in _IDLE}
        for name in list(rest):
            if name in _REFUSED:
                harmless, words = _REFUSED[name]
                value = rest.pop(name)
                if not any(value is other or str(value) == str(other) for other in harmless):
                    raise ModelError(
                        f"{name}={value} is not carried out: {words}", where=f"model argument {name}"
                    )
        if rest.pop("subfolder", ""):
            raise ModelError(
                "subfolder is not carried out",
                where="model argument subfolder",
                hint="give the folder itself",
            )
        if (file := rest.pop("gguf_file", None)) and pretrained is not None:
            pretrained = str(Path(pretrained) / str(file))
        if (adapter := rest.pop("peft", None)) is not None:
            pretrained, base = str(adapter), pretrained
        settled = cls(
            pretrained,
            base,
            bool(rest.pop("parallelize", False)),
            _thinking(rest.pop("enable_thinking", None), rest.pop("think_end_token", None), thinking),
            dict(rest.pop("chat_template_args", None) or {}),
        )
        if rest:
            raise ModelError(
                f"unknown arguments: {', '.join(sorted(rest))}",
                where="model arguments",
                hint="medbench takes those of lm-eval's hf that say something of a model and its prompts",
            )
        return settled


def _thinking(enabled: Any, end: Any, otherwise: Thinking) -> Thinking:
    if end is not None and (isinstance(end, int) or not is_mark(str(end), otherwise.tags)):
        raise ModelError(
            f"think_end_token={end!r} is none of the marks that are known",
            where="model argument think_end_token",
            hint="give the pair of marks as thinking_tags in a model's YAML (docs/models.md)",
        )
    if enabled is None:
        return otherwise
    return Thinking("on" if enabled else "off", otherwise.tags)


def device_for(name: str | None) -> str:
    """The device of a name; without one a GPU where there is one, else the CPU."""
    if name is not None:
        return str(name)
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def dtype_name(dtype: Any) -> str:
    """The name of a number format, which may be given as torch's own."""
    return "auto" if dtype is None else str(dtype).removeprefix("torch.")
