"""Data for the page's script."""

from __future__ import annotations

import base64
import gzip
import json
from typing import Any

__all__ = ["pack"]


def pack(value: Any) -> str:
    """Pack a value for embedding: JSON, compressed, in base64.

    Base64 holds no character that HTML or a script could take for its own, whatever the texts say; the
    zero timestamp keeps equal data equal bytes.
    """
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return base64.b64encode(gzip.compress(text.encode("utf-8"), mtime=0)).decode("ascii")
