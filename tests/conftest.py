"""What tests of several packages need."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

# Tests reach no network; the libraries read these when they are imported.
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["HF_DATASETS_OFFLINE"] = "1"

CHECKOUT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder with real benchmark files and golden outputs, which lies beside the checkout or nowhere."""
    folder = Path(os.environ.get("MEDBENCH_SHARED", CHECKOUT.parent / "shared"))
    if not folder.is_dir():
        pytest.skip(f"needs the folder of reference data, which is not at {folder} (set MEDBENCH_SHARED)")
    return folder
