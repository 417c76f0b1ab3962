"""Made-up runs whose texts try to break out of the report."""

from __future__ import annotations

from pathlib import Path

import pytest

from medbench.analysis import Runs, load_runs
from medbench.reports import write_report
from tests.analysis.factory import FakeTask, write_routing, write_run

#: What a dataset or a model may contain.
NASTY = (
    "</script><script>document.title='owned'</script><img src=x onerror=alert(1)>{{7*7}}\u2028=1+1&amp;"
    "\\\\end{document}"
)


def nasty_tasks(skill: float) -> list[FakeTask]:
    """A task of each kind, with hostile texts and Chinese."""
    return [
        FakeTask("cmexam", n=120, skill=skill, language="zh", prompt="患者{i}岁，发热三天，{name}？"),
        FakeTask("medqa_us", n=60, skill=skill, response=NASTY, clusters=20),
        FakeTask("cmeee_v2", "extraction", 50, skill, "zh", "extraction", data_source="samples"),
        FakeTask("kuake_ir", "labels", 45, skill, "zh", "matching", labels=("相关", "<b>不相关</b>", NASTY)),
    ]


@pytest.fixture(scope="session")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Runs:
    """Three models, one of them with a hostile name."""
    results = tmp_path_factory.mktemp("results")
    names = [task.name for task in nasty_tasks(0.5)]
    for seed, (model, skill) in enumerate([("demo", 0.8), ("<i>late</i>", 0.6), ("qwen", 0.4)]):
        routing = write_routing(names, seed=seed, lean=2.0) if seed < 2 else None
        write_run(results, model, nasty_tasks(skill), seed=seed, groups={"suite": names}, routing=routing)
    return load_runs(results)


@pytest.fixture(scope="session")
def page(runs: Runs, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Their report."""
    return write_report(runs, tmp_path_factory.mktemp("page") / "report.html")
