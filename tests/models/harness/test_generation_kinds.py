"""What a task asks of generation is of the kind that it is taken for, or refused by name."""

from __future__ import annotations

from typing import Any

import pytest
from lm_eval.models.utils import normalize_gen_kwargs

from medbench.errors import ModelError
from medbench.models.harness.generation_settings import GenerationSettings


def parse(**kwargs: Any) -> GenerationSettings:
    return GenerationSettings.parse(kwargs, max_gen_toks=64, where="the task")


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"do_sample": "false"}, "'do_sample' under 'generation_kwargs' is 'false', expected true or false"),
        ({"do_sample": 0}, "'do_sample' .* is 0, expected true or false"),
        ({"do_sample": "yes"}, "'do_sample'"),
        ({"temperature": "0.7", "do_sample": True}, "'temperature' .* is '0.7', expected a number"),
        ({"temperature": -1, "do_sample": True}, "'temperature' .* is -1"),
        ({"temperature": True}, "'temperature' .* is True"),
        ({"top_k": "40"}, "'top_k' .* is '40', expected a whole number"),
        ({"top_k": 1.5}, "'top_k' .* is 1.5"),
        ({"top_k": True}, "'top_k' .* is True"),
        ({"top_p": "0.9"}, "'top_p' .* is '0.9'"),
        ({"top_p": [0.9]}, "'top_p'"),
        ({"until": 5}, "'until' .* is 5, expected text or a list"),
        ({"until": [5]}, r"'until' .* is \[5\]"),
        ({"until": {"a": 1}}, "'until'"),
        ({"until": ["a", None]}, "'until'"),
        ({"constrain": True}, "'constrain' .* is True, expected text"),
        ({"constrain": ["A"]}, "'constrain'"),
        ({"close_thinking": "no"}, "'close_thinking' .* is 'no', expected true or false"),
        ({"max_gen_toks": "64"}, "max_gen_toks must be a positive whole number"),
        ({"second_pass": {"suffix": 5}}, "'suffix' under 'second_pass' is 5, expected text"),
        ({"second_pass": {"suffix": "x", "when": "never"}}, "'when' .* expected one of missing, always"),
        ({"second_pass": {"suffix": "x", "when": True}}, "'when'"),
        ({"second_pass": {"suffix": "x", "marker": 1}}, "'marker'"),
        ({"second_pass": {"suffix": "x", "letters": ["A"]}}, "'letters'"),
    ],
)
def test_values_of_another_kind_are_refused(kwargs: dict[str, Any], message: str) -> None:
    with pytest.raises(ModelError, match=message) as caught:
        parse(**kwargs)
    assert caught.value.where == "the task"


@pytest.mark.parametrize(
    ("kwargs", "draws"),
    [  # as lm_eval.models.utils.normalize_gen_kwargs
        ({}, False),
        ({"temperature": 0.7}, True),
        ({"temperature": 0.0}, False),
        ({"temperature": 0}, False),
        ({"temperature": None}, False),
        ({"do_sample": None, "temperature": 0.3}, True),
        ({"do_sample": False, "temperature": 0.7}, False),
        ({"do_sample": True, "temperature": 0.7}, True),
        ({"do_sample": True}, True),
        ({"do_sample": True, "temperature": 0.0}, False),
        ({"top_p": 0.9}, False),
        ({"top_k": 5, "temperature": 1.0}, True),
    ],
)
def test_a_temperature_draws_as_in_lm_eval(kwargs: dict[str, Any], draws: bool) -> None:
    settings = parse(**kwargs)
    assert settings.sample is draws
    assert (settings.sampling(0) is not None) is draws
    assert settings.changes.get("do_sample", False) is draws
    if not (kwargs.get("do_sample") and not kwargs.get("temperature")):  # lm-eval only warns there
        normalized = normalize_gen_kwargs({k: v for k, v in kwargs.items() if v is not None})
        assert normalized["do_sample"] is draws


@pytest.mark.parametrize(
    ("kwargs", "changes"),
    [
        ({"repetition_penalty": 1.1}, {"repetition_penalty": 1.1}),
        ({"no_repeat_ngram_size": 3, "top_p": 0.5}, {"no_repeat_ngram_size": 3}),
        ({"temperature": 0.5, "top_p": 0.5}, {"do_sample": True, "temperature": 0.5, "top_p": 0.5}),
        ({"suppress_tokens": [3], "min_new_tokens": 2}, {"suppress_tokens": [3], "min_new_tokens": 2}),
        ({"until": ["x"], "max_gen_toks": 3}, {}),
    ],
)
def test_settings_of_transformers_are_passed_on(kwargs: dict[str, Any], changes: dict[str, Any]) -> None:
    assert parse(**kwargs).changes == changes


def test_nothing_is_drawn_unless_it_is_asked_for() -> None:
    assert parse(do_sample=False, temperature=0.7).sampling(0) is None
    assert parse(temperature=0.0, do_sample=True).sampling(0) is None
    assert parse(temperature=0.7, do_sample=True, top_k=5, top_p=0.9).sampling(0) is not None
    assert parse(until=None, temperature=None, top_p=None, second_pass=None).until == ()
    assert parse(until="x").until == parse(until=["x"]).until == ("x",)
