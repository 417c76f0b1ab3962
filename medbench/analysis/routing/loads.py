"""How much every expert served every document, as one tensor."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from medbench.analysis.routing.cells import Cells
from medbench.statistics.corpus import Floats

_DOCUMENT = ["task", "document"]
_ROUTER = ["layer", "projection"]


@dataclass(frozen=True)
class Loads:
    """Sums over the tokens of D documents at R routers with up to E experts.

    Attributes:
        documents: ``[D]`` rows with ``task`` and ``document``, sorted by them.
        routers: ``[R]`` rows with ``layer`` and ``projection``, sorted by them.
        used: ``[D, R, E]`` as :attr:`medbench.analysis.routing.cells.Cells.used`.
        tokens: ``[D, R]`` tokens.
    """

    documents: pd.DataFrame
    routers: pd.DataFrame
    used: Floats
    tokens: Floats

    def of(self, task: str) -> NDArray[np.bool_]:
        """``[D]`` which documents belong to a task."""
        return (self.documents["task"] == task).to_numpy()


def loads_of(run: Cells) -> Loads:
    """Arrange the cells of one run.

    Raises:
        AnalysisError: Its routers differ in shape over time.
    """
    merged = run.merge([*_DOCUMENT, *_ROUTER])
    keys = merged.keys.astype({"task": str, "projection": str})
    documents, document = _numbered(keys[_DOCUMENT])
    routers, router = _numbered(keys[_ROUTER])
    used = np.zeros((len(documents), len(routers), merged.count.shape[1]))
    tokens = np.zeros(used.shape[:2])
    used[document, router], tokens[document, router] = merged.used, merged.tokens
    return Loads(documents, routers, used, tokens)


def _numbered(keys: pd.DataFrame) -> tuple[pd.DataFrame, NDArray[np.intp]]:
    """The different rows, sorted, and for each row which of them it is."""
    grouped = keys.groupby(list(keys.columns), sort=True)
    numbers = grouped.ngroup().to_numpy().astype(np.intp)
    first = keys.assign(number=numbers).drop_duplicates("number").sort_values("number")
    return first.drop(columns="number").reset_index(drop=True), numbers
