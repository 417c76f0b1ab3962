"""Where the shipped definitions are: at the top of a checkout, or inside an installed package."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from medbench.errors import CatalogError

__all__ = ["definitions_folder"]

_PACKAGE = Path(__file__).resolve().parents[1]


def definitions_folder(kind: Literal["tasks", "models"]) -> Path:
    """The folder of shipped task or model definitions.

    Args:
        kind: ``tasks`` or ``models``.

    Raises:
        CatalogError: If there is neither, as in a broken installation.
    """
    for folder in (_PACKAGE / "definitions" / kind, _PACKAGE.parent / kind):
        if folder.is_dir():
            return folder
    raise CatalogError(
        f"the shipped {kind} definitions are missing",
        where=str(_PACKAGE / "definitions" / kind),
        hint="install the package again",
    )
