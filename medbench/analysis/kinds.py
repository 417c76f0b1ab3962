"""Kinds of tasks and documents, named by what their definitions say of them."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

#: What a task that says nothing of itself counts as.
UNLABELED = "other"


def kind_names(frame: pd.DataFrame, by: Sequence[str]) -> list[str]:
    """The kind of each row, such as ``zh-exam``.

    Args:
        frame: Rows with the columns ``by``, each of which may be missing in any row.
        by: Columns that make a kind.

    Returns:
        A name per row; a part that is missing is ``other``, and so is a kind of which every part is missing.
    """
    found = []
    for row in frame[list(by)].itertuples(index=False, name=None):
        parts = [UNLABELED if pd.isna(part) or str(part) == "" else str(part) for part in row]
        found.append(UNLABELED if set(parts) == {UNLABELED} else "-".join(parts))
    return found
