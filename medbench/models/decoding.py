"""A model's generation settings, applied as transformers applies them: by its logits processors, row by row.

What ``generation_config.json`` asks for (a repetition penalty, suppressed tokens, how tokens are drawn)
is in force wherever transformers' ``generate`` would apply it, with what a task asks for in its place. The
processors of a row see that row's prompt and tokens only, so that they do not depend on the batch.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor

from medbench.errors import ModelError

if TYPE_CHECKING:
    from transformers import LogitsProcessorList, PreTrainedModel

__all__ = ["DRAWING", "HONORED", "WITHOUT_EFFECT", "Decoding", "Processors"]

#: Settings that logits processors carry out, whether tokens are drawn or not.
HONORED = frozenset(
    {
        "bad_words_ids",
        "begin_suppress_tokens",
        "encoder_no_repeat_ngram_size",
        "encoder_repetition_penalty",
        "exponential_decay_length_penalty",
        "forced_bos_token_id",
        "forced_eos_token_id",
        "min_length",
        "min_new_tokens",
        "no_repeat_ngram_size",
        "remove_invalid_values",
        "renormalize_logits",
        "repetition_penalty",
        "sequence_bias",
        "suppress_tokens",
    }
)
#: Settings of drawing; they matter where a task has tokens drawn.
DRAWING = frozenset(
    {
        "do_sample",
        "epsilon_cutoff",
        "eta_cutoff",
        "min_p",
        "temperature",
        "top_h",
        "top_k",
        "top_p",
        "typical_p",
    }
)
#: Settings that change no token here: speed and memory, what is returned, other ways of decoding that are not
#: asked for by these alone, and limits and ends, which the engine keeps itself.
WITHOUT_EFFECT = frozenset(
    {
        "_from_model_config",
        "assistant_confidence_threshold",
        "assistant_early_exit",
        "assistant_ensemble_weight",
        "assistant_lookbehind",
        "bos_token_id",
        "cache_config",
        "compile_config",
        "continuous_batching_config",
        "decoder_start_token_id",
        "disable_compile",
        "early_stopping",
        "eos_token_id",
        "is_assistant",
        "length_penalty",
        "low_memory",
        "max_cache_len",
        "max_length",
        "max_matching_ngram_size",
        "max_new_tokens",
        "num_assistant_tokens",
        "num_assistant_tokens_schedule",
        "output_attentions",
        "output_hidden_states",
        "output_logits",
        "output_scores",
        "pad_token_id",
        "prefill_chunk_size",
        "prompt_lookup_num_tokens",
        "return_dict_in_generate",
        "speculation_type",
        "target_lookbehind",
        "transformers_version",
        "use_cache",
        "use_mtp",
    }
)
# Of the rest, the values that ask for nothing; any other is refused.
_NEUTRAL: dict[str, tuple[Any, ...]] = {
    "cache_implementation": (
        "dynamic",
        "static",
        "offloaded",
        "hybrid",
        "sliding_window",
        "offloaded_static",
    ),
    "diversity_penalty": (0, 0.0),
    "dola_layers": (),
    "guidance_scale": (1, 1.0),
    "num_beam_groups": (1,),
    "num_beams": (1,),
    "num_return_sequences": (1,),
    "penalty_alpha": (0, 0.0),
    "stop_strings": ([], ""),
    "token_healing": (False,),
}
# Values of honored settings that ask for nothing.
_NOTHING: dict[str, tuple[Any, ...]] = {
    "encoder_no_repeat_ngram_size": (0,),
    "encoder_repetition_penalty": (1, 1.0),
    "min_length": (0,),
    "min_new_tokens": (0,),
    "no_repeat_ngram_size": (0,),
    "remove_invalid_values": (False,),
    "renormalize_logits": (False,),
    "repetition_penalty": (1, 1.0),
}


class Processors:
    """What changes the logits of one row before a token is chosen.

    Args:
        processors: transformers' own, made for the row's prompt.
    """

    def __init__(self, processors: LogitsProcessorList) -> None:
        self._processors = processors

    def __call__(self, tokens: Sequence[int], logits: Tensor) -> Tensor:
        """Logits [V] as they are chosen from, in float32 at least.

        Args:
            tokens: Prompt and new tokens of the row.
            logits: What the model gave, [V].
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
        applied: The settings in force beside what a request asks for, by name.
        refused: Settings that cannot be carried out, by name.
    """

    def __init__(self, model: PreTrainedModel) -> None:
        self._model = model
        config: Any = getattr(model, "generation_config", None)
        said = (
            {} if config is None else {key: value for key, value in vars(config).items() if value is not None}
        )
        self.applied: dict[str, Any] = {
            key: said[key] for key in sorted(HONORED & said.keys()) if _asks(key, said[key], _NOTHING)
        }
        self.refused: dict[str, Any] = {
            key: value
            for key, value in sorted(said.items())
            if key in _known() - HONORED - DRAWING - WITHOUT_EFFECT and _asks(key, value, _NEUTRAL)
        }

    def processors(
        self, prompt: Sequence[int], max_new_tokens: int, changes: Mapping[str, Any] | None = None
    ) -> Processors | None:
        """What changes the logits of a row; ``None`` where nothing does.

        Args:
            prompt: Its token ids.
            max_new_tokens: Its limit of new tokens.
            changes: Settings of transformers that the request asks for, in place of the model's. Nothing is
                drawn unless ``do_sample`` is among them.

        Raises:
            ModelError: The model's settings ask for what cannot be carried out, or transformers refuses them.
        """
        asked = {"do_sample": False, **(changes or {})}
        refused = {key: value for key, value in self.refused.items() if key not in asked}
        if refused:
            raise ModelError(
                "the generation settings ask for what medbench does not carry out: "
                + ", ".join(f"{key} {value!r}" for key, value in refused.items()),
                where="generation_config.json",
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
    """Stands in for transformers' decoding loop, and keeps the processors that were made for it."""

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


def _known() -> set[str]:
    """The settings that transformers has; whatever else a file holds it ignores."""
    from transformers import GenerationConfig

    return set(vars(cast("Any", GenerationConfig)()))


def _asks(key: str, value: Any, nothing: Mapping[str, tuple[Any, ...]]) -> bool:
    """Whether a value asks for something."""
    return value is not None and not any(
        value == other and type(value) is type(other) for other in nothing.get(key, ())
    )
