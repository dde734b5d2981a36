"""The webcam on the page: a recorded person in front of a false camera, and what is said where there is none."""

import hashlib
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from typing import Any

import httpx
import pytest
from poselift_service.web.assets import detector_files

from tests.e2e.chromium import ANSWER_MS, chromium, opened, text, wait_until_painted
from tests.integration.server_process import REPOSITORY, ServerProcess, running

RECORDING = REPOSITORY / "tests" / "data" / "webcam" / "walk.mjpeg"
KEY = "a-key-of-this-test"
NAME = "poselift.test"  # an address from elsewhere, as browsers see it
# With WebGL for the detector, and drawing without it.
FLAGS = (
    "--disable-gpu-compositing",
    "--use-fake-device-for-media-stream",
    f"--use-file-for-fake-video-capture={RECORDING}",
    f"--host-resolver-rules=MAP {NAME} 127.0.0.1",
)
# Two busy cores need half a minute until the detector has started without a GPU.
START_MS = 3 * ANSWER_MS
TRACKS = "window.cameras.flatMap(camera => camera.getTracks().map(track => track.readyState))"
KEEP_CAMERAS = """() => {
    const { mediaDevices } = navigator;
    const open = mediaDevices.getUserMedia.bind(mediaDevices);
    window.cameras = [];
    mediaDevices.getUserMedia = async (wanted) => {
        window.cameras.push(await open(wanted));
        return window.cameras.at(-1);
    };
}"""
needs_detector = pytest.mark.skipif("pose.js" not in detector_files(), reason="no detector: `make web` fetches it")


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium(*FLAGS) as browser:
        yield browser


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """It asks for a key, and is reached by another name, too."""
    folder = tmp_path_factory.mktemp("webcam")
    (folder / "keys").write_text(f"alice:{hashlib.sha256(KEY.encode()).hexdigest()}\n")
    settings = {"api_keys_file": folder / "keys", "allowed_hosts": f"127.0.0.1,{NAME}"}
    with running(REPOSITORY / "models", folder / "log", **settings) as server:
        yield server


@needs_detector
def test_a_person_before_the_camera_is_lifted_by_two_lookaheads(browser: Any, server: ServerProcess):
    sent: dict[str, list[dict[str, Any]]] = {}

    def listen(socket: Any) -> None:
        messages = sent.setdefault(socket.url, [])
        socket.on("framesent", lambda message: messages.append(json.loads(message)))

    with opened(browser, server.address, key=KEY, permissions=("camera",)) as page:
        page.evaluate(KEEP_CAMERAS)
        page.on("websocket", listen)
        page.click("#webcam")
        page.locator("#live").wait_for(timeout=START_MS)
        page.select_option("#other-lookahead", "5")
        numbers = page.locator("#live-numbers")
        numbers.filter(has_text="per second").filter(has_text="ms").wait_for(timeout=START_MS)
        numbers.filter(has_text=re.compile(r"of the other\s*\d+ ms")).wait_for()
        latencies = [int(value.split()[0]) for value in numbers.locator("dd").all_inner_texts()[1:3]]
        assert 0 < latencies[0] < latencies[1]
        wait_until_painted(page, "#stage", 10_000)
        wait_until_painted(page, "#picture", 20_000)
        before = text(page, "#numbers")
        page.locator("#numbers").filter(has_not_text=before).wait_for()
        assert page.locator("#transport").is_hidden()
        page.click("#webcam")
        page.locator("#clip-facts", has_text="100 frames").wait_for()
        assert page.locator("#live").is_hidden()
        assert page.evaluate(TRACKS) == ["ended"]
        page.wait_for_timeout(1000)  # the sessions end behind the page

    sessions = [messages for url, messages in sent.items() if "/sessions/" in url]
    assert [messages[-1]["end"] for messages in sessions] == [True] * len(sessions)
    for messages in sessions[
        -2:
    ]:  # there is one before them, if the person was seen before the second lookahead was chosen
        *frames, end = messages
        times = [frame["time_s"] for frame in frames]
        assert end == {"end": True, "next_frame_index": len(frames)}
        assert len(frames) > 5
        assert all(0 < later - earlier < 5 for earlier, later in pairwise(times))
        seen = [frame["keypoints"][0] for frame in frames if frame["keypoints"][0]]
        assert {len(keypoints) for keypoints in seen} == {33}
        assert all(0 < keypoints[0][0] < 384 and 0 < keypoints[0][1] < 480 for keypoints in seen)


@needs_detector
def test_a_camera_that_may_not_be_used_is_said(browser: Any, server: ServerProcess):
    with opened(browser, server.address, key=KEY) as page:
        page.keyboard.press("w")
        page.locator("#message-text", has_text="was not allowed to use the camera").wait_for()
        assert text(page, "#webcam") == "Webcam"


@needs_detector
def test_a_page_without_tls_from_another_machine_says_what_it_needs(browser: Any, server: ServerProcess):
    with sample_of(browser, str(httpx.URL(server.address).copy_with(host=NAME))) as page:
        page.click("#webcam")
        page.locator("#message-text", has_text="over TLS").wait_for()


def test_a_server_without_detector_says_so_at_the_button(browser: Any, server: ServerProcess):
    with sample_of(browser, server.address, has_detector=False) as page:
        page.locator("#webcam[aria-disabled=true]").wait_for()
        page.click("#webcam", force=True)
        page.locator("#message-text", has_text="make web").wait_for()
        assert "make web" in str(page.locator("#webcam").get_attribute("title"))


@contextmanager
def sample_of(browser: Any, address: str, *, has_detector: bool = True) -> Iterator[Any]:
    """A page with the sample, of which browsers may complain."""
    context = browser.new_context()
    page = context.new_page()
    page.add_init_script(f"sessionStorage.setItem('poselift-key', '{KEY}')")
    if not has_detector:
        page.route("**/webcam.json", lambda route: route.fulfill(json={"detector": False}))
    page.goto(address)
    page.locator("#clip-facts", has_text="100 frames").wait_for()
    yield page
    context.close()
