"""Datasets from the hub, read only on request and at the revision that the register names."""

from __future__ import annotations

from medbench.data.documents import Document
from medbench.data.readers import MappingContext, Unanswerable
from medbench.data.reading import Reading, collect, map_rows
from medbench.data.registry import DatasetEntry
from medbench.data.rows import Row
from medbench.errors import DataError


def read_hub(entry: DatasetEntry, revision: str | None) -> Reading:
    """Read a dataset from the hub, or from the hub's cache when ``HF_HUB_OFFLINE`` is set.

    Args:
        entry: The dataset.
        revision: Commit, tag or branch; None for the hub's default.

    Raises:
        DataError: If the hub cannot be reached, or the dataset does not have the expected form.
    """
    import datasets
    from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled

    hub = entry.hub
    if hub is None:
        raise DataError(f"the dataset {entry.key!r} has no known place on the hub", hint="use --data-dir")
    parts: dict[str, list[tuple[str, Document | Unanswerable]]] = {}
    for split, theirs in hub.splits:
        where = f"{hub.id}{f' ({hub.config})' if hub.config else ''}, split {theirs}"
        try:
            # trust_remote_code is never set: datasets that need their own script fail here.
            rows = datasets.load_dataset(hub.id, hub.config, split=theirs, revision=revision)
        except (
            OSError,
            ValueError,
            RuntimeError,
            HfHubHTTPError,
            OfflineModeIsEnabled,
            datasets.exceptions.DatasetsError,
        ) as error:
            reason = str(error).partition("\n")[0] or type(error).__name__
            raise DataError(
                f"the hub did not give the dataset: {reason}",
                where=where,
                hint="check the connection (HF_HUB_OFFLINE, HF_ENDPOINT), or put the files into a folder "
                "and use --data-dir, or use --source samples",
            ) from error
        context = MappingContext(split, entry.language, entry.subject, entry.select, entry.selects)
        numbered = (Row(f"{where}, row {index + 1}", index + 1, row) for index, row in enumerate(rows))
        parts[split] = map_rows(numbered, hub.mapping, context, upstream=True)
    return collect(parts, hub.id)


def commit_of(hub_id: str, revision: str | None) -> str:
    """The current commit of a branch or tag of a dataset on the hub.

    Raises:
        DataError: If the hub cannot be reached.
    """
    import huggingface_hub

    try:
        commit = huggingface_hub.HfApi().dataset_info(hub_id, revision=revision).sha
    except Exception as error:  # the client raises its HTTP library's errors
        raise DataError(
            f"the hub did not say which commit this is: {type(error).__name__}",
            where=hub_id,
            hint="check the connection (HF_HUB_OFFLINE, HF_ENDPOINT)",
        ) from error
    if not commit:
        raise DataError("the hub gave no commit", where=hub_id)
    return str(commit)
