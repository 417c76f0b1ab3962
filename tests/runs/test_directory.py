from __future__ import annotations

import errno
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from medbench.errors import RunError
from medbench.runs.directory import find_run, new_run, safe_name, write_json

HASH = "0123456789abcdef"


def test_the_newest_run_of_a_plan_is_found(tmp_path: Path) -> None:
    assert find_run(tmp_path, "demo", HASH) is None
    first = new_run(tmp_path, "demo", HASH)
    second = new_run(tmp_path, "demo", HASH)
    other = new_run(tmp_path, "demo", "f" * 16)
    assert first != second
    assert find_run(tmp_path, "demo", HASH) == second
    assert find_run(tmp_path, "demo", "f" * 16) == other
    assert find_run(tmp_path, "another", HASH) is None


def test_status_comes_from_the_manifest(tmp_path: Path) -> None:
    run = new_run(tmp_path, "demo", HASH)
    assert run.status() == "new"
    write_json(run.manifest, {"status": "complete"})
    assert run.status() == "complete"


def test_a_run_is_locked_by_one_process_at_a_time(tmp_path: Path) -> None:
    run = new_run(tmp_path, "demo", HASH)
    with run.lock(), pytest.raises(RunError, match="another process"):
        run.lock()
    run.lock().close()


_HOLDER = """
import os, signal, sys, time
import errno
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from medbench.runs.directory import RunDirectory
held = RunDirectory(Path(sys.argv[1])).lock()
if sys.argv[2] == "fork" and os.fork() == 0:
    time.sleep(0.2)
    os._exit(0)
print("held", flush=True)
sys.stdin.readline()
if sys.argv[2].startswith("SIG"):
    os.kill(os.getpid(), getattr(signal, sys.argv[2]))
elif sys.argv[2] == "raise":
    raise RuntimeError("as it happens")
elif sys.argv[2] == "close":
    held.close()
    print("closed", flush=True)
    sys.stdin.readline()
os._exit(0)
"""


@pytest.mark.parametrize(
    "end", ["SIGKILL", "SIGTERM", "SIGINT", "SIGSEGV", "SIGABRT", "SIGHUP", "raise", "exit", "fork", "close"]
)
def test_a_lock_ends_with_its_holder(tmp_path: Path, end: str) -> None:
    run = new_run(tmp_path, "demo", HASH)
    with subprocess.Popen(
        [sys.executable, "-c", _HOLDER, str(run.path), end],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as holder:
        assert holder.stdin is not None
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(RunError, match="another process"):
            run.lock()
        holder.stdin.write("\n")
        holder.stdin.flush()
        if end == "close":
            assert holder.stdout.readline() == "closed\n"
        else:
            holder.stdout.read()  # until no process has the pipe any more
        with run.lock():
            run.sweep()
            assert (run.path / ".lock").exists()
        holder.stdin.close()
    run.lock().close()


def test_a_lock_file_left_behind_is_no_lock(tmp_path: Path) -> None:
    run = new_run(tmp_path, "demo", HASH)
    (run.path / ".lock").write_text("123 elsewhere")
    run.lock().close()


def test_the_lock_holds_across_threads(tmp_path: Path) -> None:
    run = new_run(tmp_path, "demo", HASH)
    held = run.lock()
    with ThreadPoolExecutor(1) as pool:
        with pytest.raises(RunError, match="another process"):
            pool.submit(run.lock).result()
        pool.submit(held.close).result()
    run.lock().close()


@pytest.mark.parametrize("number", [errno.ENOSYS, errno.ENOLCK, errno.EIO, errno.EROFS, errno.ENOSPC])
def test_a_file_system_without_locks_is_not_another_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    run = new_run(tmp_path, "demo", HASH)

    def fail(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("fcntl.flock", fail)
    with pytest.raises(RunError, match="cannot be written or locked") as caught:
        run.lock()
    assert os.strerror(number) in str(caught.value)


def test_a_file_in_place_of_a_run_cannot_be_locked(tmp_path: Path) -> None:
    run = new_run(tmp_path, "demo", HASH)
    run.path.rmdir()
    run.path.write_text("")
    with pytest.raises(RunError, match="cannot be written or locked"):
        run.lock()


@pytest.mark.parametrize(
    ("name", "folder"),
    [
        ("Qwen/Qwen1.5-1.8B-Chat", "Qwen_Qwen1.5-1.8B-Chat"),
        ("../../etc", "etc"),
        ("模型 一", "模型_一"),
        ("..", "model"),
    ],
)
def test_any_model_name_makes_one_safe_folder(name: str, folder: str) -> None:
    assert safe_name(name) == folder


def test_an_unwritable_results_folder_is_reported(tmp_path: Path) -> None:
    blocker = tmp_path / "results"
    blocker.write_text("", encoding="utf-8")
    with pytest.raises(RunError, match="cannot create the results folder") as caught:
        new_run(blocker, "demo", HASH)
    assert "--results" in str(caught.value)
