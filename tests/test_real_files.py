"""A checkpoint in the authors' own layout, evaluated end to end on real benchmark files."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

import medbench
from medbench.demo.corpus import train_tokenizer

TASKS = ["pubmedqa", "medqa_us", "cmexam_single", "cmexam_multiple", "promptcblue_cmeee_v2"]


def golden_adapter(shared: Path, folder: Path, case: str = "e4k2r8") -> tuple[Path, Path]:
    """Copy a golden adapter and its base, and give the base a tokenizer of its vocabulary's size."""
    source = shared / "golden" / "checkpoints" / case
    for part in ("base", "adapter-moe"):
        shutil.copytree(source / part, folder / part)
        for file in (folder / part).iterdir():
            file.chmod(0o644)
    samples = Path(medbench.__file__).parent / "data" / "samples"
    texts = [path.read_text(encoding="utf-8") for path in sorted(samples.glob("*.jsonl"))]
    train_tokenizer(texts, 1031).save_pretrained(folder / "base")
    return folder / "adapter-moe", folder / "base"


@pytest.mark.slow
@pytest.mark.ci
def test_a_golden_adapter_on_real_files(shared: Path, tmp_path: Path) -> None:
    adapter, base = golden_adapter(shared, tmp_path)
    run = medbench.evaluate(
        model=str(adapter),
        base=str(base),
        tasks=TASKS,
        limit=4,
        data_dir=shared / "data",
        results=tmp_path / "results",
        chat_template=True,
        quiet=True,
    )
    scores = run.scores()
    assert set(scores.loc[scores["kind"] == "task", "task"]) == set(TASKS)
    assert (scores["data_source"] == "folder").all()
    assert scores["value"].between(0, 1).all()
    routing = run.routing()
    assert set(routing["task"].astype(str)) == set(TASKS)
    # Two experts of every real token, in every linear of every layer.
    cells = routing.groupby(["task", "document", "phase", "layer", "projection"], observed=True)
    assert (cells["count"].sum() == 2 * cells["tokens"].first()).all()
    assert (run.samples(columns=["prompt"])["prompt"].str.len() > 0).all()
