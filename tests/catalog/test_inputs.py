"""An edit of anything that a task reads makes another task of it; touching it, or moving it all, does not."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import pytest

from medbench.catalog import inputs
from medbench.catalog.index import build_index
from medbench.common.files import sha256_of

YAML = "task: mine\noutput_type: generate_until\ntest_split: test\ndoc_to_text: q\ndoc_to_target: a\n"
CODE = "process_results: !function own.score\n"


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Work in a folder of the test's, with a cache of the hub of its own."""
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)
    for name in ("HF_HUB_CACHE", "HF_DATASETS_CACHE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))


def write(path: Path, text: str = "1") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def digest(folder: Path) -> str:
    return build_index([folder]).tasks["mine"].digest


def edit_matters(folder: Path, file: Path) -> bool:
    """Whether an edit changes the digest; checks that touching the file alone and undoing the edit do not."""
    before, content = digest(folder), file.read_bytes()
    os.utime(file, ns=(1, 1))
    assert digest(folder) == before
    file.write_bytes(content + b"\n# more")
    after = digest(folder)
    file.write_bytes(content)
    assert digest(folder) == before
    return after != before


# Keys of a YAML, with files named from the folder (F) or from where medbench runs (W).
DATA = {
    "a file": ("dataset_path: json\ndataset_kwargs: {data_files: F/d.jsonl}\n", "F/d.jsonl"),
    "a split": ("dataset_path: json\ndataset_kwargs: {data_files: {test: F/d.jsonl}}\n", "F/d.jsonl"),
    "several": ("dataset_path: csv\ndataset_kwargs: {data_files: {test: [F/a.csv, F/d.csv]}}\n", "F/d.csv"),
    "a pattern": (
        "dataset_path: parquet\ndataset_kwargs: {data_files: F/data/*.parquet}\n",
        "F/data/x.parquet",
    ),
    "two stars": ("dataset_path: json\ndataset_kwargs: {data_files: 'F/**/*.json'}\n", "F/a/b/c.json"),
    "brackets": ("dataset_path: json\ndataset_kwargs: {data_files: 'F/d[1].json'}\n", "F/d[1].json"),
    "an address": ("dataset_path: json\ndataset_kwargs: {data_files: 'file://F/d.json'}\n", "F/d.json"),
    "data_dir": ("dataset_path: json\ndataset_kwargs: {data_dir: F/data}\n", "F/data/deep/d.json"),
    "within data_dir": (
        "dataset_path: json\ndataset_kwargs: {data_dir: F/data, data_files: {test: d.json}}\n",
        "F/data/d.json",
    ),
    "a folder": ("dataset_path: F/data\n", "F/data/test/0.parquet"),
    "saved to disk": ("dataset_path: F/data\n", "F/data/state.json"),
    "arrow": (
        "dataset_path: arrow\ndataset_kwargs: {data_files: {test: F/s/data-0.arrow}}\n",
        "F/s/data-0.arrow",
    ),
    "from here": ("dataset_path: json\ndataset_kwargs: {data_files: d.jsonl}\n", "W/d.jsonl"),
    "a folder from here": ("dataset_path: ./data\n", "W/data/d.jsonl"),
    "a metric": ("metric_list: [{metric: F/metric.py, hf_evaluate: true}]\n", "F/metric.py"),
}


@pytest.mark.parametrize("case", DATA)
def test_data_that_a_yaml_names(tmp_path: Path, case: str) -> None:
    folder = tmp_path / "tasks"
    keys, place = (text.replace("F/", f"{tmp_path}/else/") for text in DATA[case])
    file = write(tmp_path / "work" / place.removeprefix("W/"))
    write(folder / "mine.yaml", YAML + keys)
    stranger = write(tmp_path / "work" / "stranger.json")
    assert edit_matters(folder, file)
    assert not edit_matters(folder, stranger)


# Lines of own.py, and the file read: beside the YAML (F), elsewhere (E) or from where medbench runs (W).
HERE = "from pathlib import Path\nHERE = Path(__file__).resolve().parent\n"
CODE_READS = {
    "beside": (HERE + "GOLD = (HERE / 'gold.json').read_text()", "F/gold.json"),
    "a computed name": ("import os\nGOLD = open(os.environ.get('X', 'g') + chr(46) + 't')", "F/sub/any.t"),
    "opened from here": ("def score(d, r):\n    return open('gold.txt').read()", "W/gold.txt"),
    "a folder up": (HERE + "G = (HERE.parent / 'shared' / 'gold.json').open()", "E/shared/gold.json"),
    "parents": (HERE + "G = open(Path(__file__).parents[1] / 'gold.json')", "E/gold.json"),
    "os.path": (
        "import os\nH = os.path.dirname(os.path.abspath(__file__))\nG = open(os.path.join(H, '..', 'g.csv'))",
        "E/g.csv",
    ),
    "a formatted name": (
        HERE + "def g(n):\n    return open(HERE.parent / f'{n}_gold.json')",
        "E/zh_gold.json",
    ),
    "a percent sign": ("def g(n):\n    return open('gold/%s.json' % n)", "W/gold/zh.json"),
    "format": ("def g(n):\n    return open('gold/{}.json'.format(n))", "W/gold/zh.json"),
    "a glob": ("import glob\nG = glob.glob('gold/*.json')", "W/gold/zh.json"),
    "rglob": (HERE + "G = list((HERE.parent / 'gold').rglob('*.json'))", "E/gold/a/b.json"),
    "a listing": (HERE + "G = list((HERE.parent / 'gold').iterdir())", "E/gold/x"),
    "pandas": ("import pandas as pd\nG = pd.read_csv('data/gold.csv')", "W/data/gold.csv"),
    "with_name": (HERE + "G = Path(__file__).with_name('gold.txt')", "F/gold.txt"),
    "saved to disk": (
        "import datasets\ndef load(**_):\n    return datasets.load_from_disk('saved')",
        "W/saved/d.arrow",
    ),
    "load_dataset": (
        "from datasets import load_dataset\nD = load_dataset('json', data_files={'test': 'd/*.json'})",
        "W/d/x.json",
    ),
    "a package of data": (HERE + "import sqlite3\nD = sqlite3.connect(HERE.parent / 'gold.db')", "E/gold.db"),
}


@pytest.mark.parametrize("case", CODE_READS)
def test_files_that_code_reads(tmp_path: Path, case: str) -> None:
    folder = tmp_path / "tasks"
    code, place = CODE_READS[case]
    bases = {"F": folder, "E": tmp_path, "W": tmp_path / "work"}
    file = write(bases[place[0]] / place[2:])
    write(folder / "mine.yaml", YAML + CODE)
    write(folder / "own.py", code + "\n")
    stranger = write(tmp_path / "work" / "stranger.json")
    assert edit_matters(folder, file)
    assert not edit_matters(folder, stranger)


IMPORTS = {
    "beside": ("import helper", "F/helper.py"),
    "a member": ("from helper import f as g", "F/helper.py"),
    "a package": ("from pkg.inner import f", "F/pkg/inner.py"),
    "its beginning": ("from pkg.inner import f", "F/pkg/__init__.py"),
    "a module of a package": ("from pkg import inner", "F/pkg/inner.py"),
    "relative": ("from . import helper", "F/helper.py"),
    "two steps": ("import first", "F/helper.py"),
    "from here": ("import helper", "W/helper.py"),
    "on the path": ("import helper", "P/helper.py"),
    "within a function": ("def score(d, r):\n    from helper import f\n    return f(d)", "P/helper.py"),
    "by its name": ("import importlib\nH = importlib.import_module('helper')", "P/helper.py"),
    "from its path": (
        "import importlib.util as u\nfrom pathlib import Path\n"
        "S = u.spec_from_file_location('loaded', Path(__file__).parents[1] / 'lib' / 'loaded.py')",
        "E/helper_of_loaded.py",
    ),
    "from a folder that is added": (
        "import sys\nsys.path.insert(0, '../lib')\nimport helper",
        "E/lib/helper.py",
    ),
}


@pytest.mark.parametrize("case", IMPORTS)
def test_modules_that_code_imports(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, case: str) -> None:
    folder, code_path = tmp_path / "tasks", tmp_path / "path"
    monkeypatch.syspath_prepend(str(code_path))
    code, place = IMPORTS[case]
    bases = {"F": folder, "E": tmp_path, "W": tmp_path / "work", "P": code_path}
    if "pkg" in place:
        write(folder / "pkg" / "__init__.py", "")
        write(folder / "pkg" / "inner.py", "")
    write(tmp_path / "lib" / "loaded.py", "G = open('../helper_of_loaded.py')\n")
    if case == "two steps":
        write(folder / "first.py", "from helper import f")
    file = write(bases[place[0]] / place[2:], "def f(x): ...\n")
    write(folder / "mine.yaml", YAML + CODE)
    write(folder / "own.py", code + "\n")
    assert edit_matters(folder, file)


def test_a_function_from_the_path_and_its_imports(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, code_path = tmp_path / "tasks", tmp_path / "path"
    monkeypatch.syspath_prepend(str(code_path))
    scorer = write(code_path / "mypkg" / "scorer.py", "from mypkg import rules\n")
    write(code_path / "mypkg" / "__init__.py", "")
    rules = write(code_path / "mypkg" / "rules.py", "RULE = 1\n")
    write(folder / "mine.yaml", YAML + "process_results: !function mypkg.scorer.score\n")
    stranger = write(folder / "notes.txt")
    assert edit_matters(folder, scorer)
    assert edit_matters(folder, rules)
    assert not edit_matters(folder, stranger)  # no code lies beside the YAML


def test_a_template_elsewhere_brings_its_code_and_what_lies_beside_it(tmp_path: Path) -> None:
    folder, common = tmp_path / "tasks", tmp_path / "common"
    write(folder / "mine.yaml", YAML.replace("task", "include: ../common/_base\ntask"))
    base = write(common / "_base", CODE)
    code = write(common / "own.py", "def score(d, r): ...\n")
    table = write(common / "table.csv")
    assert all(edit_matters(folder, file) for file in (base, code, table))


def test_environment_variables_and_what_they_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "tasks"
    write(folder / "mine.yaml", YAML + CODE)
    write(folder / "own.py", "import os\nGOLD = open(os.environ['MY_GOLD'])\nRULE = os.getenv('MY_RULE')\n")
    gold, other = write(tmp_path / "gold.txt"), write(tmp_path / "other.txt", "2")
    monkeypatch.setenv("MY_GOLD", str(gold))
    assert edit_matters(folder, gold)
    seen = {digest(folder)}
    monkeypatch.setenv("MY_RULE", "strict")
    seen.add(digest(folder))
    monkeypatch.setenv("MY_GOLD", str(other))
    seen.add(digest(folder))
    assert len(seen) == 3
    monkeypatch.setenv("UNRELATED", "1")
    assert digest(folder) in seen


@pytest.mark.parametrize(
    ("line", "reads"),
    [
        ("from datetime import datetime\nT = datetime.now()", True),
        ("import datetime\nT = datetime.date.today()", True),
        ("import time\nT = time.strftime('%Y')", True),
        ("import time\nT = time.perf_counter()", False),
        ("T = 1", False),
    ],
)
def test_the_date_counts_where_code_asks_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, line: str, reads: bool
) -> None:
    folder = tmp_path / "tasks"
    write(folder / "mine.yaml", YAML + CODE)
    write(folder / "own.py", line + "\n")
    before = digest(folder)

    class Later(datetime):
        @classmethod
        def now(cls, tz: object = None) -> Later:
            return cls(2031, 5, 6)

    monkeypatch.setattr(inputs, "datetime", Later)
    assert (digest(folder) != before) is reads


def test_what_does_not_count(tmp_path: Path) -> None:
    folder = tmp_path / "tasks"
    write(folder / "mine.yaml", YAML + CODE)
    write(folder / "own.py", "def score(d, r): ...\n")
    for place in (
        ".hidden",
        ".git/index",
        "__pycache__/own.pyc",
        "other.yaml",
        "venv/pyvenv.cfg",
        "venv/lib/x.py",
        "results/demo/20300101-000000-abc/run.json",
        "results/demo/20300101-000000-abc/samples.parquet",
        "results/comparison.html",
    ):
        text = "task: other\n" if place == "other.yaml" else "1"
        assert not edit_matters(folder, write(folder / place, text)), place


def test_a_folder_that_moves_holds_the_same_task(tmp_path: Path) -> None:
    folder = tmp_path / "tasks"
    write(folder / "mine.yaml", YAML + CODE)
    write(folder / "own.py", HERE + "G = (HERE / 'sub' / 'gold.json').read_text()\n")
    write(folder / "sub" / "gold.json")
    shutil.copytree(folder, tmp_path / "copy")
    assert digest(folder) == digest(tmp_path / "copy")


def test_files_that_come_go_or_change_places_are_noticed(tmp_path: Path) -> None:
    folder = tmp_path / "tasks"
    write(
        folder / "mine.yaml",
        YAML
        + "dataset_path: json\ndataset_kwargs: {data_files: F/*.json}\n".replace("F", str(tmp_path / "d")),
    )
    seen = [digest(folder)]
    one, two = write(tmp_path / "d" / "1.json", "one"), write(tmp_path / "d" / "2.json", "two")
    seen.append(digest(folder))
    one.write_text("two", encoding="utf-8")
    two.write_text("one", encoding="utf-8")
    seen.append(digest(folder))
    two.unlink()
    seen.append(digest(folder))
    assert len(set(seen)) == 4


def test_an_edit_that_keeps_size_and_time_is_noticed(tmp_path: Path) -> None:
    folder = tmp_path / "tasks"
    write(folder / "mine.yaml", YAML + f"dataset_path: {tmp_path}/d\n")
    file = write(tmp_path / "d" / "test.json", "gold: A")
    status, before = file.stat(), digest(folder)
    file.write_text("gold: B", encoding="utf-8")
    os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert digest(folder) != before


def test_the_commit_in_the_hubs_cache_counts(tmp_path: Path) -> None:
    folder = tmp_path / "tasks"
    write(folder / "mine.yaml", YAML + "dataset_path: org/name\n")
    missing = digest(folder)
    prepared = tmp_path / "hf" / "datasets" / "org___name" / "default" / "0.0.0" / "abc"
    prepared.mkdir(parents=True)
    assert digest(folder) != missing
    reference = write(tmp_path / "hf" / "hub" / "datasets--org--name" / "refs" / "main", "0" * 40)
    assert edit_matters(folder, reference)


def test_a_large_file_that_is_only_suspected_counts_by_its_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inputs, "_LARGE", 10)
    monkeypatch.setattr(inputs, "sha256_of", _refusing(sha256_of))
    folder = tmp_path / "tasks"
    write(folder / "mine.yaml", YAML + CODE)
    write(folder / "own.py", "X = 1\n")
    file = write(folder / "weights.bin", "x" * 11)
    before = digest(folder)
    os.utime(file, ns=(5, 5))
    assert digest(folder) != before


def _refusing(known: Callable[[Path], str]) -> Callable[[Path], str]:
    def checked(path: Path) -> str:
        assert path.name != "weights.bin"
        return known(path)

    return checked


def test_code_that_cannot_be_parsed_or_evaluates_without_end_is_no_trap(tmp_path: Path) -> None:
    folder = tmp_path / "tasks"
    write(folder / "mine.yaml", YAML + CODE)
    lines = ["a0 = 'x/' + a0", *(f"a{i} = a{i - 1} + a{i - 1}" for i in range(1, 60)), "open(a59)"]
    code = write(folder / "own.py", "\n".join(lines))
    assert edit_matters(folder, code)
    code.write_text("def broken(:\n", encoding="utf-8")
    assert edit_matters(folder, code)
    code.write_text(f"open('{'*/' * 9000}')\nopen('a\\0b')\nopen('{'n' * 5000}')\n", encoding="utf-8")
    assert edit_matters(folder, code)


def test_links_that_lead_round_in_circles_end(tmp_path: Path) -> None:
    folder = tmp_path / "tasks"
    write(folder / "mine.yaml", YAML + CODE)
    write(folder / "own.py", "X = 1\n")
    (folder / "round").symlink_to(folder, target_is_directory=True)
    outside = write(tmp_path / "outside" / "gold.txt")
    (folder / "linked").symlink_to(outside.parent, target_is_directory=True)
    assert edit_matters(folder, outside)


def test_many_tasks_of_a_folder_list_it_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "tasks"
    for number in range(20):
        write(folder / f"t{number}.yaml", YAML.replace("mine", f"t{number}") + CODE)
    write(folder / "own.py", "X = 1\n")
    listed: list[Path] = []
    known = inputs._files_below

    def counting(place: Path, seen: set[Path]) -> object:
        listed.append(place)
        return known(place, seen)

    monkeypatch.setattr(inputs, "_files_below", counting)
    index = build_index([folder])
    assert len({index.tasks[f"t{number}"].digest for number in range(20)}) == 20
    assert listed == [folder]
