"""How long the models take in a page: write ``book/_static/live/timing.json``.

    python scripts/live_timing.py

Opens the exhibits from disk in Chromium: seconds from the click to the first result, and milliseconds of
each picture, sentence, answer and drawing after that (the median of thirty, after a hundred: browsers compile what runs often).
"""

from __future__ import annotations

import json
import tempfile
import time
from pathlib import Path
from statistics import median

from live_stills import EXHIBITS, PAGE, ROOT, chromium

#: What is measured, and in the page of which exhibit.
STEADY = {
    "a picture": ("captioner", "eyes.map(world.draw(scene), 96)"),
    "a sentence": ("captioner", "captioner.write(map)"),
    "an answer": ("ask", "asked.answer(map, [5, 6, 7, 8, 9])"),
    "a sum of words": ("words", "words.nearest([[1, 'king'], [-1, 'man'], [1, 'woman']])"),
    "a drawing": ("draw", "painter.draw(heard, z)"),
    "two seconds of two voices": (
        "hear",
        "party.separate(wave, [voices.mouth(0), voices.mouth(3)])",
    ),
}
CODE = """async (what) => {
  const names = ['world', 'encoder', 'captioner-soft', 'questions', 'words-1611', 'drawing', 'party', 'voices'];
  const [world, eyes, captioner, asked, words, painter, party, voices] = await Promise.all(names.map(MMT.model));
  const scene = { ground: 'beach-1', things: [{ name: 'dog', side: 464, x: 300, y: 640, mirrored: false }] };
  const map = eyes.map(world.draw(scene), 96), heard = painter.hear([1, 2, 3]), z = new Float32Array(painter.config.code);
  const wave = voices.wave(0).map((x, t) => x + voices.wave(3)[t]), out = [], work = eval(`() => ${what}`);
  for (let i = 0; i < 130; i++) { const begin = performance.now(); work(); out.push(performance.now() - begin) }
  return out.slice(100) }"""


def processor() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    return next((x.split(":")[1].strip() for x in lines if x.startswith("model name")), "unknown")


def main() -> None:
    from playwright.sync_api import sync_playwright

    start = (ROOT / "book" / "_static" / "live" / "start.js").as_uri()
    found: dict[str, dict[str, float]] = {"first": {}, "steady": {}}
    with sync_playwright() as playwright, tempfile.TemporaryDirectory() as folder:
        chrome = playwright.chromium.launch(executable_path=chromium(), args=["--no-sandbox"])
        for name in EXHIBITS:
            path = Path(folder, f"{name}.html")
            path.write_text(PAGE.format(name=name, start=start), encoding="utf-8")
            page = chrome.new_page()
            page.goto(path.as_uri())
            begin = time.perf_counter()
            page.click(".mmt-exhibit button")
            page.wait_for_selector(".mmt-exhibit[data-ready]")
            found["first"][name] = round(time.perf_counter() - begin, 2)
            for what, (where, code) in STEADY.items():
                if where == name:
                    found["steady"][what] = round(median(page.evaluate(CODE, code)), 1)
            page.close()
        chrome.close()
    found |= {"processor": processor()}
    text = json.dumps(found, indent=1) + "\n"
    (ROOT / "book" / "_static" / "live" / "timing.json").write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
