"""A run asked for in a file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from medbench.catalog import find_model
from medbench.errors import MedbenchError
from medbench.runs.config import read_config
from medbench.runs.plan import RunPlan, make_plan
from medbench.runs.settings import RunSettings, known_settings

_OPTIONS = {"model", "name", "tasks", "base", "results", "tasks_dir", "report", "workers"}


def write(folder: Path, content: Any, name: str = "run.yaml") -> Path:
    path = folder / name
    text = content if isinstance(content, str) else yaml.safe_dump(content, allow_unicode=True)
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("said", "read"),
    [
        ({"model": "demo"}, {"model": ["demo"]}),
        ({"model": ["demo", "demo-early"]}, {"model": ["demo", "demo-early"]}),
        ({"tasks": "medqa_us,pubmedqa"}, {"tasks": ["medqa_us,pubmedqa"]}),
        ({"limit": 5, "circular": True}, {"limit": 5, "circular": True}),
        ({"limit": None, "seed": 7}, {"seed": 7}),
        ({"system_prompt": "你是一名医生。"}, {"system_prompt": "你是一名医生。"}),
        ({"system_prompt": ""}, {"system_prompt": ""}),
        ({"max_batch_tokens": "auto"}, {"max_batch_tokens": "auto"}),
        ({"workers": 2, "results": "out"}, {"workers": 2, "results": "out"}),
        ("thinking: off\nrouting: off\n", {"thinking": "off", "routing": "off"}),
        ("thinking: on\n", {"thinking": "on"}),
    ],
)
def test_what_a_file_says(tmp_path: Path, said: Any, read: dict[str, Any]) -> None:
    assert read_config(write(tmp_path, said)) == read


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("limt: 5\n", r"unknown key 'limt'[\s\S]*run.yaml, line 1[\s\S]*'limit'"),
        ("model: demo\nlimit: many\n", r"'limit' is 'many', expected a positive[\s\S]*run.yaml, line 2"),
        ("limit: true\n", "'limit' is True"),
        ("limit: 0\n", "'limit' is 0"),
        ("routing: everything\n", "'routing' is 'everything', expected one of off"),
        ("thinking: maybe\n", "'thinking' is 'maybe'"),
        ("circular: 1\n", "'circular' is 1"),
        ("seed: 1\nseed: 2\n", r"'seed' is written twice[\s\S]*run.yaml, line 2"),
        ("model:\n  path: x\n", "'model' is"),
        ("model: demo\nallow_code: true\n", r"cannot let tasks run code[\s\S]*run.yaml, line 2"),
        ("gpus_per_worker: 0\n", "'gpus_per_worker' is 0"),
        ("", "found nothing"),
        ("- model\n", "expected keys"),
        ("model: [demo\n", "YAML"),
    ],
)
def test_what_no_file_may_say(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(MedbenchError, match=message):
        read_config(write(tmp_path, text))


def manifest_of(plan: RunPlan) -> dict[str, Any]:
    groups = {group.name: {"members": list(group.members)} for group in plan.groups}
    return {
        "model": plan.model.model,
        "tasks": {task.name: {} for task in plan.tasks},
        "groups": groups,
        "settings": plan.settings_used(),
        "model_definition": {"path": "…/checkpoint", "base": None},
    }


def plan_of(tasks: list[str], settings: RunSettings) -> RunPlan:
    return make_plan(find_model("demo", **settings.of_model()), tasks, task_folders=[], settings=settings)


@pytest.mark.parametrize(
    ("tasks", "settings"),
    [
        (["medqa_us"], RunSettings()),
        (["medqa_us", "pubmedqa"], RunSettings(limit=2, seed=5)),
        (["exams_en"], RunSettings(circular=True)),
        (["medbench_all"], RunSettings(max_batch_tokens=512)),
        (["cmexam", "medqa_us"], RunSettings(chat_template=False)),
        (["medqa_us"], RunSettings(system_prompt="Answer.", max_gen_toks=7)),
        (["medqa_us"], RunSettings(shuffle_options=3, routing="off", dtype="bfloat16")),
    ],
)
def test_a_run_can_be_given_back(tmp_path: Path, tasks: list[str], settings: RunSettings) -> None:
    plan = plan_of(tasks, settings)
    said = read_config(write(tmp_path, json.dumps(manifest_of(plan)), "run.json"))
    assert said.pop("model") == ["demo"]
    again = plan_of(said.pop("tasks"), RunSettings(**said))
    assert again.plan_hash == plan.plan_hash


@pytest.mark.parametrize("text", ["{}", "[]", "{", '{"tasks": []}', "null"])
def test_not_the_manifest_of_a_run(tmp_path: Path, text: str) -> None:
    with pytest.raises(MedbenchError):
        read_config(write(tmp_path, text, "run.json"))


def test_a_folder_is_no_longer_known_and_a_hub_id_is(tmp_path: Path) -> None:
    manifest = manifest_of(plan_of(["medqa_us"], RunSettings())) | {"model": "checkpoint-500"}
    manifest["model_definition"] = {"path": "…/checkpoint-500", "base": "org/base"}
    said = read_config(write(tmp_path, json.dumps(manifest), "run.json"))
    assert (said["model"], said["base"]) == (["…/checkpoint-500"], "org/base")
    with pytest.raises(MedbenchError, match="there is no model '…/checkpoint-500'"):
        find_model(said["model"][0])


def test_every_setting_can_stand_in_a_file(tmp_path: Path) -> None:
    values = {name: value for name in known_settings() if (value := getattr(RunSettings(), name)) is not None}
    assert read_config(write(tmp_path, values)) == values
    assert not _OPTIONS & set(known_settings())
