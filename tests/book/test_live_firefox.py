"""The models in the page say the same in Firefox, where it is installed; CI has Chromium alone.

Firefox is driven by Marionette, its own protocol over a local socket, so that nothing else need be
installed.
"""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import test_live_browser as chromium
from bookkit import Open

FIREFOX = next(filter(None, map(shutil.which, ("firefox", "firefox-esr"))), None)
pytestmark = [
    pytest.mark.usefixtures("html"),
    pytest.mark.timeout(300),
    pytest.mark.skipif(FIREFOX is None, reason="Firefox is not installed"),
]
CODE = """
  for (const f of ['manifest.js', 'engine.js', 'world.js', 'exhibits.js']) await MMT.load(f);
  const [world, eyes, captioner, asked] = await Promise.all(['world', 'encoder', 'captioner-soft', 'questions'].map(MMT.model));
  return scenes.map((scene) => {
    const pixels = world.draw(scene), map = eyes.map(pixels, 96), sum = pixels.reduce((s, v) => (s * 31 + v) % 1000000007, 0);
    const answer = asked.answer(map, MMT.idsOf('what is on the left', asked.words)).p;
    return [sum, [...map.data.slice(0, 200)], captioner.write(map).words.join(' '), answer.indexOf(Math.max(...answer))];
  });"""
Run = Callable[..., Any]


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


@pytest.fixture
def firefox(tmp_path: Path) -> Iterator[Run]:
    """Run a command of Marionette, such as ``WebDriver:Navigate``."""
    port = free_port()
    (tmp_path / "user.js").write_text(f'user_pref("marionette.port", {port});\n')
    command = [FIREFOX, "--headless", "--marionette", "--no-remote", "--profile", str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            deadline = time.monotonic() + 60
            while True:
                try:
                    wire = socket.create_connection(("127.0.0.1", port), timeout=120)
                    break
                except OSError:
                    assert time.monotonic() < deadline, "Firefox does not answer"
                    time.sleep(0.5)
            file, count = wire.makefile("rb"), 0

            def receive() -> Any:
                size = b""
                while (one := file.read(1)) != b":":
                    size += one
                return json.loads(file.read(int(size)))

            def run(name: str, **more: Any) -> Any:
                nonlocal count
                count += 1
                message = json.dumps([0, count, name, more]).encode()
                wire.sendall(str(len(message)).encode() + b":" + message)
                _, _, error, value = receive()
                assert error is None, error
                return value

            receive()
            run("WebDriver:NewSession")
            yield run
        finally:
            process.kill()


def test_firefox_and_chromium_agree(open_page: Open, firefox: Run) -> None:
    scenes = [here for _, here in chromium.drawn()]
    with open_page(chromium.PLAY) as watched:
        wanted = watched.page.evaluate(f"async (scenes) => {{ {CODE} }}", scenes)
        assert watched.errors == []
    firefox("WebDriver:Navigate", url=chromium.PLAY.as_uri())
    firefox("WebDriver:SetTimeouts", script=200_000)
    script = (
        f"const [scenes, done] = arguments; const work = async () => {{ {CODE} }};"
        "work().then(done, (error) => done(String(error)))"
    )
    found = firefox("WebDriver:ExecuteAsyncScript", script=script, args=[scenes])["value"]
    assert len(found) == len(wanted) == chromium.COUNT
    for (sum_, map_, words, answer), (their_sum, their_map, their_words, their_answer) in zip(
        found, wanted, strict=True
    ):
        assert (sum_, words, answer) == (their_sum, their_words, their_answer)
        assert max(abs(a - b) for a, b in zip(map_, their_map, strict=True)) < 1e-4
