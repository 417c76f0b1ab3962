"""Chats as the prompts that a model was trained on, and whether it is to reason before it answers."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, tzinfo
from typing import TYPE_CHECKING, Any

from medbench.errors import ModelError
from medbench.scoring.reasoning import TagPair

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

# What MING-MOE's authors put before every chat, in training and in evaluation.
AUTHORS_SYSTEM_PROMPT = "You are a helpful assistant."
_CLOCK = "strftime_now"  # the only clock that transformers gives to templates
_FORMATS = re.compile(_CLOCK + r"""\s*\(\s*(["'])(.*?)\1\s*\)""")

# Variables of chat templates that switch reasoning, with the values for on and off; None leaves one alone.
_SWITCHES: dict[str, tuple[bool | None, bool | int]] = {
    "enable_thinking": (True, False),  # Qwen3, GLM, SmolLM3, Hunyuan, ERNIE
    "thinking": (True, False),  # DeepSeek-V3.1, Granite
    "reasoning": (True, False),  # Command A Reasoning
    "thinking_budget": (None, 0),  # Seed-OSS, which reasons by itself
}
_CODE = re.compile(r"\{[%{](.*?)[%}]\}", re.DOTALL)
_TEXT = re.compile(r"'[^']*'|\"[^\"]*\"")


@dataclass(frozen=True)
class Thinking:
    """How a model reasons.

    Attributes:
        mode: ``on``, ``off``, or ``auto`` for what its chat template does by itself.
        tags: Marks of its own around reasoning, beside those that are known of all models.
    """

    mode: str = "auto"
    tags: tuple[TagPair, ...] = ()

    def template_arguments(self, template: str) -> dict[str, Any]:
        """What to tell a chat template about reasoning; nothing for ``auto``."""
        if self.mode == "auto":
            return {}
        place = 0 if self.mode == "on" else 1
        values = {name: _SWITCHES[name][place] for name in switches(template)}
        return {name: value for name, value in values.items() if value is not None}


AS_TEMPLATE_SAYS = Thinking()
"""What a chat template does by itself, and the marks that are known of all models."""


def switches(template: str) -> tuple[str, ...]:
    """The variables of a chat template that switch reasoning."""
    code = " ".join(_TEXT.sub(" ", part) for part in _CODE.findall(template))
    return tuple(name for name in _SWITCHES if re.search(rf"(?<![\w.]){name}\b", code))


def has_chat_template(tokenizer: PreTrainedTokenizerBase) -> bool:
    """Whether a tokenizer has the template that :func:`render_chat` would use."""
    try:
        return bool(tokenizer.get_chat_template())
    except ValueError:  # none at all, or several of which none is the default
        return False


def clock_formats(template: str) -> list[str]:
    """Formats in which a chat template asks for the time; the date stands for those that it computes."""
    named = [match[1] for match in _FORMATS.findall(template)]
    return sorted({*named, *(["%Y-%m-%d"] if template.count(_CLOCK) > len(named) else [])})


@contextmanager
def clock_at(moment: datetime | None) -> Iterator[None]:
    """Let chat templates see one moment, however long the work takes; ``None``: the time as it passes."""
    if moment is None:
        yield
        return
    from transformers.utils import chat_template_utils

    told: datetime = moment

    class Then(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> Any:
            return told if tz is None else told.astimezone(tz)

    # Templates take plain data alone, so that a clock cannot be handed to them.
    templates: Any = chat_template_utils
    known = templates.datetime
    templates.datetime = Then
    try:
        yield
    finally:
        templates.datetime = known


def switches_thinking(tokenizer: PreTrainedTokenizerBase) -> bool:
    """Whether a tokenizer's chat template can be told to reason or not."""
    return has_chat_template(tokenizer) and bool(switches(tokenizer.get_chat_template()))


def render_chat(
    tokenizer: PreTrainedTokenizerBase,
    messages: Sequence[dict[str, str]],
    *,
    add_generation_prompt: bool,
    system_prompt: str | None = None,
    thinking: Thinking = AS_TEMPLATE_SAYS,
    arguments: Mapping[str, Any] | None = None,
) -> str:
    """Write a chat with the tokenizer's template.

    Args:
        tokenizer: The model's; transformers renders its template in a sandbox.
        messages: ``role`` and ``content`` each.
        add_generation_prompt: Whether the model's turn begins; otherwise the last message is left open.
        system_prompt: System message of chats that have none.
        thinking: What the template is told about reasoning.
        arguments: What else it is told, by name.

    Raises:
        ModelError: The tokenizer has no chat template, or it refuses the chat.
    """
    from jinja2 import TemplateError

    chat = list(messages)
    if system_prompt and (not chat or chat[0]["role"] != "system"):
        chat.insert(0, {"role": "system", "content": system_prompt})
    template = tokenizer.get_chat_template() if has_chat_template(tokenizer) else ""
    told = {**thinking.template_arguments(template), **(arguments or {})}
    try:
        return str(
            tokenizer.apply_chat_template(
                chat,
                tokenize=False,
                add_generation_prompt=add_generation_prompt,
                continue_final_message=not add_generation_prompt,
                **told,
            )
        )
    except (TemplateError, ValueError) as error:
        raise ModelError(
            f"the chat template cannot be applied: {error}",
            where=str(tokenizer.name_or_path),
            hint="run without the chat template, or without a system prompt where the model knows none",
        ) from error
