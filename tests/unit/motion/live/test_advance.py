from dataclasses import replace

import numpy as np
import pytest

from poselift.camera import Camera, Person
from poselift.motion.bones import constant_bones
from poselift.motion.live.advance import advance
from poselift.motion.live.state import LiveState
from poselift.motion.to_world import to_world
from poselift.motion.world import DEFAULT_OPTIONS, WorldOptions
from tests.unit.motion.filmed import FOCAL_PX, FPS, angle_deg, dancer, filmed

LATE = round(1.2 * FPS)


@pytest.fixture(scope="module")
def film():
    """The dance forth and back, three times, with bones of constant length."""
    forth, _ = constant_bones(dancer())
    return filmed(np.concatenate([forth, forth[::-1], forth, forth[::-1]]), pitch_deg=20, roll_deg=5)


@pytest.fixture(scope="module")
def known(film):
    """The film, with what is to be known of the camera."""
    return with_camera(film, Camera(focal_px=FOCAL_PX, gravity=tuple(film.down)))


def with_camera(film, camera):
    return film._replace(sequence=replace(film.sequence, camera=camera))


def part(sequence, start, stop):
    return replace(sequence, keypoints=sequence.keypoints[start:stop], times_s=sequence.times_s[start:stop])


def streamed(film, group=1, *, kept=False, options=DEFAULT_OPTIONS):
    """World poses [F, 17, 3], the last motion and state."""
    state, poses = LiveState.start(), []
    for start in range(0, len(film.poses), group):
        if kept:
            state = LiveState.from_bytes(state.to_bytes())
        rows = slice(start, start + group)
        new = part(film.sequence, start, start + group)
        state, motion = advance(state, film.poses[rows], None, new, options)
        poses.append(motion.poses)
    return np.concatenate(poses), motion, state


def test_poses_about_the_pelvis_equal_those_of_the_clip(known):
    clip = to_world(known.poses, None, known.sequence, options=WorldOptions(foot_lock="off")).poses
    live, _, state = streamed(known, options=WorldOptions(foot_lock="off"))
    assert state.settled
    about = live - live[:, :1], clip - clip[:, :1]
    flat = [(each[LATE:, :, ::2] @ [1, 1j]).ravel() for each in about]
    turn = np.vdot(flat[0], flat[1]) / abs(np.vdot(flat[0], flat[1]))  # they may face a little differently
    assert abs(np.angle(turn)) < 0.1
    np.testing.assert_allclose(flat[0] * turn, flat[1], atol=1e-3)
    np.testing.assert_allclose(about[0][LATE:, :, 1], about[1][LATE:, :, 1], atol=1e-3)


def test_the_path_is_a_little_late_but_follows(known):
    clip = to_world(known.poses, None, known.sequence, options=WorldOptions(foot_lock="off")).root
    live = streamed(known, options=WorldOptions(foot_lock="off"))[0][:, 0]
    off = np.linalg.norm((live - live[LATE] - clip + clip[LATE])[LATE:], axis=1)
    assert 1e-3 < np.median(off) < 0.3  # of a dance that reverses within one frame


@pytest.mark.parametrize("group", [1, 7])
@pytest.mark.parametrize("options", [DEFAULT_OPTIONS, WorldOptions(rotations=True)])
def test_grouping_and_keeping_change_nothing(known, group, options):
    plain, plain_end, _ = streamed(known, options=options)
    kept, kept_end, state = streamed(known, group, kept=True, options=options)
    np.testing.assert_allclose(kept, plain, atol=1e-9)
    assert (state.rig is not None) is options.rotations
    if options.rotations:
        np.testing.assert_allclose(kept_end.rotations[-1], plain_end.rotations[-1], atol=1e-9)


def test_the_state_is_small(known):
    _, _, state = streamed(known)
    assert len(state.to_bytes()) < 2_500
    assert len(state.first) == 0


def test_another_format_is_refused():
    with pytest.raises(ValueError, match="format 09"):
        LiveState.from_bytes(b"\x09" + LiveState.start().to_bytes()[1:])


def test_finds_gravity_in_the_first_second_and_keeps_it(film):
    _, motion, _ = streamed(with_camera(film, Camera(FOCAL_PX)))
    assert not motion.gravity.given
    assert angle_deg(motion.gravity.direction, film.down) < 15
    state, directions = LiveState.start(), []
    for frame in range(100):
        state, motion = advance(state, film.poses[frame : frame + 1], None, part(film.sequence, frame, frame + 1))
        directions.append(motion.gravity.direction)
    assert np.ptp(directions[55:], axis=0).max() == 0 < np.ptp(directions[:50], axis=0).max()


def test_height_and_options_are_as_in_a_clip(known):
    options = WorldOptions(up_axis="z", rotations=True, angles=True)
    tall = known._replace(sequence=replace(known.sequence, person=Person(1.5)))
    _, motion, _ = streamed(tall, options=options)
    assert motion.height_m == pytest.approx(1.5)
    assert motion.up_axis == "z"
    assert motion.rotations.shape == (1, 17, 4)
    assert motion.angles["left_knee_flexion"].shape == (1,)


def test_gaps_are_bridged(film, known):
    blind = film.sequence.keypoints.copy()
    blind[80:95] = np.nan
    blind[:2] = np.nan
    gaps = known._replace(sequence=replace(known.sequence, keypoints=blind))
    live, _, _ = streamed(gaps)
    whole, _, _ = streamed(known)
    assert np.isfinite(live).all()
    assert np.linalg.norm((live - whole)[LATE + 60 :, 0] - (live - whole)[-1, 0], axis=1).max() < 0.3


@pytest.mark.parametrize("told", [True, False])
def test_a_stream_may_begin_before_anybody_is_in_view(film, told):
    """The world is that of a stream which begins with the person; the network answers with somebody who lies."""
    camera = Camera(FOCAL_PX, gravity=tuple(film.down) if told else None)
    seen = with_camera(film, camera)
    empty, frames = 60, 60 + len(film.poses)
    keypoints = np.full((frames, 17, 3), np.nan, np.float32)
    keypoints[empty:] = film.sequence.keypoints
    poses = np.concatenate([np.tile(np.roll(film.poses[0], 1, axis=-1) * 1.3, (empty, 1, 1)), film.poses])
    sequence = replace(seen.sequence, keypoints=keypoints, times_s=np.arange(frames) / FPS)
    late, end, state = streamed(film._replace(poses=poses, sequence=sequence), kept=True)
    wanted, wanted_end, _ = streamed(seen, kept=True)
    assert np.isfinite(late).all()
    assert state.frames == frames
    np.testing.assert_allclose(end.gravity.direction, wanted_end.gravity.direction, atol=1e-9)
    np.testing.assert_allclose(late[empty:], wanted, atol=1e-6)


def test_the_first_second_does_not_count_frames_without_anybody(known):
    blind = known.sequence.keypoints.copy()
    blind[10:70] = np.nan
    state, settled = LiveState.start(), []
    for frame in range(130):
        new = part(replace(known.sequence, keypoints=blind), frame, frame + 1)
        state, _ = advance(state, known.poses[frame : frame + 1], None, new)
        settled.append(state.settled)
    assert settled.index(True) == 110  # one second later than without the 60 frames, which begin after 10


def test_whoever_leaves_the_picture_comes_to_rest(known):
    blind = known.sequence.keypoints.copy()
    blind[80:] = np.nan
    live, _, _ = streamed(known._replace(sequence=replace(known.sequence, keypoints=blind)))
    assert np.linalg.norm(live[-1, 0] - live[80, 0]) < 1.5
    np.testing.assert_allclose(live[-1, 0], live[-20, 0], atol=0.02)


def test_what_the_network_tells_of_gravity_counts(film):
    """As it does for a clip, however frames are grouped."""
    film = with_camera(film, Camera(FOCAL_PX))
    told = np.tile(np.append(film.down, 0.01), (len(film.poses), 1))
    for group in (1, 9):
        state = LiveState.start()
        for start in range(0, 80, group):
            rows, new = slice(start, start + group), part(film.sequence, start, start + group)
            state, motion = advance(state, film.poses[rows], None, new, network_gravity=told[rows])
        assert state.settled
        assert angle_deg(motion.gravity.direction, film.down) < 2
        assert motion.gravity.uncertainty_deg > 0
        assert not motion.gravity.given
