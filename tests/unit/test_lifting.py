from dataclasses import replace
from typing import cast

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file

from poselift.artifacts.artifact import Artifact
from poselift.artifacts.manifest import Manifest, Screen
from poselift.camera import Camera, gravity_from_angles
from poselift.coordinates import mirror
from poselift.errors import InvalidKeypoints
from poselift.lifters.mixste.network import MixSTE, MixSTEConfig
from poselift.lifters.official.pstmo import import_pstmo
from poselift.lifters.pstmo.network import STMO, STMOConfig
from poselift.lifters.systems import build
from poselift.lifting import (
    averaged,
    finish,
    lift,
    mirrored,
    prepare,
    prepare_parts,
    screen_frames,
    windows_per_pass,
)
from poselift.sequence import Sequence
from poselift.skeletons import skeleton
from poselift.windows import chunk_indices
from tests.conftest import REPOSITORY

GOLDEN = REPOSITORY / "tests" / "golden"
COCO = skeleton("coco17")
AS_OFFICIAL_M = 3e-5  # float32, another order of summation
SAME_MOMENT_M = 2e-5  # float32, samples interpolated from other frames; positions are quantised to 1/PHASES_PER_FRAME


def _manifest(**changes):
    fields = {
        "name": "small",
        "system": "pstmo",
        "network": {"frames": 9},
        "input_skeleton": "h36m17",
        "output_skeleton": "h36m17",
        "frame_rate_hz": 50,
        "temporal_stride": 3,
        "missing_joints": "token",
    }
    return Manifest(**{**fields, **changes})


@pytest.fixture(scope="module")
def small():
    torch.manual_seed(0)
    config = STMOConfig(frames=9, channels=16, hidden=32, layers=1, heads=2, mask_token=True)
    return Artifact(_manifest(), STMO(config).eval())


def _person(frames=20, fps=50.0, seed=0):
    keypoints = np.random.default_rng(seed).random((frames, 17, 3), dtype=np.float32) * (640, 480, 0.5) + (0, 0, 0.5)
    return Sequence(keypoints.astype(np.float32), COCO, 640, 480, Sequence.times_at(fps, frames))


@pytest.mark.parametrize("length", [20, 50])
def test_the_in_the_wild_path_of_the_official_code(length):
    weights = load_file(GOLDEN / "pstmo_c64_h128_n27_l3.safetensors")
    state = {
        key.removeprefix("weights/"): torch.from_numpy(np.array(value, np.float32))
        for key, value in weights.items()
        if key.startswith("weights/")
    }
    expected = load_file(GOLDEN / "in_the_wild_expected.safetensors")
    manifest = _manifest(
        network={"frames": 27},
        input_skeleton="coco17",
        temporal_stride=1,
        frame_rate_hz=25,
        missing_joints="hold",
        screen=Screen(width_px=1000, height_px=1002),
    )
    lifter, *_ = import_pstmo(state)
    pixels = expected[f"L{length}/keypoints_px"]
    keypoints = np.concatenate([pixels, np.ones_like(pixels[..., :1])], axis=-1)
    sequence = Sequence(keypoints, COCO, 1920, 1080, Sequence.times_at(25, length))
    lifted = lift(Artifact(manifest, lifter.eval()), sequence, mirrored_average=True)
    np.testing.assert_allclose(lifted.joints, expected[f"L{length}/pred"], atol=AS_OFFICIAL_M)


def test_one_pose_per_frame_with_the_root_at_zero(small):
    for frames in (1, 2, 20):
        lifted = lift(small, _person(frames))
        assert lifted.joints.shape == (frames, 17, 3)
        assert (lifted.joints[:, 0] == 0).all()
        assert np.isfinite(lifted.joints).all()
        assert not lifted.imputed.any()


@pytest.fixture(scope="module")
def knowing():
    """A lifter with expected errors, in half metres, with random weights in place of initial zeros."""
    torch.manual_seed(0)
    config = STMOConfig(frames=9, channels=16, hidden=32, layers=1, heads=2, mask_token=True, expected_error=True)
    lifter = STMO(config).eval()
    for parameter in lifter.parameters():
        parameter.data += 0.1 * torch.randn_like(parameter)
    return Artifact(_manifest(network={"frames": 9, "expected_error": True}, unit_m=0.5), lifter)


@pytest.fixture(scope="module")
def finding():
    """A lifter that takes what is known and finds gravity, with random weights in place of initial zeros."""
    torch.manual_seed(0)
    network = {"frames": 9, "channels": 16, "hidden": 32, "layers": 1, "heads": 2, "expected_error": True}
    network |= {"known": True, "gravity": True}
    lifter = build("pstmo-sequence", network)
    module = cast(torch.nn.Module, lifter).eval()
    for parameter in module.parameters():
        parameter.data += 0.1 * torch.randn_like(parameter)
    return Artifact(_manifest(system="pstmo-sequence", network=network), lifter)


def _errors_m(lifted):
    assert lifted.expected_error_m is not None
    return lifted.expected_error_m


def test_expected_errors_are_in_metres(small, knowing):
    sequence = _person()
    lifted = lift(knowing, sequence)
    assert lifted.joints.shape == (20, 17, 3)
    assert _errors_m(lifted).shape == (20, 17)
    assert (_errors_m(lifted)[:, 0] == 0).all()
    assert (_errors_m(lifted)[:, 1:] > 0).all()
    in_metres = Artifact(knowing.manifest.model_copy(update={"unit_m": 1.0}), knowing.lifter)
    np.testing.assert_allclose(_errors_m(lift(in_metres, sequence)), 2 * _errors_m(lifted), rtol=1e-6)
    assert lift(small, sequence).expected_error_m is None


def test_the_mirrored_average_swaps_expected_errors_with_their_joints(knowing):
    sequence = _person()
    keypoints = sequence.keypoints[:, COCO.mirror_order] * (-1, 1, 1) + (640, 0, 0)
    reflection = replace(sequence, keypoints=keypoints.astype(np.float32))
    here, there = (lift(knowing, person, mirrored_average=True) for person in (sequence, reflection))
    target = knowing.manifest.target
    np.testing.assert_allclose(there.joints, mirror(here.joints, target), atol=SAME_MOMENT_M)
    np.testing.assert_allclose(_errors_m(there), _errors_m(here)[:, target.mirror_order], atol=SAME_MOMENT_M)
    assert np.abs(_errors_m(here) - _errors_m(lift(knowing, sequence))).max() > 100 * SAME_MOMENT_M


def test_a_low_score_is_a_missing_joint(small):
    person = _person()
    wrist = COCO.joint_names.index("left_wrist")
    low, gone = person.keypoints.copy(), person.keypoints.copy()
    low[5, wrist, 2] = 0.29
    gone[5, wrist, :2] = np.nan
    for keypoints in (low, gone):
        lifted = lift(small, replace(person, keypoints=keypoints))
        assert np.argwhere(lifted.imputed).tolist() == [[5, skeleton("h36m17").joint_names.index("left_wrist")]]
    np.testing.assert_array_equal(
        lift(small, replace(person, keypoints=low)).joints, lift(small, replace(person, keypoints=gone)).joints
    )


@pytest.mark.parametrize("threshold", [0.3, 0.5, 1.0])
def test_a_score_equal_to_the_threshold_is_not_missing(threshold):
    person = _person(frames=1)
    wrist, elbow = (COCO.joint_names.index(f"left_{name}") for name in ("wrist", "elbow"))
    person.keypoints[0, :, 2] = 1
    person.keypoints[0, wrist, 2] = threshold
    person.keypoints[0, elbow, 2] = np.nextafter(np.float32(threshold), np.float32(0))
    missing = np.flatnonzero(screen_frames(person, _manifest(score_threshold=threshold)).imputed[0])
    assert missing.tolist() == [skeleton("h36m17").joint_names.index("left_elbow")]


def test_an_empty_frame_is_lifted_from_its_neighbours(small):
    person = _person()
    person.keypoints[7] = np.nan
    lifted = lift(small, person)
    assert lifted.imputed[7].all()
    assert np.isfinite(lifted.joints).all()


def test_kept_plans_of_short_clips_are_those_of_their_own_times_and_targets(
    small, sequence_lifter, monkeypatch: pytest.MonkeyPatch
):
    clips = [_person(frames=3, fps=fps, seed=seed) for fps in (50.0, 25.0) for seed in (0, 1)]
    chosen = (None, np.array([0]), np.array([2, 1]))
    manifests = (
        small.manifest,
        _manifest(smoothed=True),
        _manifest(temporal_stride=1),
        sequence_lifter.manifest,
        sequence_lifter.manifest.model_copy(update={"smoothed": True}),
    )
    asked = [(clip, manifest, targets) for clip in clips for manifest in manifests for targets in chosen]
    kept = [prepare(*question) for question in asked]
    monkeypatch.setattr("poselift.lifting._SHORT_CLIP_FRAMES", 0)
    for prepared, question in zip(kept, asked, strict=True):
        anew = prepare(*question)
        np.testing.assert_array_equal(prepared.frames, anew.frames)
        np.testing.assert_array_equal(prepared.index, anew.index)
        assert (prepared.blend is None) == (anew.blend is None)
        if prepared.blend is not None and anew.blend is not None:
            np.testing.assert_array_equal(prepared.blend.rows, anew.blend.rows)
            np.testing.assert_array_equal(prepared.blend.weights, anew.blend.weights)


def test_a_moving_person_is_the_same_at_every_frame_rate(small):
    """Samples are interpolated linearly, so linear motion gives the same samples at every frame rate."""
    first, last = _person(2).keypoints
    poses = []
    for fps in (25, 50, 75, 100):
        times_s = Sequence.times_at(fps, 2 * fps + 1)
        share = (times_s / times_s[-1])[:, None, None]
        keypoints = ((1 - share) * first + share * last).astype(np.float32)
        poses.append(lift(small, Sequence(keypoints, COCO, 640, 480, times_s)).joints[:: fps // 25])
    assert np.abs(poses[0][1:] - poses[0][:-1]).max() > 100 * SAME_MOMENT_M
    for pose in poses[1:]:
        np.testing.assert_allclose(pose, poses[0], atol=SAME_MOMENT_M)


def test_the_network_runs_in_its_inference_form(small):
    person = _person()
    prepared = prepare(person, small.manifest)
    network = small.lifter.for_inference()
    with torch.inference_mode():
        centre = network.aggregate(network.embed(torch.from_numpy(prepared.frames))[prepared.index]).centre
    np.testing.assert_array_equal(lift(small, person).joints, finish(centre, small.manifest).numpy())


def test_the_picture_size_does_not_matter_but_its_aspect_does(small):
    person = _person()
    larger = replace(person, keypoints=person.keypoints * np.array([2, 2, 1], np.float32), width_px=1280, height_px=960)
    np.testing.assert_allclose(lift(small, larger).joints, lift(small, person).joints, atol=1e-5)
    assert np.abs(lift(small, replace(person, height_px=640)).joints - lift(small, person).joints).max() > 1e-3


def test_a_cut_out_of_a_picture_is_lifted_from_where_its_camera_looks(small):
    """With its principal point told, it is as a picture of that size around the optical axis."""
    whole = _person()
    corner = np.array([300.0, -90.0, 0.0], np.float32)
    cut = replace(whole, keypoints=whole.keypoints - corner, camera=Camera(principal_point_px=(320 - 300, 240 + 90)))
    np.testing.assert_allclose(lift(small, cut).joints, lift(small, whole).joints, atol=1e-5)
    untold = replace(cut, camera=Camera())
    assert np.abs(lift(small, untold).joints - lift(small, whole).joints).max() > 0.01


def turned(points, roll_deg, middle=(0.0, 0.0)):
    """Points [..., 2 or 3] as a camera sees them that is turned clockwise about its optical axis."""
    roll = np.radians(roll_deg)
    content = np.array([[np.cos(roll), -np.sin(roll)], [np.sin(roll), np.cos(roll)]])  # of rows: turns the other way
    result = points.astype(np.float64)
    result[..., :2] = (result[..., :2] - middle) @ content + middle
    return result.astype(np.float32)


@pytest.mark.parametrize("roll_deg", [-170, -30, 90, 180])
@pytest.mark.parametrize("principal_point_px", [None, (300.0, 260.0)])
def test_what_a_camera_is_told_to_be_turned_by_turns_the_poses_alone(small, finding, roll_deg, principal_point_px):
    for artifact in (small, finding):
        gravities = [gravity_from_angles(20, roll) for roll in (0, roll_deg)]
        level, rolled = (Camera(700.0, principal_point_px, gravity=gravity) for gravity in gravities)
        np.testing.assert_allclose(turned(np.array(gravities[0]), roll_deg), gravities[1], atol=1e-6)
        upright = replace(_person(), camera=level)
        keypoints = turned(upright.keypoints, roll_deg, principal_point_px or (320, 240))
        sideways = replace(upright, keypoints=keypoints, camera=rolled)
        expected, answer = lift(artifact, upright), lift(artifact, sideways)
        np.testing.assert_allclose(answer.joints, turned(expected.joints, roll_deg), atol=2e-5)
        if artifact is finding:
            np.testing.assert_allclose(_errors_m(answer), _errors_m(expected), atol=1e-5)
            assert expected.gravity is not None
            assert answer.gravity is not None
            np.testing.assert_allclose(answer.gravity, turned(expected.gravity, roll_deg), atol=1e-4)


def test_a_camera_that_looks_straight_down_has_no_roll(small):
    plain = _person()
    down = replace(plain, camera=Camera(gravity=gravity_from_angles(80, 170)))
    np.testing.assert_array_equal(lift(small, down).joints, lift(small, plain).joints)


def test_a_lifter_without_a_token_gets_no_missing_joints():
    person = _person()
    person.keypoints[3:6, COCO.joint_names.index("right_knee"), :2] = np.nan
    prepared = prepare(person, _manifest(missing_joints="hold"))
    assert not np.isnan(prepared.frames).any()
    assert prepared.imputed.sum() == 3


@pytest.mark.parametrize("system", ["pstmo", "mixste", "mpm", "pstmo-sequence"])
def test_every_lifter_with_a_token_accepts_missing_joints(system):
    """Missing joints are not filled in before the network: their detected positions do not affect the poses."""
    torch.manual_seed(0)
    lifter = build(system, {"frames": 9, "channels": 16, "hidden": 32, "layers": 1, "heads": 2, "mask_token": True})
    cast(torch.nn.Module, lifter).eval()
    artifact = Artifact(_manifest(system=system), lifter)
    person = _person()
    wrist = COCO.joint_names.index("left_wrist")
    person.keypoints[5:9, wrist, 2] = 0  # missing, whatever position the detector gave
    unseen = replace(person, keypoints=person.keypoints.copy())
    unseen.keypoints[5:9, wrist] = np.nan
    assert np.isnan(prepare(unseen, artifact.manifest).frames).any()
    lifted = lift(artifact, unseen)
    np.testing.assert_array_equal(lifted.joints, lift(artifact, person).joints)
    assert np.isfinite(lifted.joints).all()
    assert lifted.imputed.sum() == 4
    held = replace(unseen, keypoints=unseen.keypoints.copy())
    held.keypoints[5:9, wrist] = person.keypoints[4, wrist]
    assert np.abs(lift(artifact, held).joints - lifted.joints).max() > 1e-4


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"keypoints": np.zeros((20, 16, 3), np.float32)}, r"\[frames, 17, 3\]"),
        ({"keypoints": np.zeros((0, 17, 3), np.float32), "times_s": np.zeros(0)}, "at least one frame"),
        ({"keypoints": np.full((20, 17, 3), np.inf, np.float32)}, "finite"),
        ({"width_px": 0}, "positive"),
        ({"times_s": np.zeros(20)}, "increase"),
        ({"times_s": np.arange(19.0)}, "one time per frame"),
        ({"times_s": np.full(20, np.nan)}, "increase"),
    ],
)
def test_invalid_input_is_refused(changes, sentence):
    with pytest.raises(InvalidKeypoints, match=sentence):
        replace(_person(), **changes)


@pytest.mark.parametrize("fps", [0, -25, float("nan"), float("inf")])
def test_a_frame_rate_is_positive(fps):
    with pytest.raises(InvalidKeypoints, match="frame rate"):
        Sequence.times_at(fps, 3)


@pytest.fixture(scope="module")
def sequence_lifter():
    torch.manual_seed(0)
    config = MixSTEConfig(frames=27, channels=32, hidden=64, layers=2, heads=4, mask_token=True)
    lifter = MixSTE(config).eval()
    # Both are zero in a new network. Poses that drift over a window make seams between windows.
    torch.nn.init.normal_(lifter.joint_position)
    lifter.frame_position.data = torch.linspace(-1, 1, 27)[:, None] * torch.randn(32)
    manifest = _manifest(system="mixste", network={"frames": 27}, input_skeleton="coco17", temporal_stride=1)
    return Artifact(manifest, lifter)


def _waving(frames, fps=50.0):
    """A person whose joints swing slowly."""
    times = np.arange(frames)[:, None, None] / fps
    joint = np.arange(17)[:, None]
    keypoints = np.concatenate([320 + 100 * np.sin(times + joint), 240 + 100 * np.cos(times + 2 * joint)], axis=-1)
    scored = np.concatenate([keypoints, np.ones_like(keypoints[..., :1])], axis=-1).astype(np.float32)
    return Sequence(scored, COCO, 640, 480, Sequence.times_at(fps, frames))


@torch.no_grad()
def test_overlapping_windows_leave_no_seams(sequence_lifter):
    frames = 27 * 8
    sequence = _waving(frames)
    blended = lift(sequence_lifter, sequence).joints
    assert blended.shape == (frames, 17, 3)
    screen = torch.from_numpy(screen_frames(sequence, sequence_lifter.manifest).screen)
    poses = sequence_lifter.lifter(screen[torch.from_numpy(chunk_indices(frames, 27))]).frames
    chunked = finish(poses, sequence_lifter.manifest).flatten(0, 1).numpy()
    seams = np.arange(1, 8) * 27 - 1  # steps from the last frame of a window to the first of the next
    at_seams, beside = (np.linalg.norm(np.diff(poses, axis=0), axis=-1).mean(axis=1) for poses in (chunked, blended))
    assert at_seams[seams].mean() > 5 * np.delete(at_seams, seams).mean()
    assert beside.max() < 0.1 * at_seams[seams].mean()


def test_a_sequence_lifter_takes_short_sequences_and_other_rates(sequence_lifter):
    for frames, fps in ((1, 50.0), (5, 50.0), (40, 30.0), (100, 120.0)):
        lifted = lift(sequence_lifter, _waving(frames, fps), mirrored_average=True)
        assert lifted.joints.shape == (frames, 17, 3)
        assert np.isfinite(lifted.joints).all()
        assert (lifted.joints[:, 0] == 0).all()


def test_the_origin_of_times_does_not_matter_to_a_sequence_lifter(sequence_lifter):
    sequence = _waving(100)
    later = replace(sequence, times_s=sequence.times_s + 1000.137)  # not a whole number of windows
    poses, shifted = (lift(sequence_lifter, one).joints for one in (sequence, later))
    np.testing.assert_allclose(shifted, poses, atol=SAME_MOMENT_M)


def test_what_a_sequence_lifter_does_to_one_side_alone_cancels_out(sequence_lifter):
    """Its windows show the person and the mirrored one in turn, and poses are the average of both."""
    manifest = sequence_lifter.manifest
    prepared = prepare(_waving(100), manifest)
    answers = np.zeros((*prepared.index.shape, 17, 3), np.float32)
    answers[..., 16, 0] = 1  # what the network takes for the right wrist leans to the right
    right, left = prepared.poses(answers, manifest).joints[:, [16, 13], 0].T
    np.testing.assert_allclose(right - left, 1, atol=1e-6)
    assert (answers[..., 16, 0] == 1).all(), "they are the caller's"
    assert (abs(right - 0.5) < 0.2).mean() > 0.5
    np.testing.assert_allclose(right[20:80].mean(), 0.5, atol=0.05)


def test_single_targets_of_a_sequence_lifter_get_the_same_poses(sequence_lifter):
    sequence, targets = _waving(100), np.array([7, 60])
    prepared = prepare(sequence, sequence_lifter.manifest, targets)
    with torch.inference_mode():
        answers = sequence_lifter.lifter(torch.from_numpy(prepared.frames)[torch.from_numpy(prepared.index)]).frames
    poses = prepared.poses(finish(answers, sequence_lifter.manifest).numpy(), sequence_lifter.manifest).joints
    np.testing.assert_allclose(poses, lift(sequence_lifter, sequence).joints[targets], atol=SAME_MOMENT_M)


@pytest.mark.parametrize("missing_joints", ["hold", "token"])
def test_parts_hold_missing_joints_as_the_whole(missing_joints: str):
    person, manifest = _person(), _manifest(missing_joints=missing_joints)
    person.keypoints[4:15, 9] = np.nan
    whole = prepare(person, manifest)
    assert np.isnan(whole.frames).any() == (missing_joints == "token")
    parts = list(prepare_parts(person, manifest, 7))
    assert [len(part.index) for part in parts] == [7, 7, 6]
    windows = [part.frames[part.index] for part in parts]
    np.testing.assert_array_equal(np.concatenate(windows), whole.frames[whole.index])


def test_the_average_of_an_output_and_of_its_mirror_image_is_the_output():
    manifest, outputs = _manifest(), np.random.default_rng(0).normal(size=(4, 17, 3)).astype(np.float32)
    np.testing.assert_array_equal(averaged(outputs, mirror(outputs, manifest.target), manifest), outputs)
    turned = mirrored(prepare(_person(), manifest), manifest)
    np.testing.assert_array_equal(mirror(turned.frames, manifest.source), prepare(_person(), manifest).frames)


@pytest.mark.parametrize(("frames", "windows"), [(9, 455), (243, 16), (4096, 1)])
def test_a_pass_of_a_sequence_to_sequence_network_is_limited_by_its_samples(small, frames: int, windows: int):
    with torch.device("meta"):
        network = MixSTE(MixSTEConfig(frames=frames, channels=16, hidden=32, layers=1, heads=2))
    assert windows_per_pass(network) == windows
    assert windows_per_pass(small.lifter) == 256
