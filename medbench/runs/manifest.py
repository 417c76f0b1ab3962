"""``run.json``: everything needed to know what was evaluated, with what, on what."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from medbench.runs.directory import RunDirectory, read_json, write_json
from medbench.runs.logs import collect_warnings
from medbench.runs.privacy import scrub_values
from medbench.version import __version__

_PACKAGES = (
    "torch",
    "transformers",
    "lm-eval",
    "datasets",
    "peft",
    "safetensors",
    "tokenizers",
    "numpy",
    "pandas",
    "pyarrow",
    "scikit-learn",
    "scipy",
    "rouge-score",
    "rouge-chinese",
)


@dataclass
class Manifest:
    """The manifest of a run in progress; :meth:`update` changes fields and writes the file."""

    directory: RunDirectory
    fields: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def start(cls, directory: RunDirectory, fields: Mapping[str, Any]) -> Manifest:
        """Write the first manifest of a run, or take up that of an earlier attempt."""
        earlier = read_json(directory.manifest) if directory.manifest.exists() else {}
        manifest = cls(directory)
        manifest.update(
            {
                "run_id": directory.run_id,
                "medbench": __version__,
                **fields,
                "warnings": [],
                "lasting_warnings": earlier.get("lasting_warnings", {}),
                "started": earlier.get("started", _now()),
                "attempts": [*earlier.get("attempts", []), {"started": _now(), "environment": environment()}],
                "status": "running",
            }
        )
        return manifest

    def update(self, fields: Mapping[str, Any]) -> None:
        """Set fields and write ``run.json``."""
        self.fields.update(fields)
        write_json(self.directory.manifest, scrub_values(self.fields))

    def note_attempt(self, fields: Mapping[str, Any]) -> None:
        """Set fields of the attempt at hand."""
        *earlier, current = self.fields["attempts"]
        self.update({"attempts": [*earlier, {**current, **fields}]})

    def finish(self, status: str, fields: Mapping[str, Any]) -> None:
        """Record how the attempt ended, for itself and as the state of the run."""
        ending = {"status": status, "ended": _now()}
        self.note_attempt({**ending, "warnings": list(self.fields["warnings"])})
        self.update({**fields, **ending})


@contextmanager
def noting_warnings(directory: RunDirectory) -> Iterator[list[str]]:
    """Keep the warnings of the report of a run, made after its end, in its manifest as well.

    They replace those of an earlier report.

    Args:
        directory: The run.

    Yields:
        A list that is filled at the end with all warnings of the run.
    """
    everything: list[str] = []
    with collect_warnings() as said:
        yield everything
    content = read_json(directory.manifest)
    before, now = content.get("report_warnings", []), scrub_values(list(said))
    everything += [text for text in content.get("warnings", ()) if text not in before] + now
    if before != now:
        write_json(directory.manifest, content | {"warnings": everything, "report_warnings": now})


def environment() -> dict[str, Any]:
    """Versions and hardware of this process; nothing that names a user, a folder or a secret."""
    import torch

    packages: dict[str, str | None] = {}
    for name in _PACKAGES:
        try:
            packages[name] = version(name)
        except PackageNotFoundError:
            packages[name] = None
    gpus = (
        [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
        if torch.cuda.is_available()
        else []
    )
    return {
        "python": platform.python_version(),
        "platform": platform.platform(terse=True),
        "machine": platform.machine(),
        "cpus": os.cpu_count(),
        "torch_threads": torch.get_num_threads(),
        "gpus": gpus,
        "packages": packages,
    }


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
