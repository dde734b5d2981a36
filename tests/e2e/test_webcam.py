"""The webcam on the page: a recorded person in front of a false camera, and what is said where there is none."""

import hashlib
import json
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import pairwise
from typing import Any

import httpx
import pytest

from tests.e2e.chromium import ANSWER_MS, chromium, needs_detector, opened, text, wait_until_painted
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
# A detector that starts when it is told to, and waits until it is told whether there is a person.
DETECTOR = """
    const person = Array.from({ length: 33 }, (_, joint) => [100 + 5 * joint, 100 + 3 * (joint % 11), 1]);
    const channel = new BroadcastChannel("person");
    let isThere;
    const told = new Promise((resolve) => (channel.onmessage = ({ data }) => resolve((isThere = data))));
    onmessage = async ({ data: { bitmap } }) => {
        await told;
        setTimeout(() => postMessage({ bitmap, keypoints: isThere ? person : null }, [bitmap]), 50);
    };
    const start = new BroadcastChannel("start");
    new Promise((resolve) => (start.onmessage = resolve)).then(() => postMessage({ ready: true }));
"""
START = "new BroadcastChannel('start').postMessage(null)"
SHOW_NOBODY, SHOW_PERSON = (f"new BroadcastChannel('person').postMessage({is_there})" for is_there in ("false", "true"))
FALSE_DETECTOR: dict[str, Callable[[Any], None]] = {
    "**/webcam.json": lambda route: route.fulfill(json={"detector": True}),
    "**/detector.js": lambda route: route.fulfill(body=DETECTOR, content_type="text/javascript"),
}


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
        sessions = [messages for url, messages in sent.items() if "/sessions/" in url]
        assert len(sessions) >= 2
        # They end behind the page.
        wait_until(page, lambda: all(messages[-1].get("end") for messages in sessions))

    # There is one before them, if the person was seen before the second lookahead was chosen.
    for messages in sessions[-2:]:
        *frames, end = messages
        times = [frame["time_s"] for frame in frames]
        assert end == {"end": True, "next_frame_index": len(frames)}
        assert len(frames) > 5
        assert all(0 < later - earlier < 5 for earlier, later in pairwise(times))
        seen = [frame["keypoints"][0] for frame in frames if frame["keypoints"][0]]
        assert {len(keypoints) for keypoints in seen} == {33}
        assert all(0 < keypoints[0][0] < 384 and 0 < keypoints[0][1] < 480 for keypoints in seen)


def test_a_webcam_that_starts_changes_and_fails_leaves_a_page_that_works(browser: Any, server: ServerProcess):
    lifted: list[str] = []
    with opened(browser, server.address, key=KEY, permissions=("camera",), routes=FALSE_DETECTOR) as page:
        page.evaluate(KEEP_CAMERAS)
        button, live = page.locator("#webcam"), page.locator("#live")
        button.click()
        page.locator("#webcam:disabled").wait_for()
        page.keyboard.press("w")
        start_detector(page)
        assert page.evaluate(TRACKS) == ["live"]
        page.on("request", lambda request: lifted.append(request.url))
        page.select_option("#model", index=2)  # the clip before is not lifted again
        page.evaluate(SHOW_NOBODY)
        wait_until(page, lambda: text(page, "#numbers") == "")  # those of the clip before are gone
        page.evaluate(SHOW_PERSON)
        page.locator("#live-numbers", has_text=re.compile(r"\d ms")).wait_for()
        wait_until(page, lambda: text(page, "#numbers") != "")

        with page.expect_websocket(lambda socket: "/sessions/" in socket.url):
            page.select_option("#model", index=1)
        assert live.is_visible()
        assert [url for url in lifted if url.endswith("/lift")] == []

        page.evaluate("window.cameras[0].getTracks()[0].dispatchEvent(new Event('ended'))")
        page.locator("#message-text", has_text="was taken away").wait_for()
        page.locator("#clip-facts", has_text="100 frames").wait_for()
        assert text(page, "#message-text") == "The camera was taken away."
        assert live.is_hidden()

        button.click()
        start_detector(page)
        page.evaluate(SHOW_NOBODY)
        wait_until(page, lambda: text(page, "#numbers") == "")
        page.route("**/sample.json", lambda route: route.fulfill(body="broken"))
        button.click()
        page.locator("#message-text", has_text="JSON").wait_for()
        assert page.evaluate(TRACKS) == ["ended", "ended"]
        assert text(page, "#webcam") == "Webcam"
        page.click("#save")  # there is nothing to save, and nothing that fails
        assert "JSON" in text(page, "#message-text")
        page.unroute("**/sample.json")
        page.click("#sample")
        page.locator("#clip-facts", has_text="100 frames").wait_for()


def test_a_camera_that_is_taken_away_while_the_detector_starts_is_said(browser: Any, server: ServerProcess):
    with opened(browser, server.address, key=KEY, permissions=("camera",), routes=FALSE_DETECTOR) as page:
        page.evaluate(KEEP_CAMERAS)
        page.click("#webcam")
        wait_until(page, lambda: page.evaluate("window.cameras.length") == 1)
        page.evaluate("window.cameras[0].getTracks()[0].dispatchEvent(new Event('ended'))")
        page.locator("#message-text", has_text="was taken away").wait_for()
        page.locator("#webcam:enabled").wait_for()
        assert text(page, "#webcam") == "Webcam"
        assert page.evaluate(TRACKS) == ["ended"]


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


def start_detector(page: Any) -> None:
    """Tell the false detector to start until it has: before it listens, it hears nothing."""
    wait_until(page, lambda: page.evaluate(START) or page.locator("#live").is_visible())


def wait_until(page: Any, is_so: Callable[[], bool]) -> None:
    giving_up = time.monotonic() + ANSWER_MS / 1000
    while not is_so():
        assert time.monotonic() < giving_up, "it did not come"
        page.wait_for_timeout(50)


@contextmanager
def sample_of(browser: Any, address: str, *, has_detector: bool = True) -> Iterator[Any]:
    """A page with the sample, of which browsers may complain."""
    context = browser.new_context()
    page = context.new_page()
    page.set_default_timeout(ANSWER_MS)
    page.add_init_script(f"sessionStorage.setItem('poselift-key', '{KEY}')")
    if not has_detector:
        page.route("**/webcam.json", lambda route: route.fulfill(json={"detector": False}))
    try:
        page.goto(address)
        page.locator("#clip-facts", has_text="100 frames").wait_for()
        yield page
    finally:
        context.close()
