"""A real Chromium, and the page in it."""

import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import httpx
import pytest
from poselift_service.web.assets import detector_files

# Software rendering, as on a machine without a GPU.
FLAGS = ["--no-sandbox", "--use-angle=swiftshader", "--enable-unsafe-swiftshader"]
ANSWER_MS = 60_000
CHROMIUMS = ("chromium", "chromium-browser", "google-chrome")
needs_detector = pytest.mark.skipif("pose.js" not in detector_files(), reason="no detector: `make web` fetches it")


@contextmanager
def chromium(*flags: str) -> Iterator[Any]:
    """A browser; skips the test where there is none."""
    playwright = pytest.importorskip("playwright.sync_api", reason="no Playwright: `make browser` installs it")
    path = next((found for name in CHROMIUMS if (found := shutil.which(name))), None)
    if path is None:
        pytest.skip("no Chromium: `make browser` installs it")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=path, args=[*FLAGS, *flags])
        yield browser
        browser.close()


@contextmanager
def opened(browser: Any, address: str, **more: Any) -> Iterator[Any]:
    """A page that has shown its first clip; further arguments as those of `tab`."""
    with tab(browser, address, **more) as page:
        page.goto(address)
        page.locator("#clip-facts", has_text="frames").wait_for()
        yield page


@contextmanager
def tab(
    browser: Any,
    address: str,
    *,
    refusals: int = 0,
    key: str | None = None,
    permissions: tuple[str, ...] = (),
    routes: Mapping[str, Callable[[Any], None]] | None = None,
) -> Iterator[Any]:
    """An empty page for this address; fails if the page complains, or asks another host.

    Args:
        refusals: how many files will be refused at first, of which browsers complain.
        key: an API key that was typed into the tab before.
        permissions: what the page may use without asking.
        routes: what answers in place of the server, by a pattern of addresses.
    """
    context = browser.new_context(
        viewport={"width": 1280, "height": 800}, color_scheme="dark", permissions=list(permissions)
    )
    for pattern, answer in (routes or {}).items():
        context.route(pattern, answer)
    page = context.new_page()
    if key is not None:
        page.add_init_script(f"sessionStorage.setItem('poselift-key', '{key}')")
    page.set_default_timeout(ANSWER_MS)
    faults: list[str] = []
    page.on("console", lambda message: faults.append(message.text) if message.type in ("error", "warning") else None)
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.on("request", lambda request: None if is_own(request.url, address) else faults.append(request.url))
    try:
        yield page
    finally:
        context.close()
    assert [fault for fault in faults if "status of 422" not in fault] == []
    assert len(faults) == refusals


def is_own(url: str, address: str) -> bool:
    return httpx.URL(url).scheme in ("blob", "data") or httpx.URL(url).netloc == httpx.URL(address).netloc


def text(page: Any, selector: str) -> str:
    return str(page.locator(selector).text_content())


def wait_until_painted(page: Any, selector: str, pixels: int) -> None:
    """Wait until so many pixels of a canvas are not empty."""
    count = """canvas => canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data
        .reduce((sum, value, index) => sum + (index % 4 === 3 && value > 200), 0)"""
    giving_up = time.monotonic() + ANSWER_MS / 1000
    while page.locator(selector).evaluate(count) < pixels:
        assert time.monotonic() < giving_up, f"{selector} is empty"
