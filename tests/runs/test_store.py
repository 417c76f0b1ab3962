from __future__ import annotations

import sqlite3
import tempfile
import threading
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from medbench.models.harness.answers import Answer
from medbench.runs.store import ResponseStore, StoreError

ANSWERS = {
    "a": Answer(logprob=-0.25, is_greedy=True),
    "b": Answer(text="答案为B\n“引号” \x00 🙂", truncated=True, first_pass="思考"),
    "c": Answer(logprob=float("-inf"), is_greedy=False),
}


def test_answers_survive_a_reopening(tmp_path: Path) -> None:
    path = tmp_path / "responses.sqlite"
    with ResponseStore(path, model="m") as store:
        store.put(ANSWERS)
    with ResponseStore(path, model="m") as store:
        assert store.get(["a", "b", "c", "missing"]) == ANSWERS
        assert len(store) == 3
        assert store.set_aside is None


def test_uncommitted_work_of_a_dead_process_is_not_seen_and_committed_work_is(tmp_path: Path) -> None:
    path = tmp_path / "responses.sqlite"
    store = ResponseStore(path, model="m")
    store.put({"a": ANSWERS["a"]})
    # As another process would find it if this one were killed now: the log not folded in, nothing closed.
    with ResponseStore(path, model="m") as other:
        assert other.get(["a"]) == {"a": ANSWERS["a"]}


def test_another_models_answers_are_never_given(tmp_path: Path) -> None:
    path = tmp_path / "responses.sqlite"
    ResponseStore(path, model="m").close()
    with pytest.raises(StoreError, match="another model"):
        ResponseStore(path, model="other")


def test_more_keys_than_a_statement_holds(tmp_path: Path) -> None:
    many = {f"k{i}": Answer(logprob=float(i), is_greedy=False) for i in range(2500)}
    with ResponseStore(tmp_path / "r.sqlite", model="m") as store:
        store.put(many)
        assert store.get(list(many)) == many


@pytest.mark.parametrize("offset", [0, 30, 40000])
def test_a_damaged_store_is_set_aside_and_said_so(tmp_path: Path, offset: int) -> None:
    path = tmp_path / "responses.sqlite"
    with ResponseStore(path, model="m") as store:
        store.put({f"k{i}": Answer(text="x" * 200) for i in range(200)})
    content = bytearray(path.read_bytes())
    content[offset : offset + 400] = b"\xa5" * 400
    path.write_bytes(bytes(content))
    with ResponseStore(path, model="m") as store:
        assert store.set_aside is not None
        assert store.set_aside.read_bytes() == bytes(content)
        assert len(store) == 0
        store.put(ANSWERS)
        assert store.get(["a"]) == {"a": ANSWERS["a"]}


@given(place=st.floats(0, 1), content=st.binary(min_size=1, max_size=300))
@example(place=0.1109011136608993, content=b"[\x80")  # the schema, in bytes that are no text
@settings(max_examples=60, deadline=None)
def test_damage_anywhere_never_gives_a_wrong_answer(place: float, content: bytes) -> None:
    answers = {f"k{i}": Answer(text=f"answer {i} " * 20) for i in range(60)}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "responses.sqlite"
        with ResponseStore(path, model="m") as store:
            store.put(answers)
        damaged = bytearray(path.read_bytes())
        start = int(place * (len(damaged) - len(content)))
        damaged[start : start + len(content)] = content
        path.write_bytes(bytes(damaged))
        try:
            store = ResponseStore(path, model="m")
        except StoreError:
            return  # refused: the damage hit the lines that say whose answers these are
        with store:
            found = store.get(list(answers))
            assert found == answers or (store.set_aside is not None and found == {})


def test_a_store_that_cannot_be_written_is_reported(tmp_path: Path) -> None:
    path = tmp_path / "responses.sqlite"
    store = ResponseStore(path, model="m")
    blocker = sqlite3.connect(path)
    blocker.execute("PRAGMA query_only = 0")
    store._connection.execute("PRAGMA max_page_count = 6")
    with pytest.raises(StoreError, match="cannot be used"):
        store.put({f"k{i}": Answer(text="x" * 4000) for i in range(20)})
    assert len(store) == 0
    blocker.close()
    store.close()


def test_two_connections_write_side_by_side(tmp_path: Path) -> None:
    path = tmp_path / "responses.sqlite"
    ResponseStore(path, model="m").close()

    def write(name: str) -> None:
        with ResponseStore(path, model="m") as store:
            for i in range(50):
                store.put({f"{name}{i}": Answer(logprob=float(i), is_greedy=True)})

    threads = [threading.Thread(target=write, args=(name,)) for name in "xy"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with ResponseStore(path, model="m") as store:
        assert len(store) == 100
