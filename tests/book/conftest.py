"""The built pages, and a real browser that reaches no network."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from bookkit import FLAGS, HTML, Open, Watched


@pytest.fixture(scope="session")
def html() -> Path:
    """The folder of the built pages."""
    if not (HTML / "index.html").exists():
        pytest.fail(
            "there is no built book at _build/html; run make book (or make test) first",
            pytrace=False,
        )
    return HTML


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    """Chromium, headless. Its absence fails a test, it never skips one."""
    from playwright.sync_api import sync_playwright

    found = os.environ.get("MMTUTOR_CHROMIUM") or next(
        (
            p
            for name in ("chromium-headless-shell", "chromium", "google-chrome")
            if (p := shutil.which(name))
        ),
        None,
    )
    if not found:
        pytest.fail(
            "the page tests need Chromium: apt-get install chromium, or set MMTUTOR_CHROMIUM",
            pytrace=False,
        )
    with sync_playwright() as playwright:
        chrome = playwright.chromium.launch(executable_path=found, args=list(FLAGS))
        yield chrome
        chrome.close()


@pytest.fixture(scope="session")
def open_page(browser: Any) -> Open:
    """``with open_page(path, dark=False, width=1280) as watched``: a page from disk with the network blocked.

    With ``clock=True`` the page's time stands still until the test moves it (``watched.page.clock.run_for(ms)``), so
    that what goes by timers and frames comes out the same on any machine. Sounds keep their own time.
    """

    @contextlib.contextmanager
    def open_(
        path: Path,
        *,
        dark: bool = False,
        width: int = 1280,
        query: str = "",
        scripts: bool = True,
        motion: bool = False,
        clock: bool = False,
    ) -> Iterator:
        context = browser.new_context(
            viewport={"width": width, "height": 900},
            color_scheme="dark" if dark else "light",
            reduced_motion="no-preference" if motion else "reduce",
            java_script_enabled=scripts,
        )
        context.set_default_timeout(60_000)  # a slow machine is no fault of the page
        if clock:
            context.clock.install(time=0)
            context.clock.pause_at(1000)
        watched = Watched(context.new_page())

        def guard(route: Any) -> None:
            if route.request.url.startswith(("file:", "data:", "blob:")):
                route.continue_()
            else:
                watched.errors.append(f"asks another host: {route.request.url}")
                route.abort()

        context.route("**/*", guard)
        page = watched.page
        page.on(
            "console",
            lambda m: watched.errors.append(f"console: {m.text}") if m.type == "error" else None,
        )
        page.on("pageerror", lambda error: watched.errors.append(f"script: {error}"))
        page.on(
            "requestfailed",
            lambda r: watched.errors.append(f"failed request: {r.url[:120]} ({r.failure})"),
        )
        try:
            page.goto(path.as_uri() + query)
            if scripts:
                watched.settle()
            yield watched
        finally:
            context.close()

    return open_
