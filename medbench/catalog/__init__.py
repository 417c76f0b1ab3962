"""The catalog: task and model definitions, found, read and judged without running anything."""

from __future__ import annotations

from medbench.catalog.groups import GroupDefinition
from medbench.catalog.index import TaskIndex, build_index
from medbench.catalog.models import ModelDefinition, find_model, list_models, read_model
from medbench.catalog.selection import Selection, resolve_tasks, select
from medbench.catalog.tasks import TaskDefinition, definitions_folder

__all__ = [
    "GroupDefinition",
    "ModelDefinition",
    "Selection",
    "TaskDefinition",
    "TaskIndex",
    "build_index",
    "definitions_folder",
    "find_model",
    "list_models",
    "read_model",
    "resolve_tasks",
    "select",
]
