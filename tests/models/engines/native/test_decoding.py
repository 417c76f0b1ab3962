"""Generation settings: the same tokens as transformers' own ``generate``, whatever the batch."""

from __future__ import annotations

from typing import Any, cast

import pytest
import torch
from transformers import GenerationConfig, PreTrainedModel

from medbench.errors import ModelError
from medbench.models import Engine
from medbench.models.checkpoints.generation_config import DRAWING, HONORED, WITHOUT_EFFECT
from medbench.models.engines.native.decoding import Decoding
from medbench.models.engines.native.generation_rows import Sampling
from tests.models.made_engines import tiny_model
from tests.models.tiny_zoo import zoo_model

PROMPTS = [
    [3, 1, 4, 1, 5],
    [9, 2, 6],
    [5, 3, 5, 8, 9, 7, 9, 3, 2, 3],
    [8],
    [3, 1, 4, 1, 6],
    [2, 7, 1, 8, 2, 8],
]
LIMIT = 14

SETTINGS: list[dict[str, Any]] = [
    {"repetition_penalty": 1.1},
    {"repetition_penalty": 2.5},
    {"repetition_penalty": 0.7},
    {"encoder_repetition_penalty": 1.6},
    {"no_repeat_ngram_size": 2},
    {"no_repeat_ngram_size": 1},
    {"encoder_no_repeat_ngram_size": 2},
    {"suppress_tokens": list(range(0, 60, 3))},
    {"begin_suppress_tokens": list(range(30))},
    {"bad_words_ids": [[7], [11, 12], [40]]},
    {"sequence_bias": {(10,): 40.0, (10, 20): -60.0}},
    {"min_new_tokens": 9, "eos_token_id": list(range(20))},
    {"min_length": 12, "eos_token_id": list(range(20))},
    {"forced_bos_token_id": 17},
    {"forced_eos_token_id": 19},
    {"exponential_decay_length_penalty": (2, 1.9), "eos_token_id": 4},
    {"renormalize_logits": True, "repetition_penalty": 1.3},
    {"remove_invalid_values": True},
    {"repetition_penalty": 1.2, "no_repeat_ngram_size": 2, "suppress_tokens": [1, 2, 3], "min_new_tokens": 3},
]


def configured(settings: dict[str, Any], model: PreTrainedModel | None = None) -> PreTrainedModel:
    found = model if model is not None else tiny_model()
    found.generation_config = cast("Any", GenerationConfig)(**settings)
    return found


def by_transformers(model: Any, prompt: list[int], limit: int = LIMIT, **changes: Any) -> list[int]:
    """What ``generate`` continues a prompt with, alone."""
    tokens = torch.tensor([prompt])
    out = model.generate(
        tokens,
        attention_mask=torch.ones_like(tokens),
        max_new_tokens=limit,
        pad_token_id=0,
        **{"do_sample": False, **changes},
    )
    return cast("list[int]", out[0, len(prompt) :].tolist())


def ends(model: Any) -> list[int]:
    named = model.generation_config.eos_token_id
    return named if isinstance(named, list) else [] if named is None else [named]


@pytest.mark.parametrize("settings", SETTINGS, ids=lambda settings: "+".join(settings))
def test_the_tokens_are_those_of_transformers(settings: dict[str, Any]) -> None:
    model = configured(settings)
    expected = [by_transformers(model, prompt) for prompt in PROMPTS]
    for budget, rows in ((4096, 64), (6, 3), (40, 1)):
        engine = Engine(model, max_batch_tokens=budget, max_rows=rows)
        found = engine.generate(PROMPTS, max_new_tokens=LIMIT, eos_token_ids=ends(model))
        assert [generation.token_ids for generation in found] == expected
    shuffled = Engine(model).generate(PROMPTS[::-1], max_new_tokens=LIMIT, eos_token_ids=ends(model))
    assert [generation.token_ids for generation in shuffled][::-1] == expected


@pytest.mark.parametrize("settings", SETTINGS[:5], ids=lambda settings: "+".join(settings))
def test_most_settings_change_something(settings: dict[str, Any]) -> None:
    plain = [by_transformers(configured({}), prompt) for prompt in PROMPTS]
    assert [by_transformers(configured(settings), prompt) for prompt in PROMPTS] != plain


@pytest.mark.parametrize("settings", SETTINGS[::3], ids=lambda settings: "+".join(settings))
@pytest.mark.parametrize("kind", ["gemma2", "mamba"])
def test_so_are_those_of_the_reference_path(kind: str, settings: dict[str, Any]) -> None:
    model = configured(settings, zoo_model(kind))
    engine = Engine(model)
    assert engine.kind == "reference"
    found = engine.generate(PROMPTS[:3], max_new_tokens=8, eos_token_ids=ends(model))
    expected = [by_transformers(model, prompt, 8) for prompt in PROMPTS[:3]]
    assert [generation.token_ids for generation in found] == expected


def test_what_a_request_asks_for_goes_before() -> None:
    model = configured({"repetition_penalty": 1.8, "no_repeat_ngram_size": 2})
    changes: list[dict[str, Any] | None] = [
        None,
        {"repetition_penalty": 1.0},
        {"repetition_penalty": 1.0, "no_repeat_ngram_size": 0},
        {"suppress_tokens": [1, 2, 3, 4, 5]},
    ]
    prompts = [PROMPTS[0]] * len(changes)
    found = Engine(model).generate(prompts, max_new_tokens=LIMIT, settings=changes)
    expected = [by_transformers(model, PROMPTS[0], **(change or {})) for change in changes]
    assert [generation.token_ids for generation in found] == expected
    assert expected[2] == by_transformers(configured({}), PROMPTS[0])


def test_allowed_tokens_are_chosen_by_the_changed_logits() -> None:
    model = configured({"repetition_penalty": 3.0})
    allowed = [1, 5, 9, 30]
    engine = Engine(model)
    found = engine.generate(PROMPTS, max_new_tokens=1, allowed_token_ids=[allowed] * len(PROMPTS))
    expected = [
        by_transformers(model, prompt, 1, prefix_allowed_tokens_fn=lambda *_: allowed) for prompt in PROMPTS
    ]
    assert [generation.token_ids for generation in found] == expected


@pytest.mark.parametrize(
    "changes",
    [
        {"temperature": 0.7},
        {"temperature": 1.3, "top_k": 5},
        {"top_p": 0.6},
        {"min_p": 0.2},
        {"typical_p": 0.5},
        {"epsilon_cutoff": 0.05},
        {"top_k": 0},
    ],
    ids=str,
)
def test_drawn_tokens_follow_the_distribution_of_transformers(changes: dict[str, Any]) -> None:
    model = configured({"temperature": 2.0, "top_k": 12, "repetition_penalty": 1.4, "do_sample": True})
    prompt, draws = PROMPTS[2], 3000
    found = Engine(model).generate(
        [prompt] * draws,
        max_new_tokens=1,
        sampling=[Sampling(seed=seed) for seed in range(draws)],
        settings=[{"do_sample": True, **changes}] * draws,
    )
    counts = torch.bincount(torch.tensor([one.token_ids[0] for one in found]), minlength=60) / draws
    tokens = torch.tensor([prompt])
    scores = cast("Any", model).generate(
        tokens,
        attention_mask=torch.ones_like(tokens),
        max_new_tokens=1,
        pad_token_id=0,
        output_scores=True,
        return_dict_in_generate=True,
        **{"do_sample": True, **changes},
    )
    expected = scores.scores[0][0].double().softmax(0)
    assert set(counts.nonzero().flatten().tolist()) <= set(expected.nonzero().flatten().tolist())
    error = (expected * (1 - expected) / draws).sqrt()
    assert bool(((counts - expected).abs() <= 5 * error + 1e-9).all())


def test_nothing_is_drawn_unless_it_is_asked_for() -> None:
    model = configured({"do_sample": True, "temperature": 5.0, "top_k": 3})
    found = Engine(model).generate(PROMPTS, max_new_tokens=LIMIT)
    assert [one.token_ids for one in found] == [by_transformers(model, prompt) for prompt in PROMPTS]


@pytest.mark.parametrize(
    "settings",
    [
        {"num_beams": 4},
        {"guidance_scale": 1.5},
        {"num_return_sequences": 2},
        {"penalty_alpha": 0.6},
        {"dola_layers": "high"},
        {"token_healing": True},
        {"stop_strings": ["\n"]},
        {"max_time": 3.0},
        {"cache_implementation": "quantized"},
        {"num_beam_groups": 2},
        {"force_words_ids": [[3]]},
    ],
    ids=str,
)
def test_what_cannot_be_carried_out_is_refused(settings: dict[str, Any]) -> None:
    model = tiny_model()
    config: Any = cast("Any", GenerationConfig)()
    for key, value in settings.items():  # past the checks of its constructor, as a file may be
        setattr(config, key, value)
    model.generation_config = config
    engine = Engine(model)
    assert engine.score([([1, 2], [3])])  # nothing is generated
    [key] = settings
    with pytest.raises(ModelError, match=key):
        engine.generate([[1, 2]], max_new_tokens=2)


@pytest.mark.parametrize(
    "settings",
    [
        {"repetition_penalty": -1.0},
        {"sequence_bias": {}},
        {"exponential_decay_length_penalty": 3},
        {"suppress_tokens": "all"},
    ],
    ids=str,
)
def test_values_that_transformers_refuses_are_refused(settings: dict[str, Any]) -> None:
    model = tiny_model()
    config: Any = cast("Any", GenerationConfig)()
    for key, value in settings.items():
        setattr(config, key, value)
    model.generation_config = config
    with pytest.raises(ModelError):
        Engine(model).generate([[1, 2]], max_new_tokens=2)


def test_every_setting_of_transformers_is_known() -> None:
    groups = [HONORED, DRAWING, WITHOUT_EFFECT]
    assert sum(map(len, groups)) == len(frozenset().union(*groups))
    refused = {
        "cache_implementation",
        "constraints",
        "diversity_penalty",
        "dola_layers",
        "force_words_ids",
        "guidance_scale",
        "max_time",
        "num_beam_groups",
        "num_beams",
        "num_return_sequences",
        "penalty_alpha",
        "stop_strings",
        "token_healing",
        "watermarking_config",
    }
    assert set(vars(cast("Any", GenerationConfig)())) - frozenset().union(*groups) <= refused


@pytest.mark.parametrize(
    ("settings", "applied"),
    [
        ({}, {}),
        ({"repetition_penalty": 1.0, "no_repeat_ngram_size": 0, "min_length": 0}, {}),
        ({"repetition_penalty": 1.05, "temperature": 0.7, "top_p": 0.8}, {"repetition_penalty": 1.05}),
        ({"suppress_tokens": [3], "max_length": 9}, {"suppress_tokens": [3]}),
        ({"eos_token_id": [1, 2], "pad_token_id": 0, "num_beams": 1}, {}),
    ],
)
def test_what_is_in_force_is_known(settings: dict[str, Any], applied: dict[str, Any]) -> None:
    decoding = Decoding(configured(settings))
    assert decoding.applied == applied
    assert decoding.refused == {}
    assert (decoding.processors([1, 2], 5) is None) == (not applied)
