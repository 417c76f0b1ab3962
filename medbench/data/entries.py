"""What the register says about a dataset and its files, as frozen records."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

__all__ = ["DatasetEntry", "FileChoice", "HubEntry", "PinnedFile", "SplitEntry"]


@dataclass(frozen=True)
class PinnedFile:
    """A file whose content is known.

    Attributes:
        path: Where it lies in a data folder.
        sha256: Its checksum.
        bytes: Its size.
        licence: Under which it is published.
        repo: GitHub repository that has it at a commit; None when it came out of an archive.
        commit: That commit.
        upstream_path: Its path in that repository.
        note: Where it came from otherwise.
    """

    path: str
    sha256: str
    bytes: int
    licence: str
    repo: str | None = None
    commit: str | None = None
    upstream_path: str | None = None
    note: str = ""


@dataclass(frozen=True)
class FileChoice:
    """One form in which a split may lie in a data folder."""

    path: str
    format: str
    mapping: str


@dataclass(frozen=True)
class SplitEntry:
    """A split: the first of its choices that a folder has, narrowed by keys where a file holds two."""

    split: str
    choices: tuple[FileChoice, ...]
    only_keys: str | None = None
    except_keys: str | None = None


@dataclass(frozen=True)
class HubEntry:
    """A dataset on the hub.

    A revision of None means that none is pinned; `revision_stated` tells whether the register says so itself.
    """

    id: str
    config: str | None
    splits: tuple[tuple[str, str], ...]
    revision: str | None
    mapping: str
    revision_stated: bool


@dataclass(frozen=True)
class DatasetEntry:
    """All that is known about a dataset before any of it is read.

    Attributes:
        key: Name by which tasks ask for it.
        benchmark: The benchmark it is part of.
        title: Name for people.
        schema: ``exam`` or ``promptcblue``.
        language: ``zh`` or ``en``.
        subject: Its one subject, or empty.
        select: Value that chooses its rows in a shared file, or empty.
        licence: Terms of the dataset.
        citation: The paper to cite.
        homepage: Where it is published.
        contamination: What is known about its presence in training data.
        hub: Its place on the hub, if it has one.
        splits: Its splits in a data folder.
        samples: File with its bundled samples.
        n: Documents that can be scored in the pinned file of the test split; None where none is pinned.
        selects: The values of `select` of all datasets of the benchmark, which may share files.
    """

    key: str
    benchmark: str
    title: str
    schema: str
    language: str
    subject: str
    select: str
    licence: str
    citation: str
    homepage: str
    contamination: str
    hub: HubEntry | None
    splits: tuple[SplitEntry, ...]
    samples: Path
    n: int | None = None
    selects: frozenset[str] = frozenset()

    @property
    def expected_files(self) -> tuple[str, ...]:
        """Paths of which a data folder needs at least one per split."""
        return tuple(choice.path for split in self.splits for choice in split.choices)
