"""Take the still pictures of the models that run in the pages: ``book/figures/live_*.webp``.

    python scripts/live_stills.py

Needs Chromium (``MMTUTOR_CHROMIUM``, or on the PATH) and the files of ``scripts/export_live.py``. They stand
above each exhibit, for readers without a script.
"""

from __future__ import annotations

import io
import os
import shutil
import tempfile
from pathlib import Path

from PIL import Image

ROOT = Path(__file__).resolve().parents[1]
EXHIBITS = ("captioner", "ask", "words", "search", "draw", "hear")
# No wider than this, or the letters would be too small where a phone shows the picture.
PAGE = """<!doctype html><html lang="en"><meta charset="utf-8"><body style="background:#fff;color:#111;font:17px/1.45
'Liberation Sans',sans-serif;margin:8px;width:500px"><div class="mmt-exhibit" data-exhibit="{name}"></div>
<script src="{start}"></script></body></html>"""


def chromium() -> str:
    """Where the browser is."""
    named = os.environ.get("MMTUTOR_CHROMIUM")
    there = map(shutil.which, ("chromium-headless-shell", "chromium", "google-chrome"))
    return named or next(filter(None, there))


def main() -> None:
    from playwright.sync_api import sync_playwright

    start = (ROOT / "book" / "_static" / "live" / "start.js").as_uri()
    with sync_playwright() as playwright, tempfile.TemporaryDirectory() as folder:
        chrome = playwright.chromium.launch(executable_path=chromium(), args=["--no-sandbox"])
        for name in EXHIBITS:
            path = Path(folder, f"{name}.html")
            path.write_text(PAGE.format(name=name, start=start), encoding="utf-8")
            page = chrome.new_page(viewport={"width": 516, "height": 900}, device_scale_factor=2)
            page.add_init_script(
                "let s = 1; Math.random = () => (s = (16807 * s) % 2147483647) / 2147483647"
            )
            page.goto(path.as_uri())
            page.click(".mmt-exhibit button")
            page.wait_for_selector(".mmt-exhibit[data-ready]")
            if name == "captioner":
                page.check("input[value=detailed]")
                page.wait_for_timeout(1500)
                page.click(".mmt-sentence li:has-text('dog') button")
            page.wait_for_timeout(1500)
            page.evaluate("document.activeElement.blur()")
            shot = page.locator(".mmt-exhibit").screenshot()
            out = ROOT / "book" / "figures" / f"live_{name}.webp"
            Image.open(io.BytesIO(shot)).convert("RGB").save(out, "WEBP", quality=82, method=6)
            print(f"{out.name}: {out.stat().st_size / 1e3:.0f} kB")
            page.close()
        chrome.close()


if __name__ == "__main__":
    main()
