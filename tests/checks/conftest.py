"""Two sound tasks to plant faults in."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from medbench.checks import new_task
from tests.checks.planting import EXAM, NER


@pytest.fixture(scope="session")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two scaffolded tasks: an exam by letters, and an extraction that generates."""
    folder = tmp_path_factory.mktemp("sound")
    new_task(EXAM, like="medqa", into=folder)
    new_task(NER, like="promptcblue_cmeee_v2", into=folder)
    return folder


@pytest.fixture
def tasks(sound: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(sound, tmp_path / "tasks"))
