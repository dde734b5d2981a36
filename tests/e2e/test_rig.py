"""Motion in the world in programs that are not ours: three.js in a real browser, and Khronos' validator."""

import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from poselift.formats.writers.rig.skeleton import H36M, PLACES
from poselift.formats.writers.track import LiftedTrack
from tests.e2e.chromium import chromium, tab
from tests.e2e.recorded_motion import FPS, recorded_track, write_rig_files

REPOSITORY = Path(__file__).parents[2]
MODULES = REPOSITORY / "build" / "rig" / "node_modules"
ADDRESS = "http://rig.test/"
PLACES_M = 1e-5
FRAMES = [0, 17, 49]
VALIDATE = """require("gltf-validator").validateBytes(new Uint8Array(require("fs").readFileSync(process.argv[1])))
    .then(report => console.log(JSON.stringify(report.issues)))"""
SCENE = """<!doctype html><body style="margin:0">
<script type="importmap">
{"imports": {"three": "/modules/three/build/three.module.js", "loaders/": "/modules/three/examples/jsm/loaders/"}}
</script>
<script type="module">
import * as THREE from "three";
import { BVHLoader } from "loaders/BVHLoader.js";
import { GLTFLoader } from "loaders/GLTFLoader.js";

const placesAt = (root, mixer, seconds) => {
    mixer.setTime(seconds);
    root.updateMatrixWorld(true);
    const places = {};
    root.traverse((bone) => {
        if (bone.isBone) places[bone.name] = bone.getWorldPosition(new THREE.Vector3()).toArray();
    });
    return places;
};

window.placesOfBvh = async (file, times) => {
    const { clip, skeleton } = await new BVHLoader().loadAsync(file);
    const root = skeleton.bones[0];
    const mixer = new THREE.AnimationMixer(root);
    mixer.clipAction(clip).play();
    return times.map((seconds) => placesAt(root, mixer, seconds));
};

window.placesOfGlb = async (file, times) => {
    const { scene: body, animations } = await new GLTFLoader().loadAsync(file);
    const mixer = new THREE.AnimationMixer(body);
    mixer.clipAction(animations[0]).play();
    const places = times.map((seconds) => placesAt(body, mixer, seconds));
    const renderer = new THREE.WebGLRenderer({ antialias: true, preserveDrawingBuffer: true });
    renderer.setSize(innerWidth, innerHeight);
    document.body.append(renderer.domElement);
    const scene = new THREE.Scene();
    scene.background = new THREE.Color(0xffffff);
    const sun = new THREE.DirectionalLight(0xffffff, 2);
    sun.position.set(1, 3, 2);
    scene.add(body, sun, new THREE.HemisphereLight(0xffffff, 0x445566, 1.5), new THREE.GridHelper(4, 8));
    const camera = new THREE.PerspectiveCamera(40, innerWidth / innerHeight, 0.1, 20);
    const [x, , z] = places.at(-1).Hips;
    camera.position.set(x + 1.5, 1.3, z + 2.6);
    camera.lookAt(x, 0.9, z);
    renderer.render(scene, camera);
    const canvas = new OffscreenCanvas(innerWidth, innerHeight).getContext("2d", { willReadFrequently: true });
    canvas.drawImage(renderer.domElement, 0, 0);
    const shown = canvas.getImageData(0, 0, innerWidth, innerHeight).data;
    let painted = 0;
    for (let pixel = 0; pixel < shown.length; pixel += 4) if (shown[pixel] < 240) painted += 1;
    return { places, painted };
};
window.ready = true;
</script>"""


@pytest.fixture(scope="module")
def track() -> LiftedTrack:
    return recorded_track()


@pytest.fixture(scope="module")
def folder(track: LiftedTrack, tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("pygltflib")
    if not MODULES.is_dir():
        pytest.skip("no three.js: `make browser` installs it")
    folder = tmp_path_factory.mktemp("rig")
    write_rig_files(folder, track)
    return folder


@pytest.fixture(scope="module")
def page(folder: Path) -> Iterator[Any]:
    def answer(route: Any) -> None:
        path = route.request.url.removeprefix(ADDRESS)
        if path in ("", "favicon.ico"):
            route.fulfill(body=SCENE if not path else "", content_type="text/html")
        elif path.startswith("modules/"):
            route.fulfill(path=MODULES / path.removeprefix("modules/"), content_type="text/javascript")
        else:
            route.fulfill(path=folder / path)

    with chromium() as browser, tab(browser, ADDRESS, routes={"**/*": answer}) as page:
        page.goto(ADDRESS)
        page.wait_for_function("window.ready")
        yield page


def check_places(found: list[dict[str, list[float]]], track: LiftedTrack, units_per_m: float) -> None:
    assert track.world is not None
    for frame, places in zip(FRAMES, found, strict=True):
        for joint, expected_m in zip(H36M.joint_names, track.world.poses[frame], strict=True):
            if joint != "head":  # the end of a bone
                place_m = np.array(places[PLACES[joint]]) / units_per_m
                np.testing.assert_allclose(place_m, expected_m, atol=PLACES_M, err_msg=f"{joint}, frame {frame}")


# Its reader of BVH moves no joint with a colon in its name, as Mixamo's are.
@pytest.mark.parametrize("form", ["bvh", "lafan1.bvh"])
def test_three_js_finds_the_joints_of_bvh(page: Any, track: LiftedTrack, form: str):
    found = page.evaluate("([file, times]) => placesOfBvh(file, times)", [f"dance.{form}", [n / FPS for n in FRAMES]])
    check_places(found, track, 100)


def test_three_js_shows_the_body_where_the_joints_are(page: Any, track: LiftedTrack, folder: Path):
    found = page.evaluate("([file, times]) => placesOfGlb(file, times)", ["dance.glb", [n / FPS for n in FRAMES]])
    check_places(found["places"], track, 1)
    page.screenshot(path=folder / "dance.png")
    assert found["painted"] > 20_000


def test_the_validator_of_gltf_has_nothing_to_say(folder: Path):
    node = shutil.which("node")
    if node is None:
        pytest.skip("Node.js is not installed")
    told = subprocess.run(
        [node, "-e", VALIDATE, folder / "dance.glb"], cwd=MODULES.parent, capture_output=True, text=True, check=True
    )
    issues = json.loads(told.stdout)
    assert [issues[kind] for kind in ("numErrors", "numWarnings", "numInfos")] == [0, 0, 0], issues["messages"]
