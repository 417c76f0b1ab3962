"""Asking for single tokens of a model without routers is answered at once, and does not end the run."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

import medbench.demo
from medbench.api import evaluate_with_outcome
from medbench.cli import main
from medbench.models.source import ModelSource
from medbench.runs.routing import warn_without_routers
from medbench.runs.settings import RunSettings
from tests.models.made_checkpoints import write_base

DEMO = Path(medbench.demo.__file__).parent / "checkpoint"
TASK = "pubmedqa"


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A plain model of the demo's size with random weights, and the demo's tokenizer."""
    config = json.loads((DEMO / "config.json").read_bytes())["base_config"] | {"num_hidden_layers": 1}
    folder = write_base(
        tmp_path_factory.mktemp("plain") / "plain", {**config, "layer_types": config["layer_types"][:1]}
    )
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        shutil.copy(DEMO / name, folder / name)
    return folder


def test_only_models_with_routers_have_any(plain: Path) -> None:
    said: list[str] = []
    warn_without_routers(ModelSource(str(DEMO)), said.append)
    assert not said
    warn_without_routers(ModelSource(str(plain)), said.append)
    assert said == ["the model has no routers: --routing tokens records nothing"]


@pytest.mark.parametrize("level", ["tokens", "documents", "off"])
def test_a_run_says_so_beside_its_scores(plain: Path, tmp_path: Path, level: str) -> None:
    outcome = evaluate_with_outcome(
        model=str(plain), tasks=[TASK], results=tmp_path, routing=level, limit=1, quiet=True, report=False
    )
    assert len(outcome.runs.scores())
    assert not (outcome.directory / "routing.parquet").exists()
    said = [text for text in outcome.warnings if "no routers" in text]
    assert len(said) == (level == "tokens")


def test_it_is_said_before_the_model_is_loaded(
    plain: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    start = ["run", "--model", str(plain), "--tasks", TASK, "--limit", "1", "--results", str(tmp_path)]
    assert main([*start, "--routing", "tokens", "--no-report"]) == 0
    said = capsys.readouterr()
    text = said.err + said.out
    assert text.index("no routers") < text.index("loading")


def test_single_documents_are_recorded_unless_asked_otherwise() -> None:
    assert RunSettings().routing == "documents"
