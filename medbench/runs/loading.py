"""Instantiating lm-eval tasks from their definitions, with lm-eval's own rules for examples and chance.

A task is built from the values that the catalog read, not from a second reading of its file: what was checked
is what runs. lm-eval's index of names is never asked, so that definitions of one name stay apart.
"""

from __future__ import annotations

import inspect
import logging
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from medbench.catalog.index import build_index
from medbench.catalog.tasks import TaskDefinition
from medbench.common.yaml_files import Function
from medbench.errors import RunError
from medbench.models.harness.generation_settings import TOKEN_LIMITS
from medbench.runs.askable import asking_several, refuse_first_golds, settle_documents
from medbench.runs.settings import RunSettings

_LOG = logging.getLogger(__name__)

# lm-eval seeds Python's generator by 0 and all others by 1234 unless told otherwise. The default seed here
# stands for the same, so that a task that draws at random draws what it draws there.
_PYTHON_SEEDS = {1234: 0}


def seed_everything(seed: int) -> None:
    """Seed the global generators that tasks and the harness may draw from."""
    import numpy as np
    import torch

    random.seed(_PYTHON_SEEDS.get(seed, seed))
    np.random.seed(seed)
    torch.manual_seed(seed)


@dataclass(frozen=True)
class _Chance:
    """The state of all global generators."""

    python: Any
    numpy: Any
    torch: Any

    @classmethod
    def now(cls) -> _Chance:
        import numpy as np
        import torch

        return cls(random.getstate(), np.random.get_state(), torch.get_rng_state())

    def restore(self) -> None:
        import numpy as np
        import torch

        random.setstate(self.python)
        np.random.set_state(self.numpy)
        torch.set_rng_state(self.torch)


def load_tasks(
    definitions: Sequence[TaskDefinition], settings: RunSettings, siblings: Mapping[str, str] | None = None
) -> tuple[dict[str, Any], dict[str, Exception]]:
    """Instantiate lm-eval tasks with their documents.

    Args:
        definitions: Leaf tasks.
        settings: Settings of the run; data settings reach ``medbench.data.load`` as metadata.
        siblings: Who asks questions with several right answers, by dataset; by default the shipped tasks and
            those to be instantiated.

    Returns:
        The tasks by name, and the failures by name.
    """
    # Both must be imported before anything else registers, or the built-in metrics and models vanish.
    import lm_eval.api.metrics
    import lm_eval.models  # noqa: F401
    from lm_eval.tasks import TaskManager

    # Only medbench's own loader asks for these; a task's metadata is otherwise its own.
    asked = {
        "data_dir": settings.data_dir,
        "data_source": settings.data_source,
        "shuffle_options": settings.shuffle_options,
        "circular": settings.circular,
    }
    manager = TaskManager(include_defaults=False)
    if siblings is None:
        siblings = asking_several((*build_index().tasks.values(), *definitions))
    tasks: dict[str, Any] = {}
    failures: dict[str, Exception] = {}
    for definition in definitions:
        name = definition.name
        try:
            seed_everything(settings.seed)
            # The manager adds nothing to a task, but draws from the generators as it does in lm-eval.
            (task,) = manager.load([_instance(definition, asked)])["tasks"].values()
            task.medbench_chance = _Chance.now()
            _set_fewshot(task, definition, settings)
            settle_documents(task, settings, siblings)
            _set_generation(task, settings)
            tasks[name] = task
        except Exception as error:  # noqa: BLE001 - a task's own code may raise anything; it is reported by name
            failures[name] = _explained(error, definition)
    return tasks, failures


def _explained(error: Exception, definition: TaskDefinition) -> Exception:
    """Say in a sentence what a failure of the hub means; other errors speak for themselves."""
    from datasets.exceptions import DatasetNotFoundError

    path = definition.merged.values.get("dataset_path")
    if not isinstance(error, (ConnectionError, DatasetNotFoundError)) or not isinstance(path, str):
        return error
    return RunError(
        f"its documents ({path}) are neither on this machine nor can the hub be reached",
        where=definition.name,
        hint="run it once where there is a network, which keeps a copy, or check the name of the dataset",
    )


def rewind(task: Any, settings: RunSettings) -> None:
    """Put chance back to where it was once the task was loaded.

    Whatever happened since, the task then draws the examples and numbers that lm-eval draws for it alone.
    """
    chance = getattr(task, "medbench_chance", None)
    if chance is None:
        seed_everything(settings.seed)
    else:
        chance.restore()
    task.set_fewshot_seed(settings.seed)


def _instance(definition: TaskDefinition, asked: Mapping[str, Any]) -> Any:
    """The task itself, made as lm-eval makes it.

    Args:
        definition: What to make.
        asked: What medbench's loader is told beside the metadata.
    """
    from lm_eval.api.task import ConfigurableTask

    config = {key: _imported(value) for key, value in definition.merged.values.items() if key != "tag"}
    metadata = config.get("metadata", {})
    config["metadata"] = {
        **(metadata if isinstance(metadata, dict) else {"_metadata": metadata}),
        **(asked if definition.own_data else {}),
        "config_source": str(definition.path),
    }
    config["task"] = definition.name
    made = config.get("class")
    if made is None:
        try:
            return ConfigurableTask(config=dict(config))
        except Exception:
            # lm-eval looks the first document's gold up while it makes a task, and fails without naming it.
            refuse_first_golds(config)
            raise
    takes_config = "config" in inspect.signature(made.__init__).parameters
    task = made(config=config) if takes_config else made()
    if hasattr(getattr(task, "config", None), "task"):
        task.config.task = definition.name
    return task


def _imported(value: Any) -> Any:
    from lm_eval.tasks._yaml_loader import _import_func_in_yml

    if isinstance(value, Function):
        return _import_func_in_yml(value.name, value.folder)
    if isinstance(value, Mapping):
        return {key: _imported(inner) for key, inner in value.items()}
    return [_imported(inner) for inner in value] if isinstance(value, list) else value


def _set_fewshot(task: Any, definition: TaskDefinition, settings: RunSettings) -> None:
    own, asked = task.get_config("num_fewshot"), settings.num_fewshot
    count = int(own or 0) if asked is None else asked
    if own == 0 and asked and not definition.own_data:
        _LOG.warning(
            "%s: takes no examples, as its definition says; %d were asked for", definition.name, asked
        )
        count = 0
    if count:
        _check_examples(task, definition, count)
    task.set_config("num_fewshot", count)


def _set_generation(task: Any, settings: RunSettings) -> None:
    """Let what a run says of new tokens and of unfinished reasoning take the place of what the task says."""
    asked = dict(task.config.generation_kwargs or {})
    if task.OUTPUT_TYPE != "generate_until" or "constrain" in asked:
        return
    if settings.max_gen_toks is not None:
        asked = {name: value for name, value in asked.items() if name not in TOKEN_LIMITS}
        asked["max_gen_toks"] = settings.max_gen_toks
    if settings.close_thinking:
        asked["close_thinking"] = True
    task.set_config("generation_kwargs", asked)


def _check_examples(task: Any, definition: TaskDefinition, count: int) -> None:
    """See that there are enough examples, and that they are none of the documents asked about."""
    config, fewshot = task.config, getattr(task, "fewshot_cfg", None)
    split, listed = getattr(fewshot, "split", None), getattr(fewshot, "samples", None)
    scored = config.test_split or config.validation_split
    source = split or (None if listed else config.training_split or config.validation_split or scored)
    if source is not None and source == scored:
        if definition.own_data:
            raise RunError(
                "the task has no examples set apart for few-shot prompts",
                where=definition.name,
                hint="use --num-fewshot 0; examples drawn from the test documents would leak answers",
            )
        _LOG.warning(
            "%s: its examples are drawn from the documents that it is scored on (%s), as lm-eval does "
            "without a split for them; answers may leak into prompts",
            definition.name,
            scored,
        )
    available = len(list(task.fewshot_docs() or ()))
    if available < count:
        raise RunError(
            f"{count} examples were asked for, but the task has {available}",
            where=definition.name,
            hint=f"use --num-fewshot {available} or fewer",
        )
