"""Tensors in files: named, typed and shaped before they are read, and read one at a time."""

from __future__ import annotations

import pickle
import zipfile
import zlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from medbench.errors import ModelError
from medbench.models.checkpoints.folder import read_json

_WEIGHTS = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
}
# Buffers such as attention masks; no weight has these types, unless it is quantized in some way of its own.
_OTHERS = {
    "BOOL": torch.bool,
    "F8_E4M3": torch.float8_e4m3fn,
    "F8_E5M2": torch.float8_e5m2,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U8": torch.uint8,
}
_DTYPES = _WEIGHTS | _OTHERS
# Buffers that checkpoints of early Llamas carry and that every model computes for itself.
_RECOMPUTED = ".rotary_emb.inv_freq"
_NAMED = 4
# What torch and pickle raise on damaged or hostile files; foreign classes are the first.
_UNREADABLE = (
    pickle.UnpicklingError,
    ArithmeticError,
    AssertionError,
    AttributeError,
    EOFError,
    LookupError,
    NotImplementedError,
    OSError,
    RuntimeError,
    TypeError,
    ValueError,
    zipfile.BadZipFile,
    zlib.error,
)


@dataclass(frozen=True)
class LazyTensor:
    """A tensor that is read when asked for.

    Attributes:
        shape: Its shape.
        dtype: Its element type in the file.
        read: Reads it; the result may share memory with the mapped file.
    """

    shape: tuple[int, ...]
    dtype: torch.dtype
    read: Callable[[], Tensor]


@dataclass(frozen=True)
class TensorFiles:
    """The tensors of one set of files.

    Attributes:
        files: The files, in order.
        tensors: Name -> tensor.
        metadata: The free text that safetensors headers carry, merged over the files.
    """

    files: tuple[Path, ...]
    tensors: dict[str, LazyTensor]
    metadata: dict[str, str]

    @property
    def where(self) -> str:
        """The first file and how many more, for messages."""
        more = f" and {len(self.files) - 1} more" if len(self.files) > 1 else ""
        return f"{self.files[0]}{more}"


def stem_files(folder: Path, stem: str) -> tuple[Path, ...]:
    """Return the files that hold the tensors called ``stem`` (``model``, ``adapter_model``), empty if none.

    The order is that of transformers and PEFT: safetensors before pickles, a single file before shards. A
    folder that was saved into twice may hold several.

    Raises:
        ModelError: An index is damaged, points outside the folder, or at a missing file.
    """
    pickled = "pytorch_model" if stem == "model" else stem
    for single in (folder / f"{stem}.safetensors", folder / f"{pickled}.bin"):
        if single.is_file():
            return (single,)
        index = single.with_name(f"{single.name}.index.json")
        if index.is_file():
            return _shards(index)
    return ()


def open_tensors(files: Iterable[Path], *, verify: bool = True) -> TensorFiles:
    """Open safetensors files and pickles of tensors, without reading the tensors.

    Args:
        files: The files.
        verify: Check the checksums that pickles carry, which does read those files through.

    Raises:
        ModelError: A file is damaged, is truncated, holds anything but tensors, or two files hold the same
            name.
    """
    tensors: dict[str, LazyTensor] = {}
    metadata: dict[str, str] = {}
    paths = tuple(files)
    for path in paths:
        is_safe = path.suffix == ".safetensors"
        found = _open_safetensors(path, metadata) if is_safe else _open_pickle(path, verify)
        if twice := sorted(tensors.keys() & found.keys()):
            raise ModelError(
                f"tensors that another file of the checkpoint has too: {_some(twice)}", where=str(path)
            )
        tensors |= found
    return TensorFiles(paths, tensors, metadata)


def compare(
    found: Mapping[str, LazyTensor],
    expected: Mapping[str, tuple[int, ...]],
    *,
    where: str,
    optional: Iterable[str] = (),
) -> None:
    """Demand that exactly the expected tensors are there, as floating-point numbers.

    Args:
        found: Tensors of the checkpoint.
        expected: Name -> shape.
        where: The files, for messages.
        optional: Expected names that may be absent.

    Raises:
        ModelError: Tensors are missing, surplus, or of another shape or type; the first few are named.
    """
    problems = []
    if missing := sorted(expected.keys() - found.keys() - set(optional)):
        problems.append(f"{len(missing)} missing tensors: {_some(missing)}")
    if surplus := sorted(found.keys() - expected.keys()):
        problems.append(f"{len(surplus)} tensors that the model has no place for: {_some(surplus)}")
    wrong = [
        f"{name} is {list(found[name].shape)}, expected {list(shape)}"
        for name, shape in sorted(expected.items())
        if name in found and found[name].shape != shape
    ]
    if wrong:
        problems.append(f"{len(wrong)} tensors of the wrong shape: {_some(wrong)}")
    odd = [
        f"{name} is {found[name].dtype}"
        for name in sorted(expected)
        if name in found and found[name].dtype not in _WEIGHTS.values()
    ]
    if odd:
        problems.append(f"{len(odd)} tensors of an element type that medbench does not load: {_some(odd)}")
    if problems:
        raise ModelError(
            "; ".join(problems), where=where, hint="the files and the configuration do not belong together"
        )


def _some(names: list[str]) -> str:
    more = f", … ({len(names) - _NAMED} more)" if len(names) > _NAMED else ""
    return ", ".join(names[:_NAMED]) + more


def _shards(index: Path) -> tuple[Path, ...]:
    weight_map = read_json(index).get("weight_map")
    if not isinstance(weight_map, dict) or not all(isinstance(name, str) for name in weight_map.values()):
        raise ModelError("no weight_map from tensor names to files", where=str(index))
    files = []
    for name in sorted(set(weight_map.values())):
        path = index.parent / name
        if Path(name).name != name:
            raise ModelError(f"the index names a file outside the folder: {name!r}", where=str(index))
        if not path.is_file():
            raise ModelError(
                f"the file {name} is missing", where=str(index), hint="download the checkpoint again"
            )
        files.append(path)
    if not files:
        raise ModelError("the index names no files", where=str(index))
    return tuple(files)


def _open_safetensors(path: Path, metadata: dict[str, str]) -> dict[str, LazyTensor]:
    from safetensors import SafetensorError, safe_open

    tensors = {}
    try:
        handle: Any = safe_open(path, framework="pt")
        metadata.update(handle.metadata() or {})
        for name in handle.keys():  # noqa: SIM118 - a safetensors handle is no mapping
            if name.endswith(_RECOMPUTED):
                continue
            view = handle.get_slice(name)
            dtype = _DTYPES.get(view.get_dtype())
            if dtype is None:
                raise ModelError(f"{name} has element type {view.get_dtype()}", where=str(path))
            tensors[name] = LazyTensor(tuple(view.get_shape()), dtype, _reader(handle, name))
    except (SafetensorError, OSError, ValueError) as error:
        raise ModelError(
            f"damaged or truncated safetensors file: {error}", where=str(path), hint="download it again"
        ) from error
    return tensors


def _reader(handle: Any, name: str) -> Callable[[], Tensor]:
    def read() -> Tensor:
        tensor: Tensor = handle.get_tensor(name)
        return tensor

    return read


def _keeper(tensor: Tensor) -> Callable[[], Tensor]:
    return lambda: tensor


def _open_pickle(path: Path, verify: bool) -> dict[str, LazyTensor]:
    """Open a ``torch.save`` of a flat mapping from names to tensors.

    Only ``verify`` looks at the zip container's checksums: torch maps the file and never does.
    """
    is_zip = zipfile.is_zipfile(path)
    try:
        if is_zip and verify:
            with zipfile.ZipFile(path) as archive:
                if damaged := archive.testzip():
                    raise ModelError(f"damaged: the checksum of {damaged} is wrong", where=str(path))
        values = torch.load(path, map_location="cpu", weights_only=True, mmap=is_zip)
    except pickle.UnpicklingError as error:
        raise ModelError(
            f"no pickle of plain tensors: {_first_line(error)}",
            where=str(path),
            hint="medbench loads nothing that could run code; save the tensors alone, best as safetensors",
        ) from error
    except _UNREADABLE as error:
        raise ModelError(
            f"damaged or truncated: {_first_line(error)}", where=str(path), hint="download it again"
        ) from error
    if not isinstance(values, dict):
        raise ModelError(f"holds a {type(values).__name__}, expected a mapping of tensors", where=str(path))
    tensors = {}
    for name, value in values.items():
        if isinstance(name, str) and name.endswith(_RECOMPUTED):
            continue
        plain = isinstance(value, Tensor) and value.layout == torch.strided
        if not isinstance(name, str) or not plain or value.dtype not in _DTYPES.values():
            raise ModelError(f"{name!r} is no plain tensor", where=str(path))
        tensors[name] = LazyTensor(tuple(value.shape), value.dtype, _keeper(value))
    return tensors


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return lines[0][:300] if lines else type(error).__name__
