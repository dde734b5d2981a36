from collections import Counter
from dataclasses import replace

import pytest
import torch
from poselift_training.data.mocap import Motion
from poselift_training.data.synthetic.views import Views

from poselift.skeletons import skeleton
from tests.host_waits import META, GeneratorOnCpu, waits
from tests.unit.training.data.synthetic.sampling import draw_windows

H36M, COCO = skeleton("h36m17"), skeleton("coco17")
BONES = [(j, parent) for j, parent in enumerate(H36M.parents) if parent >= 0]
ALL_VIEWS = Views(
    bone_scale=0.1,
    speed=0.3,
    swaps=0.3,
    bursts=0.3,
    gaps=0.5,
    missing_limb=0.3,
    truncated=0.3,
    proportions=0.2,
    children=0.2,
    composed=0.3,
    white_noise=0.3,
    exact=0.2,
    known=0.5,
    unknown=0.5,
)


def test_a_batch_is_a_pure_function_of_seed_and_step(motion):
    first, again = draw_windows(motion).batch(5), draw_windows(motion).batch(5)
    torch.testing.assert_close(first.windows, again.windows, rtol=0, atol=0, equal_nan=True)
    for other in (draw_windows(motion).batch(6), draw_windows(motion, seed=2).batch(5)):
        assert not torch.equal(other.joints, first.joints)


def test_people_keep_their_bones_and_stand_upright(motion):
    joints = draw_windows(motion, Views(body_scale=0.0, roll_spread_deg=0.0)).batch(0).joints
    assert (joints[:, :, 0] == 0).all()
    world = motion.joints[:1]
    for joint, parent in BONES:
        length = (joints[:, :, joint] - joints[:, :, parent]).norm(dim=-1)
        true = (world[:, joint] - world[:, parent]).norm(dim=-1)
        torch.testing.assert_close(length, true.expand_as(length), rtol=0, atol=2e-3)
    assert (joints[:, :, H36M.joint_names.index("head"), 1] < -0.3).all()  # y points down
    assert (joints[:, :, H36M.joint_names.index("left_ankle"), 1] > 0.3).all()


def test_people_are_as_large_as_they_may_be(motion):
    views = Views(noise=False, body_scale=0.3)
    thigh = [H36M.joint_names.index(f"left_{joint}") for joint in ("hip", "knee")]
    lengths = [
        (joints[:, 0, thigh[0]] - joints[:, 0, thigh[1]]).norm(dim=-1)
        for joints in (motion.joints[None], draw_windows(motion, views, batch_size=512).batch(0).joints)
    ]
    scales = lengths[1] / lengths[0]
    assert scales.min().item() == pytest.approx(0.7, abs=0.02)
    assert scales.max().item() == pytest.approx(1.3, abs=0.02)


def test_gaps_are_added_to_the_same_windows(motion):
    plain = draw_windows(motion, Views(noise=False), batch_size=512).batch(0)
    batch = draw_windows(motion, Views(noise=False, gaps=0.5), batch_size=512).batch(0)
    torch.testing.assert_close(batch.clean, plain.windows, rtol=0, atol=0)
    torch.testing.assert_close(batch.joints, plain.joints, rtol=0, atol=0)
    missing = batch.windows.isnan().all(dim=-1)
    assert torch.equal(missing, batch.windows.isnan().any(dim=-1))
    assert missing.flatten(1).any(dim=1).float().mean().item() == pytest.approx(0.5, abs=0.08)
    always = missing.all(dim=1)  # [B, 17]: whole limbs, and never the trunk
    limbs = torch.zeros(len(H36M.limbs), 17, dtype=torch.bool)
    for row, joints in enumerate(H36M.limbs.values()):
        limbs[row, list(joints)] = True
    of_limbs = always[always.any(dim=1)]
    assert len(of_limbs) / 512 == pytest.approx(0.25, abs=0.07)
    assert set(of_limbs.sum(dim=1).tolist()) == {3, 6}
    assert ((of_limbs[:, None] & limbs).sum(dim=-1) % 3 == 0).all()


def test_one_limb_is_missing_in_all_frames_of_some_windows(motion):
    plain = draw_windows(motion, Views(noise=False), batch_size=512).batch(0)
    batch = draw_windows(motion, Views(noise=False, missing_limb=0.4), batch_size=512).batch(0)
    missing = batch.windows.isnan().all(dim=-1)
    assert (missing == missing[:, :1]).all()
    torch.testing.assert_close(batch.windows.where(~missing[..., None], plain.windows), plain.windows)
    torch.testing.assert_close(batch.joints, plain.joints, rtol=0, atol=0)
    windows_without = Counter(tuple(window.nonzero()[:, 0].tolist()) for window in missing[:, 0])
    limbs = {tuple(sorted(joints)) for joints in H36M.limbs.values()}
    assert windows_without.keys() == {(), *limbs}
    assert windows_without[()] / 512 == pytest.approx(0.6, abs=0.08)
    assert all(windows_without[limb] / 512 == pytest.approx(0.1, abs=0.05) for limb in limbs)


def test_windows_say_what_is_known_and_where_down_is(motion):
    never, always = (
        draw_windows(motion, Views(known=known), known=True, gravity=True).batch(0) for known in (0.0, 1.0)
    )
    assert never.windows[:, :, 17:].isnan().all()
    told = always.windows[:, :, 17:]
    assert told.shape == (64, 27, 4, 2)
    assert (told == told[:, :1]).all()
    falling = torch.stack([told[:, 0, 1, 0], told[:, 0, 1, 1], told[:, 0, 2, 1]], dim=-1)
    torch.testing.assert_close(falling.norm(dim=-1), torch.ones(64))
    true = always.joints[:, :, 17]
    assert always.joints.shape == (64, 27, 18, 3)
    assert ((falling * true[:, 0]).sum(dim=-1) > 0.99).all()  # told with an error of a degree or so
    upright = always.joints[:, :, H36M.joint_names.index("head")]
    assert ((upright * true).sum(dim=-1) < 0).all()  # heads are up
    focal, stature = told[:, 0, 0, 1].exp(), 1.7 * told[:, 0, 3, 1].exp()
    assert focal.min() > 0.9
    assert focal.max() < 3.6
    assert stature.min() > 1.2
    assert stature.max() < 2.3


def test_of_a_share_of_the_windows_nothing_is_told(motion):
    views = Views(known=0.9, unknown=0.5)
    told = ~draw_windows(motion, views, known=True, batch_size=512).batch(0).windows[:, 0, 17:].isnan().any(dim=-1)
    facts = told[:, [0, 1, 3]]  # focal length, gravity (which has two rows), stature
    assert facts.any(dim=1).float().mean().item() == pytest.approx(0.5, abs=0.08)
    assert facts[facts.any(dim=1)].float().mean().item() == pytest.approx(0.9, abs=0.04)


def test_detectors_of_a_share_of_the_windows_make_no_errors(motion):
    batch = draw_windows(motion, Views(exact=0.25), batch_size=512).batch(0)
    is_exact = (batch.windows == batch.clean).flatten(1).all(dim=1)
    assert is_exact.float().mean().item() == pytest.approx(0.25, abs=0.06)
    plain = draw_windows(motion, Views(), batch_size=512).batch(0)
    torch.testing.assert_close(batch.clean, plain.clean, rtol=0, atol=0)
    assert not (plain.windows == plain.clean).flatten(1).all(dim=1).any()


def test_smoothed_windows_have_the_same_poses_and_less_jitter(motion):
    rough, smooth = (draw_windows(motion, smoothed=smoothed).batch(0) for smoothed in (False, True))
    assert smooth.windows.shape == rough.windows.shape
    moving = replace(motion, joints=motion.joints.clone())
    moving.joints[:, 16, 2] += 0.01 * torch.arange(len(moving.joints))  # the rest moves as a whole, a wrist besides
    poses = [draw_windows(moving, Views(noise=False), smoothed=smoothed).batch(0).joints for smoothed in (False, True)]
    torch.testing.assert_close(poses[1], poses[0])
    jitter = [(batch.windows - batch.clean).diff(dim=1).nan_to_num().std() for batch in (rough, smooth)]
    assert jitter[1] < 0.8 * jitter[0]


@pytest.mark.parametrize("smoothed", [False, True])
def test_the_past_of_a_stream_comes_before_its_window(motion, smoothed):
    still = Views(noise=False)
    window, longer = (draw_windows(motion, still, past=past, smoothed=smoothed, batch_size=256) for past in (0, 3))
    batch = longer.batch(0)
    assert batch.windows.shape == (256, 30, 17, 2)
    assert batch.joints.shape[:2] == (256, 30)
    # The window is centred on the same moment: as far from the ends of its clip, where frames are repeated.
    moves = [clean.diff(dim=1).abs().amax(dim=(-2, -1)) > 1e-5 for clean in (window.batch(0).clean, batch.clean)]
    assert torch.equal(moves[1][:, 3:], moves[0])
    assert moves[1][:, :3].any()
    assert not moves[1][:, :3].all()


def test_an_epoch_is_as_many_poses_as_there_are_frames(motion):
    assert draw_windows(motion, batch_size=2).steps_per_epoch == 95
    assert draw_windows(motion, batch_size=2, targets=27).steps_per_epoch == 4


def test_a_repeated_frame_has_the_same_keypoints(motion):
    edges = draw_windows(motion, stride=9).batch(0)  # longer than the clips: both ends of every window are repeated
    keypoints = edges.windows.nan_to_num(9)
    unmoved = (edges.joints.diff(dim=1) == 0).all(dim=(-2, -1)).int()
    still = (unmoved.cumprod(dim=1) | unmoved.flip(1).cumprod(dim=1).flip(1)).bool()  # from either end on
    assert still.float().mean() > 0.3
    assert (keypoints.diff(dim=1) == 0).all(dim=(-2, -1))[still].all()


def test_truncated_windows_end_soon_after_their_middle(motion):
    batch = draw_windows(motion, Views(truncated=1.0, gaps=0.5), stride=1, batch_size=256).batch(0)
    ends = (batch.windows.nan_to_num(9).diff(dim=1) == 0).all(dim=(-2, -1))[:, 13:]  # from one frame to the next
    future = 13 - ends.int().sum(dim=1)
    assert 0.1 < (future == 0).float().mean() < 0.5
    assert future.max() <= 13
    plain = draw_windows(motion, Views(gaps=0.5), stride=1, batch_size=256).batch(0)
    assert (plain.windows.nan_to_num(9).diff(dim=1) == 0).all(dim=(-2, -1)).float().mean() < 0.3


def test_bones_vary_in_length_but_not_in_direction_nor_from_side_to_side(motion):
    views = Views(bone_scale=0.3, noise=False, body_scale=0.0, direct=1.0)
    joints = draw_windows(motion, views).batch(0).joints[:, 13]
    lengths = {(j, p): (joints[:, j] - joints[:, p]).norm(dim=-1) for j, p in BONES}
    for (j, p), length in lengths.items():
        true = (motion.joints[0, j] - motion.joints[0, p]).norm()
        ratio = length / true
        assert 0.69 < ratio.min() < 0.9
        assert 1.1 < ratio.max() < 1.31
        other = H36M.mirror_order[j], H36M.mirror_order[p]
        torch.testing.assert_close(length, lengths[other], rtol=0, atol=2e-3)
    # An upright person stays upright: the trunk still points from the pelvis to the thorax.
    trunk = joints[:, H36M.joint_names.index("thorax")]
    spine = joints[:, H36M.joint_names.index("spine")]
    assert torch.nn.functional.cosine_similarity(trunk, spine).min() > 0.999


def test_people_with_scaled_bones_sway_as_before(motion):
    pelvis = draw_windows(motion, Views(bone_scale=0.3, noise=False, direct=1.0)).batch(0).windows[:, :, 0]
    assert (pelvis.amax(dim=1) - pelvis.amin(dim=1)).norm(dim=-1).min() > 0.01


def test_the_speed_of_motion_varies(motion):
    plain, varied = (
        draw_windows(motion, Views(noise=False, body_scale=0.0, speed=speed), batch_size=256).batch(0)
        for speed in (0, 0.5)
    )
    stays = [(batch.joints.diff(dim=1) == 0).all(dim=(-2, -1)).float().mean(dim=1) for batch in (plain, varied)]
    assert not torch.equal(*stays)  # windows reach beyond the ends of their clips at other times


def test_rare_moments_are_drawn_by_their_weights(motion):
    windows = draw_windows(motion, Views(noise=False), batch_size=4096, rare=0.5, shares={"CMU": 1, "ReActIdle": 3})
    weights = motion.frame_weights({"CMU": 1, "ReActIdle": 3}, 0.5)
    clip, frame = windows._draw_rare(weights.cumsum(0), torch.Generator().manual_seed(1))
    assert (clip == 1).float().mean().item() == pytest.approx(0.75, abs=0.03)
    assert ((frame >= 0) & (frame < motion.lengths[clip])).all()
    counts = torch.bincount(motion.starts[clip] + frame, minlength=190) / 4096
    assert (counts - weights).abs().max() < 0.02
    assert windows.batch(0).joints.isfinite().all()


@pytest.mark.parametrize("rare", [0.0, 0.5])
def test_drawing_a_batch_waits_for_nothing(motion: Motion, monkeypatch: pytest.MonkeyPatch, rare: float):
    monkeypatch.setattr(torch, "Generator", GeneratorOnCpu)
    # What is prepared once may wait.
    for name, count in (("clip_weights", len(motion.lengths)), ("frame_weights", len(motion.joints))):
        monkeypatch.setattr(Motion, name, lambda *_, count=count: torch.ones(count, dtype=torch.float64, device=META))
    windows = draw_windows(motion.to(META), ALL_VIEWS, batch_size=4, rare=rare)
    assert windows.batch(3).joints.is_meta
    assert waits(lambda: windows.batch(3)) == []


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")
def test_drawing_a_batch_does_not_wait_for_a_gpu(motion: Motion):
    windows = draw_windows(motion.to("cuda"), ALL_VIEWS, batch_size=4)
    windows.batch(0)
    torch.cuda.set_sync_debug_mode("error")
    try:
        windows.batch(1)
    finally:
        torch.cuda.set_sync_debug_mode("default")
