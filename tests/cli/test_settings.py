"""The settings of a run as options, and a file that gives them."""

from __future__ import annotations

import json
import re
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
import typer

from medbench.cli.main import main
from medbench.cli.settings import number_or_word, with_settings
from medbench.runs.settings import RunSettings, known_settings


def asked(words: list[str], **options: Any) -> RunSettings:
    """The settings that a command gets."""
    app, got = typer.Typer(), []

    @with_settings(**options)
    def command(first: str = "x", *, settings: RunSettings, last: bool = False) -> None:
        got.append((first, settings, last))

    app.command()(command)
    app(words, standalone_mode=False)
    assert got[0][0] == "x"
    return got[0][1]


@pytest.mark.parametrize(
    ("words", "changes"),
    [
        ([], {}),
        (["--limit", "3"], {"limit": 3}),
        (["--num-fewshot", "0"], {"num_fewshot": 0}),
        (["--source", "samples"], {"data_source": "samples"}),
        (["--data-dir", "here"], {"data_dir": "here"}),
        (["--circular"], {"circular": True}),
        (["--chat-template"], {"chat_template": True}),
        (["--no-chat-template"], {"chat_template": False}),
        (["--add-bos-token"], {"add_bos_token": True}),
        (["--no-add-bos-token"], {"add_bos_token": False}),
        (["--system-prompt", ""], {"system_prompt": ""}),
        (["--system-prompt", "12"], {"system_prompt": "12"}),
        (["--thinking", "off"], {"thinking": "off"}),
        (["--max-batch-tokens", "64"], {"max_batch_tokens": 64}),
        (["--max-batch-tokens", "auto"], {"max_batch_tokens": "auto"}),
        (["--routing", "tokens"], {"routing": "tokens"}),
        (["--not-deterministic"], {"deterministic": False}),
        (["--dtype", "float16"], {"dtype": "float16"}),
        (["--shuffle-options", "9", "--seed", "-1"], {"shuffle_options": 9, "seed": -1}),
    ],
)
def test_options_become_settings(
    words: list[str], changes: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MEDBENCH_DATA", raising=False)
    assert asked(words) == RunSettings(**changes)


def test_a_command_leaves_settings_out() -> None:
    with pytest.raises(Exception, match="No such option"):
        asked(["--routing", "off"], without=["routing"])


def test_every_setting_is_an_option_of_run(capsys: pytest.CaptureFixture[str]) -> None:
    assert set(known_settings()) == {field.name for field in fields(RunSettings)}
    assert main(["run", "--help"]) == 0
    shown = capsys.readouterr().out
    for name, setting in known_settings().items():
        assert re.search(rf"{setting.option or '--' + name.replace('_', '-')}\b", shown), name
        assert setting.help.split()[0] in shown


@pytest.mark.parametrize(
    ("word", "value"),
    [("8", 8), ("-2", -2), ("auto", "auto"), ("٣", "٣"), ("", ""), (None, None), ("1.5", "1.5")],
)
def test_numbers_and_words(word: str | None, value: int | str | None) -> None:
    assert number_or_word(word) == value


def test_the_command_line_goes_before_the_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = tmp_path / "run.yaml"
    config.write_text("tasks: [medqa_us]\nlimit: 2\nrouting: off\nreport: false\n", encoding="utf-8")
    words = ["run", "--config", str(config), "--results", str(tmp_path / "r"), "--json"]
    assert main(words) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["settings"]["limit"] == 2
    assert said["settings"]["routing"] == "off"
    assert said["report"] is None
    assert {row["task"] for row in said["scores"]} == {"medqa_us"}
    assert main([*words, "--limit", "1"]) == 0
    assert json.loads(capsys.readouterr().out)["settings"]["limit"] == 1


def test_a_run_is_given_back_and_found(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    place = ["--results", str(tmp_path / "r")]
    assert main(["run", "-t", "medqa_us", "--limit", "2", "--no-report", *place]) == 0
    [manifest] = (tmp_path / "r").glob("demo/*/run.json")
    assert main(["run", "--config", str(manifest), "--no-report", *place]) == 0
    assert "complete already" in capsys.readouterr().out
    assert len(list((tmp_path / "r").glob("demo/*/run.json"))) == 1


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("absent.yaml", None, "absent.yaml"),
        ("a.yaml", "limt: 2\n", "limit"),
        ("a.yaml", "allow_code: true\n", "--allow-code"),
        ("run.json", "{}", "run.json"),
    ],
)
def test_a_faulty_file_is_refused(
    name: str, text: str | None, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if text is not None:
        (tmp_path / name).write_text(text, encoding="utf-8")
    assert main(["run", "--config", str(tmp_path / name), "--results", str(tmp_path / "r")]) == 2
    shown = capsys.readouterr().err
    assert message in shown
    assert "Traceback" not in shown
