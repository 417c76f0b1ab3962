"""What a person asks of a run, checked, and the hash that names everything able to change an answer."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from medbench.errors import RunError
from medbench.strict import COUNT, FLAG, TEXT, Kind, check_mapping, choice, either

__all__ = ["RunSettings", "canonical_hash", "recorded_settings"]

ROUTING_LEVELS = ("off", "tasks", "documents", "tokens")
THINKING = ("auto", "on", "off")
_WHOLE = Kind("a whole number", lambda value: type(value) is int)
_KINDS = {
    "limit": COUNT._replace(hint="leave --limit away to evaluate every document"),
    "num_fewshot": Kind("a number of examples, 0 or more", lambda value: type(value) is int and value >= 0),
    "seed": _WHOLE,
    "data_dir": TEXT,
    "data_source": TEXT,
    "shuffle_options": _WHOLE,
    "circular": FLAG,
    "chat_template": FLAG,
    "system_prompt": TEXT,
    "thinking": choice(*THINKING),
    "close_thinking": FLAG,
    "max_gen_toks": COUNT,
    "routing": choice(*ROUTING_LEVELS),
    "max_batch_tokens": either(COUNT, choice("auto"))._replace(hint="give a number such as 8192, or auto"),
}


def _option(setting: str | None) -> str:
    """How a setting is called on the command line."""
    return "--source" if setting == "data_source" else f"--{str(setting).replace('_', '-')}"


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
        close_thinking: Whether reasoning that was left unfinished is closed, and the answer asked for.
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
        check_mapping(asdict(self), _KINDS, where=_option, error=RunError)

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
