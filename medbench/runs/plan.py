"""From what was asked to what will be done: the model, the tasks, their data, and the hash of it all."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medbench.common.choices import READINGS
from medbench.common.files import sha256_of
from medbench.errors import MedbenchError
from medbench.runs.protocol import Protocol, model_source, settle_protocol
from medbench.runs.settings import RunSettings, canonical_hash

if TYPE_CHECKING:
    from medbench.catalog import ModelDefinition, TaskDefinition
    from medbench.data import DatasetEntry, Source
    from medbench.runs.scores import Group


@dataclass(frozen=True)
class RunPlan:
    """Everything decided before a model is loaded.

    Attributes:
        model: The model's definition.
        protocol: How it is asked.
        fingerprint: Digests of its weights, tokenizer and chat template.
        tasks: Leaf tasks, in the order asked for, none twice.
        groups: Groups asked for, and the groups within them.
        folders: Folders with task YAMLs, the shipped one first.
        sources: For each dataset, where its documents come from.
        settings: The choices of the run.
        failures: Why tasks cannot be run, by name.
        allow_code: Whether tasks from outside may run code of their own; their digests say what it is.
        readings: For each dataset, how its files are to be read.
        moment: What a chat template that asks for the time is told; ``None`` where the model's does not.
    """

    model: ModelDefinition
    protocol: Protocol
    fingerprint: dict[str, Any]
    tasks: tuple[TaskDefinition, ...]
    groups: tuple[Group, ...]
    folders: tuple[Path, ...]
    sources: dict[str, Source]
    settings: RunSettings
    failures: dict[str, Exception]
    allow_code: bool = False
    readings: Mapping[str, Any] = field(default_factory=dict)
    moment: datetime | None = None

    @property
    def chat_template(self) -> bool:
        """Whether prompts go through the model's chat template."""
        return self.protocol.chat_template

    @property
    def system_prompt(self) -> str:
        """The system prompt, perhaps empty."""
        return self.protocol.system_prompt

    @property
    def answer_identity(self) -> str:
        """Hash of what gives the answers: weights, tokenizer, template, number format, arithmetic."""
        arithmetic = {
            key: value
            for key, value in (
                ("quantization", self.model.quantization),
                ("deterministic", self.model.deterministic),
            )
            if value not in ("none", False)
        }
        return canonical_hash({"model": self.fingerprint["model"], "dtype": self.model.dtype, **arithmetic})

    @property
    def token_budget(self) -> int | str:
        """Tokens per forward: as asked for the run, else as the model's definition says."""
        budget: int | str = self.settings.max_batch_tokens or self.model.engine.max_batch_tokens or "auto"
        return budget

    def settings_used(self) -> dict[str, Any]:
        """Every setting as it is used, from whatever it comes: for ``settings`` of ``run.json``.

        ``num_fewshot`` is ``None`` where the tasks decide, ``limit`` for all documents; where documents come
        from stands beside the scores of each task.
        """
        asked, readings = asdict(self.settings), [name for names in READINGS.values() for name in names]
        del asked["data_dir"]  # nobody's business but its owner's
        return asked | {
            "chat_template": self.chat_template,
            "system_prompt": self.system_prompt,
            "thinking": self.protocol.thinking,
            "thinking_tags": [list(pair) for pair in self.protocol.thinking_tags],
            **{name: getattr(self.model, name) for name in self.settings.of_model()},
            # The files say it themselves, but for which of two readings is meant.
            "layout": self.fingerprint["layout"] if self.fingerprint["layout"] in readings else None,
            "max_batch_tokens": self.token_budget,
            "engine": None,  # known once the model is loaded (:mod:`medbench.runs.engines`)
        }

    @property
    def clock(self) -> dict[str, str]:
        """What the chat template is told of the time, by format."""
        if self.moment is None or not self.chat_template:
            return {}
        return {form: self.moment.strftime(form) for form in self.fingerprint["clock"]}

    @property
    def plan_hash(self) -> str:
        """Hash of everything that can change an answer or a score.

        Versions of other packages are no part of it: they are recorded with every attempt.
        """
        return canonical_hash(
            {
                "answers": self.answer_identity,
                "code": code_digest(),
                "clock": self.clock,
                "tasks": {task.name: task.digest for task in self.tasks},
                "groups": [asdict(group) for group in self.groups],
                "data": {
                    name: [source.fingerprint, source.revision, self.readings.get(name)]
                    for name, source in self.sources.items()
                },
                # As used: whether they were asked for or would have been so anyway makes no other run.
                "settings": self.settings.identity() | asdict(self.protocol),
            }
        )


def make_plan(
    model: ModelDefinition,
    task_names: Sequence[str],
    *,
    task_folders: Sequence[Path],
    settings: RunSettings,
    allow_code: bool = False,
) -> RunPlan:
    """Resolve a request into a plan.

    Raises:
        MedbenchError: The model or a task is unknown or faulty, or no task has its data.
    """
    from medbench.catalog import resolve_tasks
    from medbench.catalog.inputs import forget_changed
    from medbench.data import get_entry, require_any, resolve, settle
    from medbench.runs.scores import Group

    selection = resolve_tasks(
        task_names, extra_dirs=task_folders, allow_code=allow_code, data_dir=settings.data_dir
    )
    outside = selection.folders[1:]
    if settings.data_source not in ("hub", "samples"):
        named = [task.dataset for task in selection.tasks if task.dataset and task.own_data]
        require_any(named, settings.data_dir, outside)
    sources: dict[str, Source] = {}
    failures: dict[str, Exception] = {}
    for task in selection.tasks:
        if task.dataset is None or not task.own_data or task.dataset in sources:
            continue  # a task that brings its documents itself may call them what it likes
        try:
            found = resolve(task.dataset, settings.data_dir, settings.data_source, outside)
            sources[task.dataset] = settle(found, outside)
        except MedbenchError as error:
            failures[task.name] = error
    if failures and len(failures) == len(selection.tasks):
        raise next(iter(failures.values()))
    for task in selection.tasks:
        forget_changed(task.modules)
    fingerprint = model_source(model).fingerprint()
    return RunPlan(
        model=on_this_machine(model),
        protocol=settle_protocol(model, settings),
        fingerprint=fingerprint,
        tasks=tuple(selection.tasks),
        groups=tuple(
            # A shipped group has one average, whichever metrics lm-eval would average beside it.
            Group(group.name, group.members, group.macro, () if group.shipped else group.aggregates)
            for group in selection.groups
        ),
        folders=tuple(selection.folders),
        sources=sources,
        settings=settings,
        failures=failures,
        allow_code=allow_code,
        readings={name: _reading(get_entry(name, outside)) for name in sources},
        moment=datetime.now().astimezone() if fingerprint["clock"] else None,
    )


def _reading(entry: DatasetEntry) -> dict[str, Any]:
    """What the register says that decides which documents are read, and as what."""
    return {
        "schema": entry.schema,
        "language": entry.language,
        "subject": entry.subject,
        "select": [entry.select, *sorted(entry.selects)],
        "splits": [asdict(split) for split in entry.splits],
        "hub": asdict(entry.hub) if entry.hub else None,
    }


def on_this_machine(model: ModelDefinition) -> ModelDefinition:
    """Settle ``auto``: a GPU where there is one; on it the checkpoint's 16-bit format, float32 on the CPU."""
    import torch

    device = model.device
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    dtype = model.dtype
    if dtype == "auto":
        dtype = "float32" if device == "cpu" else model.gpu_dtype or model_source(model).gpu_dtype()
    return replace(model, device=device, dtype=dtype)


_PACKAGE = Path(__file__).parents[1]
_PACKAGES = ("data", "models", "runs", "scoring", "statistics")
# What only shows, logs or keeps a run; every other module of these packages counts, new ones too.
_WITHOUT_EFFECT = frozenset(
    f"runs/{name}.py" for name in ("directory", "interruption", "logs", "manifest", "privacy", "progress")
)


def scoring_sources() -> Iterator[Path]:
    """Modules of medbench that can change an answer or a score."""
    for package in _PACKAGES:
        for path in sorted((_PACKAGE / package).rglob("*.py")):
            if path.relative_to(_PACKAGE).as_posix() not in _WITHOUT_EFFECT:
                yield path


@lru_cache(maxsize=1)  # the code that runs is that of the start
def code_digest() -> str:
    """SHA-256 (hex) over :func:`scoring_sources`."""
    lines = [f"{path.relative_to(_PACKAGE).as_posix()} {sha256_of(path)}" for path in scoring_sources()]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()
