"""Writing the tables of a run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from medbench.runs.directory import RunDirectory, replacing
from medbench.runs.extras import extra
from medbench.runs.tables import ScoreRow, TaskSamples, samples_table, scores_table

if TYPE_CHECKING:
    from medbench.models import RoutingCounts

__all__ = ["write_tables"]


def write_tables(
    directory: RunDirectory,
    samples: Sequence[TaskSamples],
    scored: Sequence[ScoreRow],
    routing: RoutingCounts | None,
) -> None:
    """Write the tables, the scores last: a folder with scores has everything else."""
    import pyarrow.parquet as pq

    with replacing(directory.samples) as temporary:
        pq.write_table(samples_table(samples), temporary, compression="zstd")
    if routing is not None:
        done = {row["task"] for part in samples for row in part.rows[:1]}
        with extra("routing"):
            frame = routing.to_frame()
            with replacing(directory.routing) as temporary:
                frame[frame["task"].isin(done)].to_parquet(temporary, compression="zstd", index=False)
    with replacing(directory.scores) as temporary:
        pq.write_table(scores_table(scored), temporary, compression="zstd")
