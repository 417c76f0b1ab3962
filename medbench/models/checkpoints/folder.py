"""Folders of checkpoints: a path of the user's, the package's own, or a snapshot from the hub."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from medbench.common.files import load_json
from medbench.errors import ModelError
from medbench.models.checkpoints.gguf import SUFFIX, find_gguf, unpacked

# Everything that decides how text becomes tokens. Whoever copies or fingerprints a tokenizer means these.
TOKENIZER_FILES = (
    "added_tokens.json",
    "chat_template.jinja",
    "chat_template.json",
    "merges.txt",
    "sentencepiece.bpe.model",
    "special_tokens_map.json",
    "spiece.model",
    "tokenizer.json",
    "tokenizer.model",
    "tokenizer_config.json",
    "vocab.json",
    "vocab.txt",
)

# Those that make a tokenizer; the others only add to one. Some, of bytes, have no vocabulary of their own.
_MAKES_TOKENIZER = frozenset(TOKENIZER_FILES) - {
    *("added_tokens.json", "chat_template.jinja", "chat_template.json", "special_tokens_map.json")
}

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
_HUB_PATTERNS = ["*.json", "*.safetensors", "*.bin", "*.model", "*.txt", "*.jinja"]
_MAX_JSON_BYTES = 64 * 2**20
_PACKAGE = Path(__file__).resolve().parents[2]


def resolve(path: str | Path, revision: str | None = None) -> Path:
    """Find the folder that a checkpoint's path or hub id means, downloading it where necessary.

    Args:
        path: A folder or a GGUF file; ``medbench/…`` for a folder inside the installed package; else a hub
            id ``owner/name``.
        revision: Commit, tag or branch on the hub; ``None`` for the default branch.

    Raises:
        ModelError: There is no such folder, and it is no hub id or cannot be downloaded.
    """
    text = str(path)
    inside = _PACKAGE.parent / text
    if text.startswith("medbench/") and inside.is_dir():
        return inside
    folder = Path(path).expanduser()
    if folder.is_dir():
        file = find_gguf(folder)
        return folder if file is None else unpacked(file)
    if folder.is_file() and folder.suffix == SUFFIX:
        return unpacked(folder)
    if folder.exists():
        raise ModelError(
            "a checkpoint is a folder or a GGUF file, this is another file",
            where=text,
            hint="name the folder around it",
        )
    if not _HUB_ID.fullmatch(text):
        raise ModelError("no such folder", where=text, hint="give a folder or a hub id such as owner/name")
    return _snapshot(text, revision)


@dataclass(frozen=True)
class CheckpointSource:
    """Which checkpoint, and how its files are read.

    Attributes:
        path: Folder or hub id, or a GGUF file.
        base: The same of an adapter's base model, which nothing else takes.
        layout: ``auto``, or the layout that it must have (:data:`medbench.common.choices.LAYOUTS`).
        revision: Revision of ``path`` on the hub.
        base_revision: Revision of ``base`` on the hub.
    """

    path: str | Path
    base: str | Path | None = None
    layout: str = "auto"
    revision: str | None = None
    base_revision: str | None = None

    @classmethod
    def of(
        cls, source: str | Path | CheckpointSource, base: str | Path | None = None, layout: str = "auto"
    ) -> CheckpointSource:
        """A source as it is, or one of a path, its base and its layout."""
        return source if isinstance(source, CheckpointSource) else cls(source, base, layout)

    def folder(self) -> Path:
        """The checkpoint's folder; see :func:`resolve`."""
        return resolve(self.path, self.revision)


def read_json(path: Path) -> dict[str, Any]:
    """Read a file with one JSON object.

    Raises:
        ModelError: The file is missing, is no JSON object, or is unreasonably large.
    """
    try:
        if path.stat().st_size > _MAX_JSON_BYTES:
            raise ModelError(
                f"larger than {_MAX_JSON_BYTES >> 20} MiB, which no such file is", where=str(path)
            )
        value = load_json(path)
    except FileNotFoundError:
        raise ModelError(f"no {path.name} in the checkpoint", where=str(path.parent)) from None
    except (OSError, ValueError) as error:
        raise ModelError(f"cannot be read as JSON: {error}", where=str(path)) from error
    if not isinstance(value, dict):
        raise ModelError("expected a JSON object", where=str(path))
    return value


def has_tokenizer(folder: Path) -> bool:
    """Whether a folder holds a tokenizer, and not just what belongs to one."""
    return any((folder / name).is_file() for name in _MAKES_TOKENIZER)


@lru_cache
def _snapshot(repo: str, revision: str | None) -> Path:
    """Download once per process, so that weights, tokenizer and fingerprint are of the same commit."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import (
        GatedRepoError,
        HfHubHTTPError,
        HFValidationError,
        LocalEntryNotFoundError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    where = repo if revision is None else f"{repo} at {revision}"
    try:
        return Path(snapshot_download(repo, revision=revision, allow_patterns=_HUB_PATTERNS))
    except GatedRepoError as error:
        raise ModelError(
            "the hub gives this checkpoint only to those who accepted its terms",
            where=where,
            hint="accept them on its page, then log in with `hf auth login`",
        ) from error
    except RevisionNotFoundError as error:
        raise ModelError("the hub has no such revision", where=where) from error
    except RepositoryNotFoundError as error:
        raise ModelError(
            "no such folder here, and no such repository on the hub",
            where=where,
            hint="check the spelling; a private one needs `hf auth login`",
        ) from error
    except (LocalEntryNotFoundError, HfHubHTTPError, HFValidationError, OSError) as error:
        raise ModelError(
            "no such folder here, and the hub cannot be reached",
            where=where,
            hint=f"where there is a network: `hf download {repo}`; copy that folder here and give its path",
        ) from error
