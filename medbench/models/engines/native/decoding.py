"""A model's generation settings, applied by transformers' own logits processors, row by row.

The settings in ``generation_config.json`` (repetition penalty, suppressed tokens, sampling) apply wherever
transformers' ``generate`` would apply them; settings of a task override them. The processors of a row see
only that row's prompt and tokens, so they do not depend on the batch.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor

from medbench.errors import ModelError
from medbench.models.checkpoints.generation_config import (
    DRAWING,
    GENERATION_FILE,
    HONORED,
    ConfiguredGeneration,
)

if TYPE_CHECKING:
    from transformers import LogitsProcessorList, PreTrainedModel


class Processors:
    """The logits processors of one row.

    Args:
        processors: transformers' processors for the row's prompt.
    """

    def __init__(self, processors: LogitsProcessorList) -> None:
        self._processors = processors

    def __call__(self, tokens: Sequence[int], logits: Tensor) -> Tensor:
        """Processed logits [V], in float32 or wider.

        Args:
            tokens: Prompt and new tokens of the row.
            logits: The model's logits, [V].
        """
        ids = torch.tensor([tokens], device=logits.device)
        scores = logits[None].to(torch.promote_types(logits.dtype, torch.float32), copy=True)
        changed: Tensor = cast("Any", self._processors)(ids, scores)
        return changed[0]


class Decoding:
    """The generation settings of a model.

    Args:
        model: The model; its ``generation_config`` is that of its checkpoint.

    Attributes:
        applied: Settings that are applied, see
            :class:`~medbench.models.checkpoints.generation_config.ConfiguredGeneration`.
        refused: Settings that are not supported.
        left_to_tasks: Settings that only tasks decide.
    """

    def __init__(self, model: PreTrainedModel) -> None:
        self._model = model
        said = ConfiguredGeneration.of(getattr(model, "generation_config", None))
        self.applied = said.applied
        self.refused = said.refused
        self.left_to_tasks = said.left_to_tasks

    def processors(
        self, prompt: Sequence[int], max_new_tokens: int, changes: Mapping[str, Any] | None = None
    ) -> Processors | None:
        """The logits processors of a row; ``None`` if there are none.

        Args:
            prompt: Its token ids.
            max_new_tokens: Its limit of new tokens.
            changes: Settings of transformers that override the model's. Decoding is greedy unless
                ``do_sample`` is among them.

        Raises:
            ModelError: Some settings are not supported, or transformers refuses them.
        """
        asked = {"do_sample": False, **(changes or {})}
        refused = {key: value for key, value in self.refused.items() if key not in asked}
        if refused:
            raise ModelError(
                "the generation settings ask for what medbench does not carry out: "
                + ", ".join(f"{key} {value!r}" for key, value in refused.items()),
                where=GENERATION_FILE,
                hint="take these keys out of a copy of the checkpoint's file to do without them",
            )
        if not self.applied and not asked["do_sample"] and not HONORED & asked.keys():
            return None
        found = _Capture()
        config = _config_of(self._model)
        if not asked["do_sample"]:  # transformers warns of settings that it does not use
            config.update(**dict.fromkeys(DRAWING))
        config.update(**asked, max_new_tokens=max_new_tokens, use_cache=False, cache_implementation=None)
        config.max_length = None
        tokens = torch.tensor(
            [list(prompt)], device=cast("Any", self._model).get_input_embeddings().weight.device
        )
        try:
            cast("Any", self._model).generate(
                tokens,
                attention_mask=torch.ones_like(tokens),
                generation_config=config,
                custom_generate=found,
            )
        except (ValueError, TypeError, IndexError, AttributeError) as error:
            raise ModelError(
                f"transformers refuses the generation settings: {str(error).strip().splitlines()[0]}",
                where="generation_config.json or generation_kwargs",
            ) from error
        return Processors(found.processors) if found.processors else None


class _Capture:
    """Stands in for transformers' decoding loop, and keeps the processors it is given."""

    def __init__(self) -> None:
        self.processors: Any = None

    def __call__(
        self,
        model: Any,
        input_ids: Tensor,
        logits_processor: Any = None,
        stopping_criteria: Any = None,
        generation_config: Any = None,
        **kwargs: Any,
    ) -> Tensor:
        del model, stopping_criteria, generation_config, kwargs
        self.processors = logits_processor
        return input_ids


def _config_of(model: PreTrainedModel) -> Any:
    """A copy of the model's generation settings."""
    from transformers import GenerationConfig

    config: Any = getattr(model, "generation_config", None)
    return cast("Any", GenerationConfig)() if config is None else copy.deepcopy(config)
