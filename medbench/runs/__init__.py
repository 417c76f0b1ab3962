"""Planning, executing, storing and resuming evaluation runs."""

from __future__ import annotations
