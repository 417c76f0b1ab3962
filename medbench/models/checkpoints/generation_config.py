"""What a checkpoint says of how answers are written, and what of it is carried out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from medbench.models.architecture.skeleton import foreign_failures
from medbench.models.checkpoints.folder import read_json

if TYPE_CHECKING:
    from transformers import GenerationConfig

GENERATION_FILE = "generation_config.json"
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
# A limit of the file's, which the limit of a task takes the place of.
_LIMIT = "max_new_tokens"


@dataclass(frozen=True)
class ConfiguredGeneration:
    """What of a checkpoint's generation settings is carried out.

    Attributes:
        applied: What changes logits wherever an answer is written, by name.
        drawing: How tokens are drawn where a task has them drawn and does not say how.
        left_to_tasks: Limits, in whose place those of the tasks are kept.
        refused: What cannot be carried out.
    """

    applied: dict[str, Any] = field(default_factory=dict)
    drawing: dict[str, Any] = field(default_factory=dict)
    left_to_tasks: dict[str, Any] = field(default_factory=dict)
    refused: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, config: GenerationConfig | None) -> ConfiguredGeneration:
        """Sort the settings of a model; ``None``: it has none."""
        if config is None:
            return cls()
        said = {key: value for key, value in sorted(vars(config).items()) if value is not None}
        other = _known() - HONORED - DRAWING - WITHOUT_EFFECT
        return cls(
            applied={key: said[key] for key in said if key in HONORED and _asks(key, said[key], _NOTHING)},
            drawing={key: said[key] for key in said if key in DRAWING - {"do_sample"}},
            left_to_tasks={_LIMIT: said[_LIMIT]} if _LIMIT in said else {},
            refused={key: said[key] for key in said if key in other and _asks(key, said[key], _NEUTRAL)},
        )

    def as_dict(self) -> dict[str, dict[str, Any]]:
        """What there is to say, ready for JSON."""
        kinds = {each.name: getattr(self, each.name) for each in fields(self)}
        return {
            kind: {key: _plain(value) for key, value in said.items()} for kind, said in kinds.items() if said
        }


def read_generation_config(folder: Path) -> GenerationConfig | None:
    """The generation settings of a checkpoint's folder, as transformers takes them.

    Args:
        folder: The folder of the model that is loaded; of an adapter, its base's.

    Returns:
        Those of ``generation_config.json``, else those that ``config.json`` holds, as older checkpoints do;
        ``None`` where there is neither file.

    Raises:
        ModelError: transformers refuses them.
    """
    from transformers import GenerationConfig

    own, older = folder / GENERATION_FILE, folder / "config.json"
    path = own if own.is_file() else older
    if not path.is_file():
        return None
    with foreign_failures("transformers refuses the generation settings", str(path)):
        known: Any = GenerationConfig
        found = known.from_dict(read_json(own)) if path == own else known.from_model_config(read_json(older))
    return cast("GenerationConfig", found)


def _plain(value: Any) -> Any:
    """A value of JSON: some settings become objects of transformers."""
    if isinstance(value, Mapping):
        return {str(key): _plain(one) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(one) for one in value]
    return _plain(value.to_dict()) if hasattr(value, "to_dict") else value


def _known() -> set[str]:
    """The settings that transformers has; whatever else a file holds it ignores."""
    from transformers import GenerationConfig

    return set(vars(cast("Any", GenerationConfig)()))


def _asks(key: str, value: Any, nothing: Mapping[str, tuple[Any, ...]]) -> bool:
    """Whether a value asks for something."""
    return value is not None and not any(
        value == other and type(value) is type(other) for other in nothing.get(key, ())
    )
