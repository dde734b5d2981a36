import asyncio
import time

import numpy as np
import pytest
from poselift_service.errors import DeadlineExceeded, InvalidRequest, Overloaded, UnknownModel
from poselift_service.inference.queue import Priority
from poselift_service.pipeline.request import LiftRequest, Track, tracks_of

from poselift.coordinates import to_screen
from poselift.errors import InvalidKeypoints
from poselift.sequence import Sequence
from poselift.skeletons import skeleton
from tests.unit.service.conftest import Serving, full

SIZE_PX = (200.0, 100.0)
WITHIN = 1e-6  # float32 arithmetic on values around 1


def walk(frames: int, seed: int = 0) -> Sequence:
    positions = np.random.default_rng(seed).uniform(0, 100, (frames, 17, 2))
    keypoints = np.concatenate([positions, np.ones((frames, 17, 1))], axis=-1).astype(np.float32)
    return Sequence(keypoints, skeleton("h36m17"), *SIZE_PX, Sequence.times_at(50, frames))


def soon() -> float:
    return time.monotonic() + 60


async def test_each_track_gets_its_own_poses(serving: Serving):
    request = LiftRequest((Track("a", walk(30, seed=1)), Track("b", walk(7, seed=2))))
    result = await serving.pipeline.lift(request, deadline=soon())
    for track, (track_id, lifted, *_) in zip(request.tracks, result.tracks, strict=True):
        assert track_id == track.track_id
        expected = to_screen(track.sequence.keypoints[..., :2], *SIZE_PX)
        np.testing.assert_allclose(lifted.joints[..., :2], expected, atol=WITHIN)
        assert not lifted.imputed.any()


async def test_only_targets_are_lifted_from_all_frames(serving: Serving):
    tracks = (Track("a", walk(10)), Track("b", walk(7)))
    whole = await serving.pipeline.lift(LiftRequest(tracks), deadline=soon())
    chosen = np.array([0, 3, 6])
    some = await serving.pipeline.lift(LiftRequest(tracks, targets=chosen), deadline=soon())
    for (_, all_of_it, *_), (_, wanted, *_) in zip(whole.tracks, some.tracks, strict=True):
        np.testing.assert_array_equal(wanted.joints, all_of_it.joints[chosen])
        np.testing.assert_array_equal(wanted.imputed, all_of_it.imputed[chosen])
    assert sum(serving.engine.sizes[-1]) == 2 * len(chosen)


async def test_mirrored_averaging_leaves_symmetric_poses_unchanged(serving: Serving):
    """The scripted network commutes with mirroring, so the average equals the plain answer, at twice the work."""
    request = LiftRequest((Track(None, walk(10)),))
    plain = await serving.pipeline.lift(request, deadline=soon())
    averaged = await serving.pipeline.lift(LiftRequest(request.tracks, mirrored_average=True), deadline=soon())
    np.testing.assert_allclose(averaged.tracks[0].lifted.joints, plain.tracks[0].lifted.joints, atol=WITHIN)
    assert [sum(sizes) for sizes in serving.engine.sizes] == [10, 16, 4]


@pytest.mark.parametrize("mirrored_average", [False, True])
async def test_expected_errors_come_with_the_poses_of_a_network_that_estimates_them(
    serving: Serving, whole_windows: Serving, mirrored_average: bool
):
    """Those of the scripted network are as large as x. So they are in the mirror, of the joint on the other side."""
    request = LiftRequest((Track("a", walk(30, seed=1)), Track("b", walk(7))), mirrored_average=mirrored_average)
    for pipeline, engine in ((each.pipeline, each.engine) for each in (serving, whole_windows)):
        without = await pipeline.lift(request, deadline=soon())
        engine.knows_errors = True
        result = await pipeline.lift(request, deadline=soon())
        for (_, lifted, *_), (_, plain, *_) in zip(result.tracks, without.tracks, strict=True):
            np.testing.assert_allclose(lifted.joints, plain.joints, atol=WITHIN)
            assert lifted.expected_error_m is not None
            np.testing.assert_allclose(lifted.expected_error_m, np.abs(lifted.joints[..., 0]), atol=WITHIN)
            assert plain.expected_error_m is None


@pytest.mark.parametrize("inline_frames", [10, 500])
async def test_answers_for_whole_windows_are_blended_and_are_few(
    whole_windows: Serving, inline_frames: int, monkeypatch: pytest.MonkeyPatch
):
    """Here every window says the same of a frame, so blending gives just that."""
    monkeypatch.setattr("poselift_service.pipeline.off_loop.MAX_JOINTS_ON_LOOP", 17 * inline_frames)
    request = LiftRequest((Track("a", walk(31, seed=1)), Track("b", walk(7))), mirrored_average=True)
    result = await whole_windows.pipeline.lift(request, deadline=soon())
    for track, (_, lifted, *_) in zip(request.tracks, result.tracks, strict=True):
        expected = to_screen(track.sequence.keypoints[..., :2], *SIZE_PX)
        np.testing.assert_allclose(lifted.joints[..., :2], expected, atol=WITHIN)
    windows = 2 * (14 + 2)  # of 5 frames, every 2 frames: 31 and 7 frames, twice for the mirrored average
    assert sum(sum(sizes) for sizes in whole_windows.engine.sizes) == windows
    some = await whole_windows.pipeline.lift(
        LiftRequest(request.tracks[:1], targets=np.array([4, 30])), deadline=soon()
    )
    np.testing.assert_allclose(some.tracks[0].lifted.joints, result.tracks[0].lifted.joints[[4, 30]], atol=WITHIN)


async def test_a_permit_is_for_the_windows_that_really_run(whole_windows: Serving):
    """There are 200 permits in all, and 99 frames twice are 2 x 48 windows of 5."""
    request = LiftRequest((Track(None, walk(99)),), mirrored_average=True)
    with whole_windows.batcher.admit(200 - 96, priority=Priority.BULK, deadline=soon()):
        await whole_windows.pipeline.lift(request, deadline=soon())
    with (
        whole_windows.batcher.admit(200 - 95, priority=Priority.BULK, deadline=soon()),
        pytest.raises(Overloaded),
    ):
        await whole_windows.pipeline.lift(request, deadline=soon())


@pytest.mark.parametrize("reference", [None, "scripted", "scripted@3", "scripted@stable"])
def test_a_model_is_found_by_name_version_and_label(serving: Serving, reference: str | None):
    assert serving.pipeline.find(reference).manifest.name == "scripted"


@pytest.mark.parametrize("reference", ["", "other", "scripted@2", "scripted@canary", "scripted@", "@3"])
def test_a_model_that_is_not_served_is_unknown(serving: Serving, reference: str):
    with pytest.raises(UnknownModel) as refusal:
        serving.pipeline.find(reference)
    assert refusal.value.path == "model"


@pytest.mark.parametrize(
    ("tracks", "path"),
    [
        ((Track(None, walk(101)),), "keypoints"),
        ((Track("a", walk(60)), Track("b", walk(41))), "tracks"),
        (tuple(Track(str(n), walk(1)) for n in range(4)), "tracks"),
    ],
)
async def test_a_request_over_the_limits_is_refused(serving: Serving, tracks: tuple[Track[Sequence], ...], path: str):
    with pytest.raises(InvalidRequest) as refusal:
        await serving.pipeline.lift(LiftRequest(tracks), deadline=soon())
    assert refusal.value.path == path
    assert serving.engine.batches == []


async def test_a_full_queue_refuses_before_a_request_is_read(serving: Serving):
    serving.pipeline.refuse_when_full(soon())
    with full(serving.batcher), pytest.raises(Overloaded):
        serving.pipeline.refuse_when_full(soon())


async def test_a_queue_full_of_long_clips_is_not_full_before_the_length_of_a_request_is_known(serving: Serving):
    """Two windows are short where there are 200 permits, and there is room for 20 more of them."""
    short, long = (LiftRequest((Track(None, walk(frames)),)) for frames in (2, 3))
    with serving.batcher.admit(200, priority=Priority.BULK, deadline=soon()):
        serving.pipeline.refuse_when_full(soon())
        assert (await serving.pipeline.lift(short, deadline=soon())).poses == 2
        with pytest.raises(Overloaded):
            await serving.pipeline.lift(long, deadline=soon())
        with serving.batcher.admit(2, priority=Priority.LIVE, deadline=soon()):
            serving.pipeline.refuse_when_full(soon())


async def test_a_deadline_in_the_past_costs_no_inference(serving: Serving):
    with pytest.raises(DeadlineExceeded):
        await serving.pipeline.lift(LiftRequest((Track(None, walk(5)),)), deadline=time.monotonic() - 1)
    assert serving.engine.batches == []
    assert serving.batcher.windows_queued == 0


async def test_long_requests_are_prepared_off_the_event_loop(serving: Serving, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("poselift_service.pipeline.off_loop.MAX_JOINTS_ON_LOOP", 17 * 50)
    inline, threaded = [
        await serving.pipeline.lift(LiftRequest((Track(None, walk(frames)),)), deadline=soon()) for frames in (50, 51)
    ]
    one, other = inline.tracks[0].lifted, threaded.tracks[0].lifted
    np.testing.assert_array_equal(one.joints[:40], other.joints[:40])


def upright(frames: int, *, on_the_head: bool = False) -> Sequence:
    """Somebody who stands, or stands on the head."""
    names = skeleton("coco17").joint_names
    heights = {"nose": 10, "left_hip": 50, "right_hip": 50, "left_ankle": 90, "right_ankle": 90}
    pose = [(100, heights.get(name, 40), 1) for name in names]
    keypoints = np.tile(np.array(pose, np.float32), (frames, 1, 1))
    if on_the_head:
        keypoints[..., 1] = 100 - keypoints[..., 1]
    return Sequence(keypoints, skeleton("coco17"), *SIZE_PX, Sequence.times_at(50, frames))


def two_people() -> tuple[Track[Sequence], ...]:
    """The second stands on the head."""
    people = [("a", upright(9)), ("b", upright(9, on_the_head=True))]
    return tracks_of("keypoints", None, people, lambda sequence, path: sequence)


async def test_only_the_people_who_are_chosen_must_be_plausible(serving: Serving):
    people = two_people()
    result = await serving.pipeline.lift(LiftRequest(people, person_choice="a", strict=True), deadline=soon())
    assert ([track.track_id for track in result.tracks], result.warnings) == (["a"], ())
    (warning,) = (await serving.pipeline.lift(LiftRequest(people, person_choice="b"), deadline=soon())).warnings
    assert (warning.code, warning.path) == ("upside_down", "tracks[1].keypoints")
    with pytest.raises(InvalidKeypoints) as refused:
        await serving.pipeline.lift(LiftRequest(people, person_choice="b", strict=True), deadline=soon())
    assert refused.value.path == "tracks[1].keypoints"
    assert serving.batcher.windows_queued == 0


async def test_a_request_is_admitted_before_it_is_looked_at_closely(serving: Serving):
    with full(serving.batcher), pytest.raises(Overloaded):
        await serving.pipeline.lift(LiftRequest(two_people(), strict=True), deadline=soon())


async def test_a_cancelled_caller_returns_its_permit(serving: Serving):
    task = asyncio.create_task(serving.pipeline.lift(LiftRequest((Track(None, walk(50)),)), deadline=soon()))
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert serving.batcher.windows_queued == 0
