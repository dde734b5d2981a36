"""The page in a real browser: the sample, a dropped file, keys alone, and no word to another host."""

import json
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.integration.server_process import ServerProcess, running

playwright = pytest.importorskip("playwright.sync_api", reason="no Playwright: `make browser` installs it")
REPOSITORY = Path(__file__).parents[2]
SAMPLE = REPOSITORY / "service" / "poselift_service" / "web" / "sample.json"
ALPHAPOSE = REPOSITORY / "tests" / "data" / "detectors" / "alphapose_all_idx_0.json"
# Software rendering, as on a machine without a GPU.
FLAGS = ["--no-sandbox", "--use-angle=swiftshader", "--enable-unsafe-swiftshader"]
AXE = REPOSITORY / "build" / "axe" / "node_modules" / "axe-core" / "axe.min.js"
ANSWER_MS = 60_000
CHROMIUMS = ("chromium", "chromium-browser", "google-chrome")
REACHED = "open sample form save theme stage play frame speed model joint"


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    path = next((found for name in CHROMIUMS if (found := shutil.which(name))), None)
    if path is None:
        pytest.skip("no Chromium: `make browser` installs it")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=path, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    with running(REPOSITORY / "models", tmp_path_factory.mktemp("page") / "log") as server:
        yield server


@contextmanager
def opened(browser: Any, address: str, *, refusals: int = 0) -> Iterator[Any]:
    """A page that has shown its first clip; fails if it complains, or asks another host.

    Args:
        refusals: how many files will be refused at first, of which browsers complain.
    """
    context = browser.new_context(viewport={"width": 1280, "height": 800}, color_scheme="dark")
    page = context.new_page()
    page.set_default_timeout(ANSWER_MS)
    faults: list[str] = []
    page.on("console", lambda message: faults.append(message.text) if message.type in ("error", "warning") else None)
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.on("request", lambda request: None if is_own(request.url, address) else faults.append(request.url))
    page.goto(address)
    page.locator("#clip-facts", has_text="frames").wait_for()
    yield page
    context.close()
    assert [fault for fault in faults if "status of 422" not in fault] == []
    assert len(faults) == refusals


def is_own(url: str, address: str) -> bool:
    return httpx.URL(url).scheme in ("blob", "data") or httpx.URL(url).netloc == httpx.URL(address).netloc


def text(page: Any, selector: str) -> str:
    return str(page.locator(selector).text_content())


def frame(page: Any) -> int:
    return int(page.locator("#frame").input_value())


def wait_until_painted(page: Any, selector: str, pixels: int) -> None:
    """Wait until so many pixels of a canvas are not empty."""
    count = """canvas => canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data
        .reduce((sum, value, index) => sum + (index % 4 === 3 && value > 200), 0)"""
    giving_up = time.monotonic() + ANSWER_MS / 1000
    while page.locator(selector).evaluate(count) < pixels:
        assert time.monotonic() < giving_up, f"{selector} is empty"


def test_the_sample_plays_at_once(browser: Any, server: ServerProcess):
    with opened(browser, server.address) as page:
        assert text(page, "#clip-facts") == "100 frames · 60 fps · 1 person"
        wait_until_painted(page, "#stage", 10_000)
        wait_until_painted(page, "#picture", 100)
        before = text(page, "#numbers")
        page.wait_for_timeout(700)
        assert text(page, "#numbers") != before
        page.keyboard.press("Space")
        still = frame(page)
        page.wait_for_timeout(300)
        assert frame(page) == still


def test_a_file_of_two_people_is_asked_about_lifted_and_saved(browser: Any, server: ServerProcess, tmp_path: Path):
    with opened(browser, server.address, refusals=1) as page:
        page.set_input_files("#file", ALPHAPOSE)
        page.locator("#reading-why", has_text="frame rate").wait_for()
        page.fill("[name=fps]", "60")
        page.fill("[name=width]", "1080")
        page.fill("[name=height]", "1920")
        page.keyboard.press("Enter")
        page.locator("#clip-facts", has_text="2 people").wait_for()
        assert page.locator("#people li").count() == 2
        page.select_option("#form", "csv")
        with page.expect_download() as saved:
            page.click("#save")
        saved.value.save_as(tmp_path / "poses.csv")
        assert (tmp_path / "poses.csv").read_text().startswith("person,frame,time_s,joint")


def test_warnings_are_shown(browser: Any, server: ServerProcess, tmp_path: Path):
    turned = tmp_path / "turned.json"
    turned.write_text(json.dumps(json.loads(SAMPLE.read_text()) | {"image_size": [1920, 1080]}))
    with opened(browser, server.address) as page:
        page.set_input_files("#file", turned)
        page.locator("#warnings", has_text="picture turned").wait_for()


def test_a_folder_with_a_file_per_frame_is_lifted(browser: Any, server: ServerProcess):
    folder = REPOSITORY / "tests" / "data" / "detectors" / "openpose_coco18"
    with opened(browser, server.address, refusals=1) as page:
        page.set_input_files("#folder", folder)
        page.fill("[name=fps]", "60")
        page.fill("[name=width]", "1080")
        page.fill("[name=height]", "1920")
        page.keyboard.press("Enter")
        page.locator("#clip-facts", has_text="5 frames").wait_for()
        assert text(page, "#clip-name") == "openpose_coco18"


def test_keys_alone_do_everything(browser: Any, server: ServerProcess):
    with opened(browser, f"{server.address}/#paused=1") as page:
        keys = page.keyboard
        for key, expected in (("ArrowRight", 1), ("Shift+ArrowRight", 11), ("End", 99), ("ArrowLeft", 98), ("Home", 0)):
            keys.press(key)
            playwright.expect(page.locator("#frame")).to_have_value(str(expected))
        keys.press(".")
        assert page.locator("#speed").input_value() == "2"
        keys.press("3")
        keys.press("t")
        page.wait_for_url("**view=0,89,1**")
        page.wait_for_url("**theme=light**")
        page.locator("#stage").focus()
        keys.press("ArrowRight")
        page.wait_for_url("**view=6,89,1**")
        assert frame(page) == 0
        keys.press("?")
        assert page.locator("#keys").is_visible()
        keys.press("Escape")
        reached = set()
        for _ in range(40):
            keys.press("Tab")
            reached.add(page.evaluate("document.activeElement.id"))
        assert set(REACHED.split()) <= reached


def test_the_address_holds_what_is_shown(browser: Any, server: ServerProcess):
    with opened(browser, f"{server.address}/#paused=1&frame=40&speed=0.5&view=90,0,2&errors=1") as page:
        playwright.expect(page.locator("#frame")).to_have_value("40")
        assert page.locator("#speed").input_value() == "0.5"
        assert page.locator("#show-error").is_checked()


def test_two_ways_to_lift_one_clip_are_compared(browser: Any, server: ServerProcess):
    with opened(browser, f"{server.address}/#paused=1") as page:
        for way in ("mirrored", "live"):
            value = page.locator("#compare option", has_text=way).get_attribute("value")
            page.select_option("#compare", value)
            page.locator("#difference", has_text="mm in the clip").wait_for()
            page.locator("#busy").wait_for(state="hidden")
        page.check("#beside")
        page.wait_for_url("**beside=1**")


@pytest.mark.parametrize("theme", ["dark", "light"])
def test_a_checker_of_accessibility_finds_nothing(browser: Any, server: ServerProcess, theme: str):
    if not AXE.exists():
        pytest.skip("no axe-core: `make browser` installs it")
    with opened(browser, f"{server.address}/#paused=1&theme={theme}") as page:
        page.evaluate(AXE.read_text())
        for dialog in ("", "keys", "reading", "key-dialog"):
            if dialog:
                page.evaluate(f"document.getElementById('{dialog}').showModal()")
            found = page.evaluate("axe.run()")["violations"]
            assert [(one["id"], one["nodes"][0]["html"]) for one in found] == []
            page.keyboard.press("Escape")


def test_what_cannot_be_read_is_said(browser: Any, server: ServerProcess, tmp_path: Path):
    broken = tmp_path / "broken.json"
    broken.write_text(json.dumps({"hello": "world"}))
    context = browser.new_context()
    page = context.new_page()
    page.goto(server.address)
    page.locator("#clip-facts", has_text="frames").wait_for()
    page.set_input_files("#file", broken)
    page.locator("#message-text", has_text="form is not known").wait_for()
    context.close()
