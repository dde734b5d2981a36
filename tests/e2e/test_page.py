"""The page in a real browser: the sample, a dropped file, keys alone, and no word to another host."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.e2e.chromium import needs_detector, opened, tab, text, wait_until_painted
from tests.integration.server_process import ServerProcess

playwright = pytest.importorskip("playwright.sync_api", reason="no Playwright: `make browser` installs it")
REPOSITORY = Path(__file__).parents[2]
SAMPLE = REPOSITORY / "service" / "poselift_service" / "web" / "sample.json"
ALPHAPOSE = REPOSITORY / "tests" / "data" / "detectors" / "alphapose_all_idx_0.json"
AXE = REPOSITORY / "build" / "axe" / "node_modules" / "axe-core" / "axe.min.js"
NO_CAMERA = """() => {
    navigator.mediaDevices.getUserMedia = async () => {
        throw new DOMException("no camera", "NotFoundError");
    };
}"""
# The joint of a pose is found on its canvas, and no longer when another has been shown and not drawn yet.
FOUND_JOINTS = """async () => {
    const [{ Stage }, { posesOf }] = await Promise.all([import("/page/stage.js"), import("/page/scene.js")]);
    const canvas = document.body.appendChild(document.createElement("canvas"));
    const stage = new Stage(canvas);
    const result = posesOf({ joint_names: ["hip"], poses: [[[0, 0, 0]]] }, new Map());
    const columns = [...Array(canvas.clientWidth).keys()];
    const isFound = () => columns.some((x) => [...Array(canvas.clientHeight).keys()].some((y) => stage.jointAt(x, y)));
    stage.show([result], 0);
    stage.draw(0);
    const before = isFound();
    stage.show([], 0);
    return [before, isFound()];
}"""
REACHED = "open sample form save theme stage play frame speed model joint"


def frame(page: Any) -> int:
    return int(page.locator("#frame").input_value())


def test_the_sample_plays_at_once(browser: Any, server: ServerProcess):
    with opened(browser, server.address) as page:
        assert text(page, "#clip-facts") == "100 frames · 60 fps · 1 person"
        wait_until_painted(page, "#stage", 10_000)
        wait_until_painted(page, "#picture", 100)
        before = text(page, "#numbers")
        page.locator("#numbers").filter(has_not_text=before).wait_for()
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
        page.locator("#frame").focus()
        keys.press("Shift+ArrowRight")
        playwright.expect(page.locator("#frame")).to_have_value("10")
        keys.press("Home")
        playwright.expect(page.locator("#frame")).to_have_value("0")
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
        page.wait_for_url("**frame=40**")
        page.click("#sample")
        page.wait_for_url("**frame=0**")


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
    with opened(browser, server.address, refusals=1) as page:
        page.set_input_files("#file", broken)
        page.locator("#message-text", has_text="form is not known").wait_for()


def test_what_no_option_mends_is_not_asked_for_again(browser: Any, server: ServerProcess, tmp_path: Path):
    poses = tmp_path / "poses.npz"
    np.savez(poses, positions_3d=np.zeros((5, 17, 3)))
    with opened(browser, server.address, refusals=2) as page:
        page.set_input_files("#file", poses)
        page.locator("#reading-why", has_text="keypoints").wait_for()
        page.fill("[name=fps]", "60")
        page.keyboard.press("Enter")
        page.locator("#message-text", has_text="keypoints").wait_for()


def test_a_server_that_still_loads_its_model_is_waited_for(browser: Any, server: ServerProcess):
    held: list[Any] = []
    with tab(browser, server.address) as page:
        page.route("**/models", lambda route: route.fulfill(json=[]))
        page.route("**/lift", lambda route: held.append(route))
        page.goto(server.address)
        page.locator("#busy", has_text="loading its model").wait_for()
        assert page.locator("#message").is_hidden()
        page.unroute("**/models")
        page.locator("#busy", has_text="Lifting…").wait_for()
        playwright.expect(page.locator("#model option")).not_to_have_count(0)
        held[0].continue_()
        page.locator("#clip-facts", has_text="100 frames").wait_for()


def test_a_file_dropped_before_there_are_models_has_its_bones(browser: Any, server: ServerProcess):
    with tab(browser, server.address, routes={"**/models": lambda route: route.fulfill(json=[])}) as page:
        page.goto(server.address)
        page.locator("#busy", has_text="loading its model").wait_for()
        page.set_input_files("#file", SAMPLE)
        page.locator("#clip-facts", has_text="100 frames").wait_for()
        assert text(page, "#picture-facts").startswith(json.loads(SAMPLE.read_text())["skeleton"])


def test_the_sample_does_not_wait_for_what_is_known_of_webcams(browser: Any, server: ServerProcess):
    broken = {"**/webcam.json": lambda route: route.fulfill(body="<html>")}
    with opened(browser, server.address, routes=broken) as page:
        assert page.locator("#message").is_hidden()


def test_joints_that_are_no_longer_shown_are_not_found(browser: Any, server: ServerProcess):
    with opened(browser, server.address) as page:
        assert page.evaluate(FOUND_JOINTS) == [True, False]


@needs_detector
def test_a_device_without_a_camera_is_said(browser: Any, server: ServerProcess):
    with opened(browser, server.address, permissions=("camera",)) as page:
        page.evaluate(NO_CAMERA)
        page.click("#webcam")
        page.locator("#message-text", has_text="has no camera").wait_for()
