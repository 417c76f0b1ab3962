"""``python -m medbench.cli``."""

from __future__ import annotations

import sys

from medbench.cli.main import main

sys.exit(main())
