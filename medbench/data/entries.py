"""What the register of datasets says about a dataset and its files."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class PinnedFile:
    """A file with a known checksum.

    Attributes:
        path: Its path in a data folder.
        sha256: Its checksum.
        bytes: Its size.
        licence: Its license.
        repo: GitHub repository that has it at a commit; None if it came from an archive.
        commit: That commit.
        upstream_path: Its path in that repository.
        note: Where it comes from, if there is no repository.
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
    """One of the files that a split may be read from."""

    path: str
    format: str
    mapping: str


@dataclass(frozen=True)
class SplitEntry:
    """A split: the first of its choices that a folder has, with keys if the file has rows of two splits."""

    split: str
    choices: tuple[FileChoice, ...]
    only_keys: str | None = None
    except_keys: str | None = None


@dataclass(frozen=True)
class HubEntry:
    """A dataset on the hub.

    A revision of None means that none is pinned; `revision_stated` says whether the register states that.
    """

    id: str
    config: str | None
    splits: tuple[tuple[str, str], ...]
    revision: str | None
    mapping: str
    revision_stated: bool


@dataclass(frozen=True)
class DatasetEntry:
    """What is known about a dataset before it is read.

    Attributes:
        key: Name that tasks use for it.
        benchmark: The benchmark it is part of.
        title: Name for people.
        schema: ``exam`` or ``promptcblue``.
        language: ``zh`` or ``en``.
        subject: Its subject, if it has only one.
        select: Value that selects its rows in a shared file, or empty.
        licence: License of the dataset.
        citation: The paper to cite.
        homepage: Where it is published.
        contamination: What is known of its presence in training data.
        hub: Its dataset on the hub, if there is one.
        splits: Its splits in a data folder.
        samples: File with its bundled samples.
        n: Number of documents that can be scored in the pinned test file; None if none is pinned.
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
        """Paths of which a data folder must have at least one per split."""
        return tuple(choice.path for split in self.splits for choice in split.choices)
