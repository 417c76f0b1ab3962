"""In which form a model is asked: settled once, from what is asked for and what would be loaded."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from medbench.errors import RunError

if TYPE_CHECKING:
    from medbench.catalog.models import ModelDefinition
    from medbench.models.checkpoints.chat import Thinking
    from medbench.models.source import ModelSource
    from medbench.runs.settings import RunSettings
    from medbench.scoring.reasoning import TagPair


@dataclass(frozen=True)
class Protocol:
    """How prompts are put to a model.

    Attributes:
        chat_template: Whether they go through the chat template of its tokenizer.
        system_prompt: The system prompt, empty for none.
        thinking: Whether the template is told to have the model reason: ``on``, ``off``, or ``auto`` for what
            it does by itself.
        thinking_tags: Marks of the model's own around reasoning.
    """

    chat_template: bool
    system_prompt: str
    thinking: str = "auto"
    thinking_tags: tuple[TagPair, ...] = ()

    def reasoning(self) -> Thinking:
        """What the model's adapter needs to know of its reasoning."""
        from medbench.models.checkpoints.chat import Thinking

        return Thinking(self.thinking, self.thinking_tags)


def model_source(definition: ModelDefinition) -> ModelSource:
    """Where a defined model comes from, and how it is to be opened."""
    from medbench.models.source import ModelSource

    return ModelSource(
        path=str(definition.path),
        base=None if definition.base is None else str(definition.base),
        dtype=definition.dtype,
        device=definition.device,
        layout=definition.layout,
        revision=definition.revision,
        base_revision=definition.base_revision,
        quantization=definition.quantization,
        deterministic=definition.deterministic,
    )


def settle_protocol(model: ModelDefinition, settings: RunSettings) -> Protocol:
    """Settle how a model is asked; nothing of it depends on how the model is named.

    The chat template is used where the tokenizer has one, the authors' system prompt in chats with a
    checkpoint in their layout. A definition that says otherwise prevails, and over it the settings of the
    run. A run without the template that the model would have had is one without its system prompt, unless
    the run asks for one: it belongs to the chat.

    Raises:
        RunError: A chat template is asked for, and the tokenizer has none; or reasoning is to be switched,
            and the template, or a run without it, has no switch.
        ModelError: There is no checkpoint or tokenizer, or its template cannot be applied.
    """
    from medbench.models.checkpoints.chat import has_chat_template, render_chat, switches_thinking

    source = model_source(model)
    tokenizer = source.tokenizer()
    has_one = has_chat_template(tokenizer)
    by_itself = has_one if model.chat_template is None else model.chat_template
    used = by_itself if settings.chat_template is None else settings.chat_template
    if used and not has_one:
        raise _no_template(model, settings)
    if settings.system_prompt is not None:
        system = settings.system_prompt
    elif by_itself and not used:
        system = ""
    elif model.system_prompt is not None:
        system = model.system_prompt
    else:
        system = source.system_prompt() if used else ""
    thinking = settings.thinking or model.thinking
    if thinking != "auto" and not (used and switches_thinking(tokenizer)):
        raise _no_switch(model, settings, thinking, used=used)
    protocol = Protocol(used, system, thinking, model.thinking_tags)
    if used:  # a template that refuses the system prompt does so for every document
        question = [{"role": "user", "content": "?"}]
        render_chat(
            tokenizer,
            question,
            add_generation_prompt=True,
            system_prompt=system,
            thinking=protocol.reasoning(),
        )
    return protocol


def _no_switch(model: ModelDefinition, settings: RunSettings, thinking: str, *, used: bool) -> RunError:
    asked = settings.thinking is not None
    return RunError(
        f"thinking cannot be switched {thinking}: "
        + (
            f"the chat template of {model.model} knows no such switch"
            if used
            else "the chat template, which does it, is not used"
        ),
        where="--thinking" if asked else f"thinking of {model.source or model.model}",
        hint="auto leaves it to the model; a system prompt may say it instead",
    )


def _no_template(model: ModelDefinition, settings: RunSettings) -> RunError:
    if settings.chat_template:
        where, hint = "--chat-template", "leave it out: prompts then go out as plain text"
    else:
        where, hint = (
            f"chat_template of {model.source or model.model}",
            "--no-chat-template, or the key left out",
        )
    return RunError(
        f"the tokenizer of {model.model} has no chat template",
        where=where,
        hint=f"{hint}; or put the chat_template.jinja of its base model beside the tokenizer",
    )
