"""GGUF files, read by transformers: once, into an ordinary folder that is kept.

transformers names, permutes and dequantizes the tensors and makes the tokenizer, which takes minutes;
whatever reads checkpoints then reads the folder. It lies under ``MEDBENCH_CACHE`` (by default the user's
cache folder), named by the content of the file and the version of transformers.
"""

from __future__ import annotations

import importlib.util
import json
import logging
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

from medbench.common.files import reason, sha256_of, write_folder
from medbench.errors import ModelError

SUFFIX = ".gguf"
#: Says of a folder that it was made of a GGUF file, and of which.
MARKER = "gguf.json"

_LOG = logging.getLogger(__name__)
_MAGIC = b"GGUF"
# Architectures that transformers and GGUF call by different names.
_NAMED_ALIKE = {"qwen2moe": "qwen2_moe", "qwen3moe": "qwen3_moe"}
# Tensor types that hold values as they are; the others round them, in blocks.
_PLAIN_TYPES = frozenset({"BF16", "F16", "F32", "F64"})
_INSTEAD = "the answers would be another model's; give the checkpoint that it was made from"


def find_gguf(folder: Path) -> Path | None:
    """The GGUF file of a folder that holds no other checkpoint; ``None`` if there is none.

    Raises:
        ModelError: There are several.
    """
    if (folder / "config.json").is_file() or (folder / "adapter_config.json").is_file():
        return None
    files = sorted(folder.glob(f"*{SUFFIX}"))
    if len(files) > 1:
        raise ModelError(
            f"{len(files)} GGUF files lie here: {', '.join(file.name for file in files[:4])}",
            where=str(folder),
            hint="name one of them; of a model in several parts only the joined file can be read",
        )
    return files[0] if files else None


def unpacked(file: Path) -> Path:
    """The folder that holds the model and the tokenizer of a GGUF file; it is made where there is none yet.

    Raises:
        ModelError: The file is damaged or of an architecture that transformers does not read, holds what
            transformers leaves unread, or the folder cannot be written.
    """
    with file.open("rb") as opened:
        if opened.read(len(_MAGIC)) != _MAGIC:
            raise ModelError("this is no GGUF file", where=str(file), hint="download it again")
    if importlib.util.find_spec("gguf") is None:
        raise ModelError(
            "GGUF files need the package gguf", where=str(file), hint="pip install 'medbench[gguf]'"
        )
    import transformers

    digest = sha256_of(file)
    folder = _kept() / f"{file.stem}-{digest[:16]}-transformers-{transformers.__version__}"
    if not (folder / MARKER).is_file():
        _LOG.info("reading %s, once; kept in %s", file.name, folder)
        with _reading(file):
            try:
                with write_folder(folder) as made:
                    _unpack(file, made)
                    _write_marker(file, digest, made)
            except OSError:
                if not (folder / MARKER).is_file():  # else another process was faster
                    raise
    return folder


def origin(folder: Path) -> dict[str, Any] | None:
    """What a folder that was made of a GGUF file says of that file; ``None`` for any other folder.

    Returns:
        ``sha256`` of the file, ``tensor_types`` (type -> tensors), ``quantized`` (the types among them that
            round values, the most frequent first; empty for none) and the version of ``transformers``.

    Raises:
        ModelError: What was written there cannot be read.
    """
    marker = folder / MARKER
    if not marker.is_file():
        return None
    try:
        said = json.loads(marker.read_text(encoding="utf-8"))
        types = Counter({str(name): int(count) for name, count in said["tensor_types"].items()})
        found = {"sha256": str(said["sha256"]), "transformers": str(said["transformers"])}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ModelError(
            "what was kept of a GGUF file is damaged", where=str(marker), hint=f"delete {folder}"
        ) from error
    quantized = ", ".join(name for name, _ in types.most_common() if name not in _PLAIN_TYPES)
    return found | {"tensor_types": dict(types), "quantized": quantized}


def _kept() -> Path:
    """Where folders made of GGUF files are kept."""
    named = os.environ.get("MEDBENCH_CACHE") or ""
    cache = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return (Path(named) if named else Path(cache) / "medbench").expanduser() / "gguf"


def _unpack(file: Path, folder: Path) -> None:
    import torch
    import transformers
    from gguf import GGUFReader
    from transformers import AutoModelForCausalLM, AutoTokenizer

    reader = GGUFReader(file)
    said = {key: field.contents() for key, field in reader.fields.items() if not key.startswith("tokenizer.")}
    known = _known_keys(said, file)
    where: dict[str, Any] = {"gguf_file": file.name, "local_files_only": True, "trust_remote_code": False}
    loader: Any = AutoModelForCausalLM
    # Kernels that compute with quantized weights give other numbers, and come from a hub.
    config = getattr(transformers, "GgufConfig", None)
    plain = {} if config is None else {"quantization_config": config(dequantize=True)}
    model, info = loader.from_pretrained(
        file.parent, **where, **plain, dtype=torch.float32, output_loading_info=True
    )
    if unread := _unread(said, known, model.config):
        raise ModelError(
            f"the file says {_some(unread)}, which transformers does not read", where=str(file), hint=_INSTEAD
        )
    if problems := [
        f"{kind.replace('_keys', '')} tensors: {_some(names)}" for kind, names in info.items() if names
    ]:
        raise ModelError("; ".join(problems), where=str(file), hint=_INSTEAD)
    held = sum(int(tensor.n_elements) for tensor in reader.tensors)
    used = sum(parameter.numel() for parameter in model.parameters())
    if held != used:  # such as the factors of rotary frequencies, without which the model is another
        raise ModelError(
            f"the file holds {held:,} values in its tensors, of which transformers reads {used:,}",
            where=str(file),
            hint=_INSTEAD,
        )
    # The weights are plain ones now; transformers writes none that it takes for quantized.
    model.hf_quantizer = None
    if hasattr(model.config, "quantization_config"):
        del model.config.quantization_config
    model.save_pretrained(folder)
    cast("Any", AutoTokenizer).from_pretrained(file.parent, **where).save_pretrained(folder)


def _known_keys(said: Mapping[str, Any], file: Path) -> Mapping[str, str | None]:
    """The keys of the file's architecture that transformers knows, and what it makes of them.

    Raises:
        ModelError: transformers does not read the architecture, or the file is one part of several.
    """
    from transformers.integrations.ggml import GGUF_CONFIG_MAPPING

    if (said.get("split.count") or 1) > 1:
        raise ModelError("this is one part of several", where=str(file), hint="join them to one file")
    architecture = str(said.get("general.architecture"))
    mappings: Mapping[str, Any] = GGUF_CONFIG_MAPPING
    known = mappings.get(_NAMED_ALIKE.get(architecture, architecture.replace("-", "_")))
    if known is None:
        raise ModelError(
            f"transformers does not read GGUF files of the architecture {architecture!r}",
            where=str(file),
            hint=_INSTEAD,
        )
    return cast("Mapping[str, str | None]", known)


def _unread(said: Mapping[str, Any], known: Mapping[str, str | None], config: Any) -> list[str]:
    """What a file says of its architecture that transformers leaves unread, unless it is so anyway."""
    head = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    turned = (getattr(config, "rope_parameters", None) or {}).get("partial_rotary_factor") or 1.0
    alike = {
        "attention.key_length": head,
        "attention.value_length": head,
        "rope.dimension_count": int(head * turned),
        "vocab_size": config.vocab_size,
    }
    prefix = f"{said['general.architecture']}."
    keys = {key.removeprefix(prefix): value for key, value in said.items() if key.startswith(prefix)}
    return [key for key, value in keys.items() if known.get(key) is None and alike.get(key) != value]


def _some(names: Iterable[Any]) -> str:
    return ", ".join(sorted(map(str, names))[:4])


def _write_marker(file: Path, digest: str, folder: Path) -> None:
    import transformers
    from gguf import GGUFReader

    types = Counter(tensor.tensor_type.name for tensor in GGUFReader(file).tensors)
    said: Mapping[str, Any] = {
        "file": file.name,
        "sha256": digest,
        "tensor_types": dict(sorted(types.items())),
        "transformers": transformers.__version__,
    }
    (folder / MARKER).write_text(json.dumps(said, indent=1) + "\n", encoding="utf-8")


@contextmanager
def _reading(file: Path) -> Iterator[None]:
    """Turn what the readers raise on a damaged file into a :class:`ModelError`."""
    try:
        yield
    except (ModelError, MemoryError):
        raise
    except OSError as error:
        raise ModelError(f"cannot be read or kept: {reason(error)}", where=str(file)) from error
    except Exception as error:  # foreign readers raise what they like
        detail = str(error).strip().splitlines()
        raise ModelError(
            f"the GGUF file cannot be read: {detail[0] if detail else type(error).__name__}",
            where=str(file),
            hint="download it again, or give the checkpoint that it was made from",
        ) from error
