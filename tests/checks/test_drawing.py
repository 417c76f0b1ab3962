"""Settings of drawing that contradict each other are found; ordinary ones are not."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from medbench.checks import check_tasks
from medbench.checks.keys import GENERATION_KEYS
from medbench.models.harness.generation_settings import TOKEN_LIMITS, GenerationSettings
from tests.checks.planting import NER

CONTRADICTIONS: list[tuple[dict[str, Any], dict[str, Any], str]] = [
    ({"do_sample": False, "temperature": 0.7}, {}, "temperature without effect"),
    ({"do_sample": False, "top_p": 0.9}, {}, "top_p without effect"),
    ({"top_k": 40}, {}, "top_k without effect"),
    ({"temperature": 0, "top_p": 0.95}, {}, "top_p without effect"),
    ({"temperature": 0.0, "min_p": 0.1, "typical_p": 0.9}, {}, "min_p, typical_p without effect"),
    ({"do_sample": True, "temperature": 0}, {}, "temperature 0 draws nothing"),
    ({"do_sample": True, "temperature": 0.0, "top_k": 5}, {}, "temperature 0 draws nothing"),
    ({"do_sample": False}, {"repeats": 3}, "3 repeats of the same answer"),
    ({}, {"repeats": 2}, "2 repeats of the same answer"),
    ({"temperature": 0}, {"repeats": 5}, "5 repeats of the same answer"),
]
SOUND: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({"do_sample": False}, {}),
    ({"do_sample": False, "temperature": 0.0, "top_p": 1.0, "top_k": 0}, {}),
    ({"temperature": 0.8}, {}),
    ({"temperature": 0.8, "top_p": 0.95}, {"repeats": 3}),
    ({"do_sample": True, "temperature": 0.7, "top_k": 20}, {"repeats": 8}),
    ({"do_sample": True}, {"repeats": 2}),
    ({"repetition_penalty": 1.1, "no_repeat_ngram_size": 4}, {}),
    ({}, {"repeats": 1}),
]


def said(tasks: Path, generation: dict[str, Any], more: dict[str, Any]) -> list[str]:
    """What is found contradictory in a task with these settings."""
    path = tasks / NER / f"{NER}.yaml"
    text = re.sub(r"generation_kwargs:\n(  .*\n)+", "", path.read_text(encoding="utf-8"))
    added = {"generation_kwargs": {"until": ["\n"], "max_gen_toks": 16, **generation}, **more}
    path.write_text(text + yaml.safe_dump(added), encoding="utf-8")
    report = check_tasks([tasks / NER], behave=False)
    return [finding.message for finding in report.findings if finding.code == "contradiction"]


@pytest.mark.parametrize(("generation", "more", "message"), CONTRADICTIONS, ids=str)
def test_contradictions_are_found(
    tasks: Path, generation: dict[str, Any], more: dict[str, Any], message: str
) -> None:
    [found] = said(tasks, generation, more)[:1]
    assert message in found


@pytest.mark.parametrize(("generation", "more"), SOUND, ids=str)
def test_ordinary_settings_are_not(tasks: Path, generation: dict[str, Any], more: dict[str, Any]) -> None:
    assert said(tasks, generation, more) == []


def test_the_keys_are_those_that_are_carried_out() -> None:
    for key in GENERATION_KEYS | set(TOKEN_LIMITS):
        GenerationSettings.parse({key: None}, max_gen_toks=1, where="x")
