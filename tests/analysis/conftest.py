"""Made-up runs for the tests of analysis."""

from __future__ import annotations

from pathlib import Path

import pytest

from medbench.analysis import Runs, load_runs
from tests.analysis.factory import FakeTask, write_routing, write_run

NAMES = ["cmexam", "medqa_us", "cmeee_v2", "kuake_ir"]


def fake_tasks(skill: float) -> list[FakeTask]:
    """One task of each kind of metric."""
    return [
        FakeTask("cmexam", n=90, skill=skill, language="zh", prompt="患者{i}岁，{name}？"),
        FakeTask("medqa_us", n=60, skill=skill, clusters=20),
        FakeTask("cmeee_v2", "extraction", 50, skill, "zh", "extraction"),
        FakeTask("kuake_ir", "labels", 45, skill, "zh", "matching"),
    ]


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A results folder with a strong, a middling and a weak model."""
    results = tmp_path_factory.mktemp("results")
    for seed, (model, skill) in enumerate([("strong", 0.9), ("middling", 0.6), ("weak", 0.3)]):
        routing = write_routing(NAMES, seed=seed, documents=6) if model != "weak" else None
        write_run(results, model, fake_tasks(skill), seed=seed, groups={"suite": NAMES}, routing=routing)
    return results


@pytest.fixture(scope="session")
def runs(folder: Path) -> Runs:
    """These runs, loaded."""
    return load_runs(folder)
