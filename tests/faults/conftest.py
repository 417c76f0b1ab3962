"""A short run of the demo, undisturbed."""

from __future__ import annotations

import pytest

from benchmarks.faults.kills import Subject, prepare


@pytest.fixture(scope="session")
def subject(tmp_path_factory: pytest.TempPathFactory) -> Subject:
    return prepare(tmp_path_factory.mktemp("faults"), limit=3)
