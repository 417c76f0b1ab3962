"""Opening a page in a real browser: Debian's headless Chromium, without a driver.

A script put at the end of a copy of the page does what a reader would do and leaves what it saw in the page;
``--dump-dom`` hands it back.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import shutil
import subprocess
from html import unescape
from pathlib import Path
from typing import Any

import pytest

__all__ = ["chromium", "visit"]

_FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--enable-logging=stderr",
    "--virtual-time-budget=20000",
)


def chromium() -> str:
    """Path of the browser; skips the test where there is none."""
    found = next(
        (path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))),
        None,
    )
    if found is None:
        pytest.skip("no Chromium is installed (Debian: apt-get install chromium)")
    return found


def visit(
    page: Path, script: str, folder: Path, *, width: int = 1280, height: int = 900
) -> tuple[Any, list[str]]:
    """Open a page, run a script in it, and hand back what it returned.

    Args:
        page: The HTML file.
        script: Body of an async function; what it returns must be JSON.
        folder: For the copy and the browser's profile.
        width: Of the window, in pixels.
        height: Of the window.

    Returns:
        What the script returned, and the lines of the console.
    """
    driver = (
        "(async () => { const wait = (ms) => new Promise((done) => setTimeout(done, ms)); let out;"
        f"try {{ out = await (async () => {{ {script} }})(); }}"
        "catch (error) { out = {error: String(error)}; }"
        "const at = document.createElement('pre'); at.id = 'driver-result';"
        "at.textContent = JSON.stringify(out); document.body.append(at); })();"
    )
    digest = base64.b64encode(hashlib.sha256(driver.encode("utf-8")).digest()).decode("ascii")
    text = page.read_text(encoding="utf-8")
    # The page runs no script but its own; the copy allows this one besides.
    text = text.replace("script-src ", f"script-src &#39;sha256-{digest}&#39; ", 1)
    copy = folder / "visited.html"
    copy.write_text(text.replace("</body>", f"<script>{driver}</script></body>"), encoding="utf-8")
    profile = folder / "profile"
    done = subprocess.run(
        [
            chromium(),
            *_FLAGS,
            f"--user-data-dir={profile}",
            f"--window-size={width},{height}",
            "--dump-dom",
            copy.as_uri(),
        ],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    result = re.search(r'<pre id="driver-result">(.*?)</pre>', done.stdout, re.DOTALL)
    assert result, done.stderr[-2000:]
    console = [line for line in done.stderr.splitlines() if "CONSOLE" in line]
    return json.loads(unescape(result.group(1))), console
