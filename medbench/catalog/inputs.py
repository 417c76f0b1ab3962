"""What a task reads besides its YAML: if any of it changes, the task counts as another one.

That is what ``dataset_path`` and ``dataset_kwargs`` name on this machine (files, patterns, folders, the
commit of a dataset in the hub's cache); the modules of its functions and all that these import from outside
installed packages; files, folders and environment variables that this code names, and the date where it asks
the clock. Paths that code computes cannot all be told from its source: where a task has code beside its YAML,
everything else in its folder and below counts, too, except other YAMLs, hidden files and medbench's results.
"""

from __future__ import annotations

import glob
import hashlib
import os
import site
import sys
import sysconfig
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from medbench.catalog.code import CodeReads, Named, own_module, read_code
from medbench.common.files import sha256_of
from medbench.common.yaml_files import Function

Part = tuple[str, str]  # name and checksum

_IGNORED = frozenset({"__pycache__", "node_modules"})
_OF_RUNS = (
    "run.json",
    "ablation.json",
    "pyvenv.cfg",
)  # a folder with one is a run or an environment
_LARGE = 2**28  # bytes; larger files that may not be read count by size and time
# Builders of `datasets`; a folder of that name is not meant.
_BUILDERS = frozenset({"arrow", "csv", "json", "pandas", "parquet", "text", "xml"})


_imported_as: dict[Path, str] = {}  # checksums of the modules of tasks at the last call


def forget_changed(modules: Sequence[Path]) -> None:
    """Make Python import a task's modules again if one of them changed since the last call.

    lm-eval does so for the module that a YAML names, but not for the modules imported there.
    """
    now = {path: sha256_of(path) for path in modules}
    if any(_imported_as.get(path, checksum) != checksum for path, checksum in now.items()):
        for name, module in list(sys.modules.items()):
            file = getattr(module, "__file__", None)
            if name != "__main__" and file and Path(file).absolute() in now:
                del sys.modules[name]
    _imported_as.update(now)


class Inputs:
    """Finds inputs and reads each file and folder once, for all tasks of an index."""

    def __init__(self) -> None:
        self._folders: dict[Path, list[Path]] = {}
        self._code: dict[Path, CodeReads] = {}

    def parts(self, values: Mapping[str, Any], folder: Path, functions: Sequence[Function]) -> set[Part]:
        """What a definition reads, with checksums.

        Args:
            values: Its keys, includes merged.
            folder: Folder of its YAML.
            functions: The functions that it names.
        """
        modules = self.modules(folder, functions)
        parts = set(self._data(values, folder, foreign=bool(modules)))
        for module in modules:
            parts.add(_part(module, folder))
            parts |= set(self._read_by(self._reads(module), module, folder))
        beside = [function.folder for function in functions if function.local_file]
        for home in dict.fromkeys([folder, *beside] if beside else ()):
            parts |= {
                _part(file, folder, suspected=True) for file in self._below(home) if file.suffix != ".yaml"
            }
        return parts

    def modules(self, folder: Path, functions: Sequence[Function]) -> list[Path]:
        """The modules of functions and what they import or name, except installed packages and medbench."""
        waiting = [file for function in functions if (file := _module_of(function))]
        found: dict[Path, None] = {}
        while waiting:
            module = waiting.pop()
            if module in found:
                continue
            found[module] = None
            if _installed(module):
                continue  # its version is recorded with the run
            for level, name in sorted(self._reads(module).imports):
                waiting += _imported(level, name, module, folder)
            for named in self._reads(module).paths:
                if named.pattern.endswith(".py"):  # a module loaded from its path
                    waiting += [file.absolute() for file in self._found(named, _bases(folder, module))]
        return list(found)

    def _reads(self, module: Path) -> CodeReads:
        if module not in self._code:
            self._code[module] = read_code(module)
        return self._code[module]

    def _data(self, values: Mapping[str, Any], folder: Path, *, foreign: bool) -> Iterator[Part]:
        """What a definition names; its metadata counts if code other than medbench's receives it."""
        path, arguments = values.get("dataset_path"), values.get("dataset_kwargs")
        named = list(_texts([path, arguments, values.get("metadata") if foreign else None]))
        for metric in values.get("metric_list") or ():
            named += _texts(metric.get("metric") if isinstance(metric, dict) else None)
        named = [text for text in dict.fromkeys(named) if text not in _BUILDERS]
        bases = [Path.cwd(), folder]
        # File names may be relative to data_dir or to the dataset's folder.
        inner = [base / text for base in bases for text in named if _is(base / text, "dir")]
        for text in named:
            for pattern in dict.fromkeys([glob.escape(text), text]):
                for file in self._found(Named(pattern, whole=True), [*bases, *inner]):
                    yield _part(file, folder)
        if isinstance(path, str) and path not in _BUILDERS:
            yield from _hub_state(path, arguments if isinstance(arguments, dict) else {})

    def _read_by(self, reads: CodeReads, module: Path, folder: Path) -> Iterator[Part]:
        """What a module reads."""
        for name in reads.variables:
            yield f"${name}", hashlib.sha256(os.environ.get(name, "").encode()).hexdigest()
        if reads.clock:
            yield "date", datetime.now().astimezone().date().isoformat()
        for named in reads.paths:
            for file in self._found(named, _bases(folder, module)):
                yield _part(file, folder)

    def _found(self, named: Named, bases: Sequence[Path]) -> Iterator[Path]:
        """The files that match a path; a relative one may start at any of the bases."""
        pattern = named.pattern.removeprefix("file://")
        if not pattern.strip("./") or len(pattern) > 4096 or "\0" in pattern or "\n" in pattern:
            return
        for base in bases:
            place = os.path.join(glob.escape(str(base)), os.path.expanduser(pattern))  # noqa: PTH118, PTH111
            for match in glob.iglob(place, recursive=True):  # noqa: PTH207 - patterns may be absolute
                path = Path(match)
                if path.is_file():
                    yield path
                elif named.whole and path.is_dir():
                    yield from self._below(path)

    def _below(self, folder: Path) -> list[Path]:
        if folder not in self._folders:
            self._folders[folder] = sorted(_files_below(folder, set()))
        return self._folders[folder]


def _bases(folder: Path, module: Path) -> list[Path]:
    """Where relative paths in a module may start: the working folder, or that of the YAML or the module."""
    return list(dict.fromkeys([Path.cwd(), folder, module.parent]))


def _files_below(folder: Path, seen: set[Path]) -> Iterator[Path]:
    """Files below a folder, links followed, except hidden ones and those that medbench wrote."""
    real = folder.resolve()
    if real in seen or _is_output(folder):
        return
    seen.add(real)
    try:
        entries = list(folder.iterdir())
    except OSError:
        return
    for entry in entries:
        if entry.name.startswith(".") or entry.name in _IGNORED:
            continue
        if _is(entry, "dir"):
            yield from _files_below(entry, seen)
        elif _is(entry, "file"):
            yield entry


def _is_output(folder: Path) -> bool:
    return any((folder / name).is_file() for name in _OF_RUNS) or any(folder.glob("*/*/run.json"))


def _is(path: Path, kind: str) -> bool:
    try:
        return path.is_dir() if kind == "dir" else path.is_file()
    except (OSError, ValueError):  # too long, or not a path
        return False


def _part(file: Path, folder: Path, *, suspected: bool = False) -> Part:
    """Name a file by its path in the task's folder, else by its name, so that a task may be moved."""
    file, folder = file.absolute(), folder.absolute()
    label = file.relative_to(folder).as_posix() if file.is_relative_to(folder) else f"/{file.name}"
    try:
        status = file.stat()
        if suspected and status.st_size > _LARGE:
            return label, f"{status.st_size} bytes of {status.st_mtime_ns}"
        return label, sha256_of(file)
    except OSError as error:
        return label, f"unreadable: {error.strerror}"


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for inner in value.values():
            yield from _texts(inner)
    elif isinstance(value, (list, tuple)):
        for inner in value:
            yield from _texts(inner)


def _module_of(function: Function) -> Path | None:
    """The file of a function's module, unless it is medbench's own."""
    name = function.name.rpartition(".")[0]
    if function.local_file:
        return function.local_file
    if not name or own_module(name):
        return None
    files = _module_files(name, [Path(entry or ".") for entry in sys.path])
    return files[-1] if files else None


def _imported(level: int, name: str, module: Path, folder: Path) -> list[Path]:
    """Files outside installed packages that an import may run."""
    if level:
        base = module.parent
        for _ in range(level - 1):
            base = base.parent
        return _module_files(name, [base])
    if name.partition(".")[0] == "medbench":
        return []
    bases = [module.parent, folder, Path.cwd(), *(Path(entry or ".") for entry in sys.path)]
    return [file for file in _module_files(name, bases) if not _installed(file)]


def _module_files(name: str, bases: Sequence[Path]) -> list[Path]:
    """The files of a dotted name's packages and module; its last part may be a name in the module."""
    parts = name.split(".") if name else []
    for base in dict.fromkeys(bases):
        files = [] if parts else [base / "__init__.py"]
        stem = base
        for part in parts:
            stem = stem / part
            files += [stem / "__init__.py", stem.with_name(f"{part}.py")]
        found = [file.absolute() for file in files if _is(file, "file")]
        if found:
            return found
    return []


def _installed(file: Path) -> bool:
    """Whether a file belongs to an installed package or to Python itself."""
    paths = sysconfig.get_paths()
    homes = [paths[key] for key in ("stdlib", "platstdlib", "purelib", "platlib")]
    homes += [*site.getsitepackages(), site.getusersitepackages()]
    return any(file.is_relative_to(home) for home in homes)


def _hub_state(dataset: str, arguments: Mapping[str, Any]) -> Iterator[Part]:
    """The commit of a dataset in the hub's cache, or the names of its prepared files."""
    home = Path(os.environ.get("HF_HOME") or Path.home() / ".cache" / "huggingface")
    hub = Path(os.environ.get("HF_HUB_CACHE") or home / "hub")
    prepared = Path(os.environ.get("HF_DATASETS_CACHE") or home / "datasets")
    revision = str(arguments.get("revision") or "main")
    reference = hub / f"datasets--{dataset.replace('/', '--')}" / "refs" / revision
    if _is(reference, "file"):
        yield "hub commit", reference.read_text(encoding="utf-8", errors="replace").strip()
    elif _is(folder := prepared / dataset.replace("/", "___"), "dir"):
        yield "prepared", " ".join(sorted(path.name for path in folder.glob("*/*/*") if path.is_dir()))
