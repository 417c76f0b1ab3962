"""Checkpoints and tasks that the runs here are made of."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

import medbench.demo
from tests.truth.runs import Made, run
from tests.truth.traces import Trace

DEMO = Path(medbench.demo.__file__).parent / "checkpoint"

# Letters with and without reasoning, several answers, labels, records, texts, and a task of lm-eval's form.
EVERY_KIND = ",".join(
    (
        "pubmedqa",
        "cmexam",
        "ceval_medical",
        "ceval_medical_physician_cot",
        "medqa_us_direct",
        "promptcblue_chip_ctc",
        "promptcblue_chip_sts",
        "promptcblue_cmeee_v2",
        "promptcblue_meddg",
        "mmedbench_en_rationale",
        "own_words",
    )
)
# Those that a random model does not take a thousand words to answer.
NO_ROUTERS = "pubmedqa,cmexam,ceval_medical,own_words,promptcblue_chip_ctc"

OWN = """
task: own_words
dataset_path: json
dataset_kwargs:
  data_files: {file}
test_split: train
output_type: multiple_choice
doc_to_text: "Is this a drug? {{{{word}}}}\\nAnswer:"
doc_to_choice: ["no", "certainly"]
doc_to_target: label
metric_list:
  - metric: acc
  - metric: acc_norm
"""


@pytest.fixture(scope="session")
def plain_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small random Qwen2 without routers, with the words of the demo."""
    import torch
    import transformers

    folder = tmp_path_factory.mktemp("models") / "plain"
    config = json.loads((DEMO / "config.json").read_text(encoding="utf-8"))["base_config"]
    config |= {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "layer_types": None}
    config["tie_word_embeddings"] = False
    torch.manual_seed(3)
    model = transformers.Qwen2ForCausalLM(transformers.Qwen2Config(**config))
    model.save_pretrained(folder)
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        shutil.copy(DEMO / name, folder / name)
    return folder


@pytest.fixture(scope="session")
def own_tasks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A task of lm-eval's own form without any metadata, its documents in clusters."""
    folder = tmp_path_factory.mktemp("tasks")
    words = ["aspirin", "table", "heparin", "window", "insulin", "garden", "digoxin", "river"]
    rows = [
        {"word": f"{word} {turn}", "label": i % 2 ^ 1, "cluster": f"c{(i + turn) % 5}"}
        for turn in range(2)
        for i, word in enumerate(words)
    ]
    data = folder / "words.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    (folder / "own_words.yaml").write_text(OWN.format(file=data), encoding="utf-8")
    return folder


@pytest.fixture(scope="session")
def evaluated(
    plain_model: Path, own_tasks: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, list[Made]]:
    """The demo, an early step of it and a model without routers on tasks of every kind, with traces."""
    results = tmp_path_factory.mktemp("results")
    words = ["--tasks", EVERY_KIND, "--tasks-dir", own_tasks, "--routing", "tokens"]
    made = run(results, "--model", "demo", "--model", "demo-early", *words)
    words[1], words[-1] = NO_ROUTERS, "off"
    return results, [*made, *run(results, "--model", plain_model, *words)]


@pytest.fixture(scope="session")
def traced(evaluated: tuple[Path, list[Made]]) -> list[tuple[Made, Trace]]:
    """The runs with routers and their traces."""
    return [(made, Trace(made.folder)) for made in evaluated[1][:2]]
