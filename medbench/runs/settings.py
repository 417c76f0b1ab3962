"""What a person asks of a run, checked, and the hash that names everything able to change an answer."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from medbench.errors import RunError

__all__ = ["RunSettings", "canonical_hash", "recorded_settings"]

ROUTING_LEVELS = ("off", "tasks", "documents", "tokens")
THINKING = ("auto", "on", "off")


@dataclass(frozen=True)
class RunSettings:
    """Choices of one run that are neither the model nor the tasks.

    Attributes:
        limit: Documents per task, from the first on; ``None`` for all.
        num_fewshot: Examples before each document; ``None`` leaves what the task says (usually 0).
        seed: Seeds few-shot sampling and every generator the harness uses.
        data_dir: Folder with real benchmark files, or ``None``.
        data_source: ``auto``, ``folder``, ``hub`` or ``samples``.
        shuffle_options: Seed that permutes the options of exam questions, or ``None``.
        circular: Whether exam questions are asked in every rotation of their options.
        chat_template: Whether prompts go through the model's chat template; ``None`` leaves it to the model
            (:func:`medbench.runs.protocol.settle_protocol`).
        system_prompt: Overrides the model's system prompt; an empty string means none.
        thinking: Whether the model is told to reason before it answers: ``on``, ``off``, or ``auto`` for what
            its template does; ``None`` leaves it to the model's definition.
        close_thinking: Whether reasoning that ran into its limit is closed, and the answer asked for.
        max_gen_toks: New tokens of an answer, instead of what the tasks say; ``None`` for what they say.
        routing: What is recorded of the routers: ``off``, ``tasks``, ``documents`` or ``tokens``.
        max_batch_tokens: Token budget of a batch, or ``auto``; changes the speed, not the answers.
    """

    limit: int | None = None
    num_fewshot: int | None = None
    seed: int = 1234
    data_dir: str | None = None
    data_source: str = "auto"
    shuffle_options: int | None = None
    circular: bool = False
    chat_template: bool | None = None
    system_prompt: str | None = None
    thinking: str | None = None
    close_thinking: bool = False
    max_gen_toks: int | None = None
    routing: str = "documents"
    max_batch_tokens: int | str | None = None

    def __post_init__(self) -> None:
        if self.limit is not None and self.limit < 1:
            raise RunError(
                f"limit must be at least 1 document per task, not {self.limit}",
                where="--limit",
                hint="leave --limit away to evaluate every document",
            )
        if self.num_fewshot is not None and self.num_fewshot < 0:
            raise RunError(f"the number of examples cannot be {self.num_fewshot}", where="--num-fewshot")
        if self.thinking not in (None, *THINKING):
            raise RunError(
                f"thinking cannot be {self.thinking!r}",
                where="--thinking",
                hint=f"choose among {', '.join(THINKING)}",
            )
        if self.max_gen_toks is not None and self.max_gen_toks < 1:
            raise RunError(
                f"an answer needs at least 1 token, not {self.max_gen_toks}", where="--max-gen-toks"
            )
        if self.routing not in ROUTING_LEVELS:
            raise RunError(
                f"unknown routing level {self.routing!r}",
                where="--routing",
                hint=f"choose among {', '.join(ROUTING_LEVELS)}",
            )
        budget = self.max_batch_tokens
        if budget is not None and budget != "auto" and (not isinstance(budget, int) or budget < 1):
            raise RunError(
                f"the token budget of a batch cannot be {budget!r}",
                where="--max-batch-tokens",
                hint="give a number of tokens, such as 8192, or auto",
            )

    def identity(self) -> dict[str, Any]:
        """The settings that can change an answer or a score; speed and place are left out."""
        elsewhere = ("data_dir", "data_source", "max_batch_tokens")  # for the first two stands a fingerprint
        return {name: value for name, value in asdict(self).items() if name not in elsewhere}


def recorded_settings(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of a run as they were used, from its ``run.json``.

    Earlier versions wrote what was asked for among the settings, and what was used beside them.
    """
    beside = {name: manifest[name] for name in ("chat_template", "system_prompt") if name in manifest}
    return {**(manifest.get("settings") or {}), **beside}


def canonical_hash(value: Mapping[str, Any]) -> str:
    """SHA-256 (hex) of ``value`` as canonical JSON: sorted keys, no spaces, UTF-8."""
    text = json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"), default=str)
    return hashlib.sha256(text.encode("utf-8")).hexdigest()
