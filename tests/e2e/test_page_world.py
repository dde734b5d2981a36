"""The world on the page: a floor, people who move, and what is known of them, by calls that need no network."""

import json
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.e2e.chromium import opened, text, wait_until_painted
from tests.integration.server_process import ServerProcess

playwright = pytest.importorskip("playwright.sync_api", reason="no Playwright: `make browser` installs it")
REPOSITORY = Path(__file__).parents[2]
SAMPLE = REPOSITORY / "service" / "poselift_service" / "web" / "sample.json"
AXE = REPOSITORY / "build" / "axe" / "node_modules" / "axe-core" / "axe.min.js"
STEPS = "height height-slider fov fov-slider foot-lock"


def rows(page: Any, selector: str) -> dict[str, str]:
    """A list of names and texts."""
    names, texts = (page.locator(f"{selector} {tag}").all_text_contents() for tag in ("dt", "dd"))
    return dict(zip(names, texts, strict=True))


def position(page: Any, joint: str) -> list[float]:
    """Three numbers of a joint in the frame that is shown."""
    value = page.locator("#joint option", has_text=re.compile(f"^{joint}$")).get_attribute("value")
    page.select_option("#joint", value)
    page.evaluate("() => new Promise((drawn) => requestAnimationFrame(() => requestAnimationFrame(drawn)))")
    said = list(rows(page, "#numbers").values())[:3]
    return [float(each.removesuffix(" m").replace("\u2212", "-")) for each in said]


def seek(page: Any, frame: int) -> None:
    page.locator("#frame").evaluate("(one, frame) => (one.value = frame, one.dispatchEvent(new Event('input')))", frame)


def shank(page: Any) -> float:
    """Length in metres."""
    return float(np.linalg.norm(np.subtract(position(page, "left knee"), position(page, "left ankle"))))


def fact(page: Any, name: str, said: str) -> None:
    """Wait until a fact of the world begins so."""
    page.locator(f"#world-numbers dt:text-is('{name}') + dd", has_text=re.compile(f"^{said}")).wait_for()


def test_people_stand_on_the_floor_of_the_world_and_poses_stay(browser: Any, server: ServerProcess):
    with opened(browser, f"{server.address}/#paused=1") as page:
        before = position(page, "left knee")
        page.get_by_text("World", exact=True).first.click()
        fact(page, "gravity", "estimated ± ")
        assert list(rows(page, "#numbers"))[:3] == ["x, left", "y, up", "z, forward"]
        x, y, z = position(page, "pelvis")
        assert (x, z) == pytest.approx((0, 0), abs=0.02)
        assert y > 0.5
        heights = []
        for frame in range(0, 100, 10):
            seek(page, frame)
            heights += [position(page, f"{side} ankle")[1] for side in ("left", "right")]
        # An ankle that stands is 5 % of the stature above the floor.
        assert min(heights) == pytest.approx(0.05 * 1.75, abs=0.05)
        page.get_by_text("Camera", exact=True).first.click()
        seek(page, 0)
        assert position(page, "left knee") == before
        assert page.locator("#world").is_hidden()


def test_height_and_field_of_view_change_the_world_without_the_network(browser: Any, server: ServerProcess):
    with opened(browser, f"{server.address}/#paused=1&frame=50&world=1&height=1.8") as page:
        fact(page, "height", "1.80 m, given")
        length, root = shank(page), position(page, "pelvis")
        scale = float(rows(page, "#world-numbers")["scale"].removeprefix("\u00d7 "))
        asked: list[str] = []
        page.on("request", lambda request: asked.append(request.url.rpartition("/")[2]))
        page.locator("#height-slider").focus()
        for _ in range(90):
            page.keyboard.press("ArrowLeft")
        fact(page, "height", "0.90 m, given")
        assert page.locator("#height").input_value() == "0.9"
        assert page.locator("#frame").input_value() == "50"
        half = float(rows(page, "#world-numbers")["scale"].removeprefix("\u00d7 "))
        assert half == pytest.approx(scale / 2, abs=0.002)
        assert shank(page) == pytest.approx(length / 2, abs=0.002)
        assert position(page, "pelvis")[1] == pytest.approx(root[1] / 2, abs=0.03)
        page.fill("#fov", "60")
        fact(page, "field of view", "60.0°")
        fact(page, "focal length", "935 px, given")
        page.fill("#fov", "")
        fact(page, "focal length", "1388 px, assumed")
        page.select_option("#foot-lock", "off")
        page.wait_for_url("**feet=off**")
        assert set(asked) - {"icon.svg"} == {"refine"}
        # Slides of a slider are gathered.
        assert len(asked) < 30


def test_a_refusal_is_said_at_its_field_and_the_world_stays(browser: Any, server: ServerProcess):
    with opened(browser, f"{server.address}/#paused=1&world=1", refusals=1) as page:
        fact(page, "height", r"1\.[789]\d m, assumed")
        before = position(page, "head")
        page.fill("#height", "17.5")
        page.locator("#world-refusal", has_text="2.6").wait_for()
        assert page.locator("#height").get_attribute("aria-invalid") == "true"
        assert position(page, "head") == before
        page.fill("#height", "1.75")
        fact(page, "height", "1.75 m, given")
        page.locator("#world-refusal").wait_for(state="hidden")
        assert page.locator("#height").get_attribute("aria-invalid") is None


def test_feet_that_touch_the_ground_are_told(browser: Any, server: ServerProcess):
    with opened(browser, f"{server.address}/#paused=1&frame=0&world=1") as page:
        fact(page, "gravity", "estimated")
        told = rows(page, "#world-numbers")
        for foot in ("left foot", "right foot"):
            where, percent = re.fullmatch(r"(on the ground|in the air), (\d+)\s%", told[foot]).groups()  # type: ignore[union-attr]
            assert (where == "on the ground") == (int(percent) >= 50)


def test_a_walk_is_followed_on_its_way(browser: Any, server: ServerProcess, tmp_path: Path):
    clip = json.loads(SAMPLE.read_text())
    # The person of the sample glides along a floor that leans in the picture, as before a camera that sees widely.
    clip["keypoints"] = [
        [[x + 38 * number, y + 14 * number, score] for x, y, score in frame]
        for number, frame in enumerate(clip["keypoints"])
    ]
    clip["image_size"] = [clip["image_size"][0] + 4000, clip["image_size"][1] + 1500]
    path = tmp_path / "glide.json"
    path.write_text(json.dumps(clip))
    with opened(browser, f"{server.address}/#paused=1&world=1") as page:
        page.set_input_files("#file", path)
        page.locator("#clip-name", has_text="glide").wait_for()
        fact(page, "gravity", "estimated")
        seek(page, 99)
        x, _, z = position(page, "pelvis")
        assert np.hypot(x, z) > 3
        wait_until_painted(page, "#stage", 10_000)


def test_keys_alone_reach_the_world(browser: Any, server: ServerProcess):
    with opened(browser, f"{server.address}/#paused=1") as page:
        keys = page.keyboard
        keys.press("g")
        fact(page, "gravity", "estimated")
        page.wait_for_url("**world=1**")
        reached = set()
        for _ in range(40):
            keys.press("Tab")
            reached.add(page.evaluate("document.activeElement.id || document.activeElement.name"))
        assert {*STEPS.split(), "axes"} <= reached
        page.locator("[name=axes][value=world]").focus()
        keys.press("ArrowLeft")
        playwright.expect(page.locator("#world")).to_be_hidden()
        page.locator("#numbers dt", has_text="x, right").wait_for()


def test_two_models_are_compared_in_the_world(browser: Any, server: ServerProcess):
    with opened(browser, f"{server.address}/#paused=1&world=1&beside=1") as page:
        for way in ("mirrored", "live"):
            value = page.locator("#compare option", has_text=way).get_attribute("value")
            page.select_option("#compare", value)
            page.locator("#difference", has_text="mm in the clip").wait_for()
            page.locator("#busy").wait_for(state="hidden")
            fact(page, "gravity", "estimated")
            assert page.locator("#world-refusal").is_hidden()


@pytest.mark.parametrize(("form", "start"), [("bvh", b"HIERARCHY"), ("glb", b"glTF"), ("angles.csv", b"person,")])
def test_rigs_and_angles_are_saved_as_tall_as_they_are_shown(
    browser: Any, server: ServerProcess, tmp_path: Path, form: str, start: bytes
):
    with opened(browser, f"{server.address}/#paused=1&world=1&height=1.6") as page:
        fact(page, "height", "1.60 m")
        page.select_option("#form", form)
        with page.expect_request("**/refine?**") as asked, page.expect_download() as saved:
            page.click("#save")
        assert asked.value.post_data_json["request"]["person"] == {"height_m": 1.6}
        saved.value.save_as(tmp_path / form)
        assert (tmp_path / form).read_bytes().startswith(start)


@pytest.mark.parametrize("way", ["version", "mirrored", "live"])
def test_saved_poses_are_those_that_are_shown(browser: Any, server: ServerProcess, tmp_path: Path, way: str):
    with opened(browser, f"{server.address}/#paused=1&height=1.9&fov=70") as page:
        value = page.locator("#model option", has_text=way).first.get_attribute("value")
        page.select_option("#model", value)
        page.locator("#busy").wait_for(state="hidden")
        seek(page, 60)
        shown = {joint: position(page, joint) for joint in ("head", "left wrist", "right ankle")}
        page.get_by_text("World", exact=True).first.click()
        fact(page, "height", "1.90 m, given")
        in_world = {joint: position(page, joint) for joint in shown}
        page.select_option("#form", "json")
        with page.expect_download() as saved:
            page.click("#save")
        saved.value.save_as(tmp_path / "poses.json")
    answer = json.loads((tmp_path / "poses.json").read_text())
    assert (answer["model"]["name"], answer["fps"], len(answer["poses"])) == ("pstmo-tiny-27", 60, 100)
    for joint, place in shown.items():
        number = answer["joint_names"].index(joint.replace(" ", "_"))
        assert answer["poses"][60][number] == pytest.approx(place, abs=0.0006)
        assert answer["world"]["poses"][60][number] == pytest.approx(in_world[joint], abs=0.0006)


@pytest.mark.parametrize("theme", ["dark", "light"])
def test_a_checker_of_accessibility_finds_nothing(browser: Any, server: ServerProcess, theme: str):
    if not AXE.exists():
        pytest.skip("no axe-core: `make browser` installs it")
    with opened(browser, f"{server.address}/#paused=1&world=1&theme={theme}", refusals=1) as page:
        fact(page, "gravity", "estimated")
        page.fill("#fov", "999")
        page.locator("#world-refusal", has_text="170").wait_for()
        page.evaluate(AXE.read_text())
        found = page.evaluate("axe.run()")["violations"]
        assert [(one["id"], one["nodes"][0]["html"]) for one in found] == []
        assert "170" in text(page, "#world-refusal")


def test_a_stored_answer_is_shown_in_its_world_without_fields(browser: Any):
    command = [sys.executable, "-m", "poselift", "lift", str(SAMPLE), "--view", "--no-browser"]
    for world in (["--world", "--height", "1.5"], []):
        with subprocess.Popen([*command, *world], cwd=REPOSITORY, stderr=subprocess.PIPE, text=True) as process:
            assert process.stderr is not None
            found = (re.search(r"http://[^/]+", line) for line in process.stderr)
            address = next(each[0] for each in found if each)
            with opened(browser, f"{address}/#result&world=1&paused=1") as page:
                if world:
                    fact(page, "height", "1.50 m")
                    assert page.locator("#height").is_disabled()
                    assert position(page, "pelvis")[1] > 0.4
                else:
                    assert page.locator("#axes").is_hidden()
                    assert page.locator("#world").is_hidden()
            process.send_signal(signal.SIGINT)
