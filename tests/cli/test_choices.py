"""Options with a few possible words show them, complete them, and refuse every other."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import get_args

import pytest

from medbench.cli.main import main
from medbench.cli.options import TableFormat
from medbench.common import choices
from medbench.common.choices import DATA_SOURCES, DTYPES, QUANTIZATIONS, ROUTING_LEVELS, SWEEPS, THINKING
from medbench.models.checkpoints.loading import DTYPES as DTYPES_LOADED
from medbench.reports.renderers import FORMATS

FORMS = ("text", "markdown", "csv", "latex", "html")
PHASES = ("prompt", "generated")
OPTIONS = [
    (["run"], "--source", DATA_SOURCES),
    (["run"], "--routing", ROUTING_LEVELS),
    (["run"], "--dtype", ("auto", *DTYPES)),
    (["run"], "--quantization", QUANTIZATIONS),
    (["run"], "--thinking", THINKING),
    (["routing", "ablate"], "--sweep", SWEEPS),
    (["routing", "tokens"], "--show", ("classes", "vocabulary", "parts", "repetition")),
    (["routing", "tokens"], "--phase", PHASES),
    (["routing", "scores"], "--phase", PHASES),
    (["routing", "similarity"], "--phase", PHASES),
    (["routing", "kinds"], "--phase", (*PHASES, "template", "content")),
    (["routing", "show"], "--format", FORMS),
    (["scores"], "--format", FORMS),
    (["compare"], "--format", FORMS),
    (["leaderboard"], "--format", FORMS),
    (["data", "list"], "--source", DATA_SOURCES),
    (["tasks", "list"], "--source", DATA_SOURCES),
    (["models", "convert"], "--dtype", DTYPES),
]


@pytest.mark.parametrize(("command", "option", "words"), OPTIONS)
def test_help_lists_the_words(
    command: list[str], option: str, words: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*command, "--help"]) == 0
    assert f"{option} <{'|'.join(words)}>" in capsys.readouterr().out


@pytest.mark.parametrize(("command", "option", "words"), OPTIONS)
def test_another_word_is_refused(
    command: list[str], option: str, words: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*command, option, "no-such-word"]) == 2
    said = capsys.readouterr().err
    assert "'no-such-word' is not one of" in said
    assert option in said
    assert all(f"'{word}'" in said for word in words)


@pytest.mark.parametrize(("command", "option", "words"), [OPTIONS[1], OPTIONS[5], OPTIONS[12]])
def test_a_shell_completes_the_words(command: list[str], option: str, words: tuple[str, ...]) -> None:
    line = ["medbench", *command, option, ""]
    asked = {
        "_MEDBENCH_COMPLETE": "complete_bash",
        "COMP_WORDS": " ".join(line),
        "COMP_CWORD": str(len(line) - 1),
    }
    program = "import sys; sys.argv = ['medbench']; from medbench.cli import main; sys.exit(main())"
    answer = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, **asked, "PYTHONPATH": str(Path(choices.__file__).parents[2])},
        capture_output=True,
        text=True,
        check=False,
    )
    assert answer.stdout.split() == list(words), answer.stderr


def test_the_words_are_those_that_are_understood() -> None:
    assert set(DTYPES) < set(DTYPES_LOADED)
    assert set(get_args(TableFormat)) == {"text", *FORMATS}
