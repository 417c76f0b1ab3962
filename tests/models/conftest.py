"""Small checkpoints that a test may damage."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.models import made_checkpoints as cp
from tests.models.made_checkpoints import BASES, Source


@pytest.fixture
def merged(tmp_path: Path) -> Source:
    return Source(cp.write_merged(tmp_path / "merged", BASES["qwen2"]))


@pytest.fixture
def adapter(tmp_path: Path) -> Source:
    return cp.write_adapter(tmp_path / "both", BASES["qwen2"])
