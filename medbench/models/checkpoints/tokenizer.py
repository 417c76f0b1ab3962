"""The tokenizer that belongs to a checkpoint."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from medbench.errors import ModelError
from medbench.models.architecture.skeleton import foreign_failures
from medbench.models.checkpoints.folder import CheckpointSource, has_tokenizer, read_json
from medbench.models.checkpoints.layouts import base_of, detect_layout
from medbench.models.checkpoints.layouts.adapter import EXPERTS_FILE

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

# Models of SentencePiece, which a folder without tokenizer.json is read from.
_OF_SENTENCEPIECE = ("tokenizer.model", "spiece.model", "sentencepiece.bpe.model")


def load_tokenizer(
    source: str | Path | CheckpointSource, base: str | Path | None = None
) -> PreTrainedTokenizerBase:
    """Load the tokenizer of a checkpoint; no code of the checkpoint's runs.

    Args:
        source: The checkpoint, or a folder with a tokenizer alone.
        base: Folder or hub id of the base model, of an adapter: its tokenizer is the base's.

    Raises:
        ModelError: There is no tokenizer, or it cannot be read.
    """
    from transformers import AutoTokenizer, PreTrainedTokenizerFast

    source = CheckpointSource.of(source, base)
    folder = source.folder()
    if (folder / "adapter_config.json").is_file() or (folder / EXPERTS_FILE).is_file():
        folder = base_of(folder, detect_layout(folder), source)
    if not has_tokenizer(folder):
        raise ModelError(
            "no tokenizer in the checkpoint",
            where=str(folder),
            hint="copy tokenizer.json and tokenizer_config.json of the model it was trained from there",
        )
    if (settings := folder / "tokenizer_config.json").is_file():
        read_json(settings)  # what is wrong with it is said better here than by what reads it next
    # tokenizer.json says everything. AutoTokenizer would replace its pre-tokenizer by the one it knows for
    # the model_type, so that the same tokenizer would split text differently before and after conversion.
    whole = (folder / "tokenizer.json").is_file()
    pieces = [name for name in _OF_SENTENCEPIECE if (folder / name).is_file()]
    if pieces and not whole and importlib.util.find_spec("sentencepiece") is None:
        raise ModelError(
            f"the tokenizer is one of SentencePiece ({pieces[0]}), which needs the package sentencepiece",
            where=str(folder),
            hint="pip install 'medbench[sentencepiece]'; or put the tokenizer.json of its family there",
        )
    loader: Any = PreTrainedTokenizerFast if whole else AutoTokenizer
    with foreign_failures("the tokenizer cannot be read", str(folder)):
        tokenizer = loader.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
        # transformers makes an empty one where only its settings are there.
        empty = not whole and set(tokenizer("medicine")["input_ids"]) <= set(tokenizer.all_special_ids)
    if empty:
        raise ModelError(
            "the tokenizer has no vocabulary",
            where=str(folder),
            hint="copy tokenizer.json, or the file of its vocabulary, of the model it was trained from there",
        )
    return cast("PreTrainedTokenizerBase", tokenizer)
