import dataclasses
import json

import numpy as np
import pytest
import torch
from poselift_training.data.mocap import Motion
from poselift_training.data.synthetic.views import Detections, SyntheticWindows, Views, coco_from_h36m, film

from poselift.errors import InvalidDataset, InvalidRecipe
from poselift.skeletons import convert, skeleton

H36M, COCO = skeleton("h36m17"), skeleton("coco17")
TYPICAL = Views()
BONES = [(j, parent) for j, parent in enumerate(H36M.parents) if parent >= 0]


@pytest.fixture(scope="module")
def motion(tmp_path_factory):
    """Two short clips of a person who stands, faces +y and sways."""
    root = tmp_path_factory.mktemp("mocap")
    x: dict[str, float] = {"pelvis": 0, "spine": 0, "thorax": 0, "neck_nose": 0, "head": 0}
    for side, sign in (("left", -1), ("right", 1)):
        x |= {f"{side}_hip": 0.1 * sign, f"{side}_knee": 0.1 * sign, f"{side}_ankle": 0.1 * sign}
        x |= {f"{side}_shoulder": 0.17 * sign, f"{side}_elbow": 0.2 * sign, f"{side}_wrist": 0.22 * sign}
    z = {"pelvis": 0.95, "hip": 0.95, "knee": 0.5, "ankle": 0.09, "spine": 1.17, "thorax": 1.45, "neck_nose": 1.56}
    z |= {"head": 1.7, "shoulder": 1.43, "elbow": 1.15, "wrist": 0.9}
    person = np.array(
        [[x[j], 0.1 * (j == "neck_nose"), z[j.split("_")[-1]] if j != "neck_nose" else 1.56] for j in H36M.joint_names]
    )
    sway = 0.1 * np.sin(np.arange(120) / 10)[:, None, None] * np.array([1, 0.5, 0])
    clips = {"SA/1": person + sway, "SB/1": (person + sway)[:70]}
    np.savez(root / "a.npz", **{key: np.rint(clip * 1000).astype(np.int16) for key, clip in clips.items()})
    common = {"shard": "a.npz", "split": "train", "licence": "none", "fps": 50}
    entries = [
        {**common, "key": key, "subject": key[1], "source": source, "action": "sway"}
        for key, source in zip(clips, ("CMU", "ReActIdle"), strict=True)
    ]
    (root / "index.json").write_text(json.dumps({"fps": 50, "clips": entries}))
    return Motion.load(root, ["train"])


def _windows(motion, views=TYPICAL, **changes):
    settings = {"frames": 27, "stride": 3, "batch_size": 64, "seed": 1, **changes}
    return SyntheticWindows(motion, views, **settings)


def test_clips_lie_one_after_the_other(motion):
    assert motion.joints.shape == (190, 17, 3)
    assert motion.starts.tolist() == [0, 120]
    assert motion.lengths.tolist() == [120, 70]
    assert motion.clip_weights().tolist() == pytest.approx([0.62 / 0.72, 0.10 / 0.72])


def test_sets_of_motion_are_joined_clip_by_clip(motion):
    both = Motion.join([motion, motion])
    assert both.lengths.tolist() == [120, 70, 120, 70]
    assert torch.equal(both.joints[both.starts[3] :], motion.joints[120:])
    assert both.sources == motion.sources * 2
    assert both.licences == motion.licences
    with pytest.raises(InvalidDataset, match="25 and 50 fps"):
        Motion.join([motion, dataclasses.replace(motion, fps=25.0)])


def test_a_missing_split_or_clip_is_named(motion, tmp_path):
    with pytest.raises(InvalidDataset, match=r"index\.json is missing"):
        Motion.load(tmp_path, ["train"])
    (tmp_path / "index.json").write_text(json.dumps({"fps": 50, "clips": []}))
    with pytest.raises(InvalidDataset, match="no clip in the splits test"):
        Motion.load(tmp_path, ["test"])


def test_a_batch_is_a_pure_function_of_seed_rank_and_step(motion):
    first, again = _windows(motion).batch(5), _windows(motion).batch(5)
    torch.testing.assert_close(first.windows, again.windows, rtol=0, atol=0, equal_nan=True)
    for other in (_windows(motion).batch(6), _windows(motion, seed=2).batch(5)):
        assert not torch.equal(other.joints, first.joints)


def test_people_keep_their_bones_and_stand_upright(motion):
    joints = _windows(motion, Views(body_scale=0.0, roll_spread_deg=0.0)).batch(0).joints
    assert (joints[:, :, 0] == 0).all()
    world = motion.joints[:1]
    for joint, parent in BONES:
        length = (joints[:, :, joint] - joints[:, :, parent]).norm(dim=-1)
        true = (world[:, joint] - world[:, parent]).norm(dim=-1)
        torch.testing.assert_close(length, true.expand_as(length), rtol=0, atol=2e-3)
    assert (joints[:, :, H36M.joint_names.index("head"), 1] < -0.3).all()  # y points down
    assert (joints[:, :, H36M.joint_names.index("left_ankle"), 1] > 0.3).all()


def test_left_is_left_in_the_picture_of_a_person_seen_from_the_front(motion):
    level = Views(noise=False, roll_spread_deg=0.0, pitch_deg=0.0, pitch_spread_deg=0.0)
    batch = _windows(motion, level, batch_size=512).batch(0)
    left, right = (H36M.joint_names.index(f"{side}_shoulder") for side in ("left", "right"))
    nose = H36M.joint_names.index("neck_nose")
    thorax = H36M.joint_names.index("thorax")
    facing = batch.joints[:, 13, nose, 2] - batch.joints[:, 13, thorax, 2] < -0.07  # the nose is nearer to the camera
    assert facing.sum() > 50
    # Facing us, a person's left is on the right side of the picture, in 2D and in 3D.
    assert (batch.windows[facing, 13, left, 0] > batch.windows[facing, 13, right, 0]).all()
    assert (batch.joints[facing, 13, left, 0] > batch.joints[facing, 13, right, 0]).all()


def test_exact_keypoints_are_pinhole_pictures_of_the_joints(motion):
    detections = Detections(Views(noise=False, direct=1.0), torch.device("cpu"))
    world = motion.joints[:60].expand(8, -1, -1, -1)
    windows, clean, joints, *_ = detections.view(world, 0.02, torch.Generator().manual_seed(0))
    torch.testing.assert_close(windows, clean, rtol=0, atol=0)
    rays = joints[..., :2] / joints[..., 2:]
    focal = (windows / rays).flatten(1).median(dim=1).values
    assert ((focal >= 1.0) & (focal <= 3.2)).all()
    torch.testing.assert_close(windows, focal[:, None, None, None] * rays, rtol=1e-4, atol=1e-4)


def test_nobody_walks_through_the_camera(motion):
    walk = torch.linspace(-15, 15, 100)[:, None, None] * torch.tensor([1.0, 0, 0])
    world = (motion.joints[:1] + walk).expand(64, -1, -1, -1)
    joints = Detections(TYPICAL, torch.device("cpu")).view(world, 0.02, torch.Generator().manual_seed(0)).joints
    assert joints[..., 2].min() > 0.49
    for joint, parent in BONES:
        length = (joints[:, :, joint] - joints[:, :, parent]).norm(dim=-1)
        true = (world[:, :, joint] - world[:, :, parent]).norm(dim=-1)
        torch.testing.assert_close(length, true, rtol=0, atol=1e-4)


def test_a_limb_stays_hidden_no_longer_in_a_film_than_in_a_window(motion):
    detections = Detections(TYPICAL, torch.device("cpu"))
    hidden = detections._draw_stretches(
        torch.Size((200, 1000)), 0.02, 0.35, detections._occluded, torch.Generator().manual_seed(0)
    )
    assert 0.01 < hidden.float().mean() < 0.2
    longest = 2 * 80 + 1  # a stretch that ends hidden, and the next one that begins so, 80 frames each
    assert not hidden.unfold(1, longest, 1).all(dim=-1).any()


def test_frames_outside_of_the_picture_are_not_scored(motion):
    close = Views(noise=True, person_height=(1.05, 1.05), off_centre=1.0)
    films = film(motion, close, seed=3, longest_s=0.5)
    scored = films.valid
    assert 0 < scored.float().mean() < 1
    seen = ~films.keypoints[..., 0].isnan()
    assert seen[~scored].float().mean() < 0.5 < seen[scored].float().mean()


@pytest.mark.parametrize(
    "changes",
    [{"focal": (0, 1)}, {"person_height": (2, 1)}, {"aspects": ()}, {"noise_scale": -1}, {"direct": 1.5}, {"gaps": 2}],
)
def test_impossible_views_are_refused(changes):
    with pytest.raises(InvalidRecipe, match=f"views.{next(iter(changes))}"):
        Views(**changes)


def test_noise_has_the_size_it_says_and_gaps_are_joint_wise(motion):
    views = Views(direct=0.0)
    batch = _windows(motion, views, batch_size=1024).batch(0)
    missing = batch.windows.isnan()
    assert (missing[..., 0] == missing[..., 1]).all()
    assert not batch.clean.isnan().any()
    assert 0.02 < missing.float().mean() < 0.25
    error = (batch.windows - batch.clean).norm(dim=-1)
    size = (batch.clean[:, :, 10] - batch.clean[:, :, 0]).norm(dim=-1)[..., None]  # pelvis to head, about 0.75 m
    error_m = (error / size * 0.75).nanmedian()
    assert 0.005 < error_m < 0.05


def test_the_same_conversion_as_a_detectors(motion):
    coco = torch.randn(3, 4, 17, 2)
    coco[0, 0, 5] = torch.nan
    ours = Detections(Views(), torch.device("cpu"))._to_lifter(coco)
    scored = np.concatenate([coco.numpy(), np.ones((3, 4, 17, 1), np.float32)], axis=-1)
    np.testing.assert_allclose(ours.numpy(), convert(scored, COCO, H36M)[..., :2], atol=1e-6)


def test_a_face_in_front_of_the_head(motion):
    coco = coco_from_h36m(motion.joints[:1])[0]
    at = dict(zip(COCO.joint_names, coco, strict=True))
    assert at["nose"][1] > at["left_eye"][1] > at["left_ear"][1]  # faces +y
    assert at["left_ear"][0] < 0 < at["right_ear"][0]  # so its left is -x
    assert at["left_eye"][2] > at["nose"][2]


def test_films_are_whole_clips_frame_after_frame(motion):
    films = film(motion, Views(), seed=3, longest_s=1.0)
    assert films.lengths.tolist() == [40, 40, 40, 35, 35]
    assert set(films.actions) == {"CMU: sway", "ReActIdle: sway"}
    again = film(motion, Views(), seed=3, longest_s=1.0)
    torch.testing.assert_close(films.keypoints, again.keypoints, rtol=0, atol=0, equal_nan=True)


def test_gaps_come_on_top_of_the_same_windows(motion):
    plain = _windows(motion, Views(noise=False), batch_size=512).batch(0)
    batch = _windows(motion, Views(noise=False, gaps=0.5), batch_size=512).batch(0)
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


def test_an_epoch_is_as_many_poses_as_there_are_frames(motion):
    assert _windows(motion, batch_size=2).steps_per_epoch == 95
    assert _windows(motion, batch_size=2, targets=27).steps_per_epoch == 4


def test_a_repeated_frame_is_detected_once(motion):
    edges = _windows(motion, stride=9).batch(0)  # longer than the clips: both ends of every window are repeated
    keypoints = edges.windows.nan_to_num(9)
    unmoved = (edges.joints.diff(dim=1) == 0).all(dim=(-2, -1)).int()
    still = (unmoved.cumprod(dim=1) | unmoved.flip(1).cumprod(dim=1).flip(1)).bool()  # from either end on
    assert still.float().mean() > 0.3
    assert (keypoints.diff(dim=1) == 0).all(dim=(-2, -1))[still].all()


def test_truncated_windows_end_soon_after_their_middle(motion):
    batch = _windows(motion, Views(truncated=1.0, gaps=0.5), stride=1, batch_size=256).batch(0)
    ends = (batch.windows.nan_to_num(9).diff(dim=1) == 0).all(dim=(-2, -1))[:, 13:]  # from one frame to the next
    future = 13 - ends.int().sum(dim=1)
    assert 0.1 < (future == 0).float().mean() < 0.5
    assert future.max() <= 13
    plain = _windows(motion, Views(gaps=0.5), stride=1, batch_size=256).batch(0)
    assert (plain.windows.nan_to_num(9).diff(dim=1) == 0).all(dim=(-2, -1)).float().mean() < 0.3


def test_bones_vary_in_length_but_not_in_direction_nor_from_side_to_side(motion):
    views = Views(bone_scale=0.3, noise=False, body_scale=0.0, direct=1.0)
    joints = _windows(motion, views).batch(0).joints[:, 13]
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


def test_people_with_other_bones_sway_as_before(motion):
    pelvis = _windows(motion, Views(bone_scale=0.3, noise=False, direct=1.0)).batch(0).windows[:, :, 0]
    assert (pelvis.amax(dim=1) - pelvis.amin(dim=1)).norm(dim=-1).min() > 0.01


def test_swapped_limbs_are_where_those_of_the_other_side_are(motion):
    views = Views(swaps=1.0, noise_scale=0.0)
    detections = Detections(views, torch.device("cpu"))
    world = motion.joints[:100].expand(200, -1, -1, -1)
    windows, clean, *_ = detections.view(world, 0.02, torch.Generator().manual_seed(0))
    knees = [H36M.joint_names.index(f"{side}_knee") for side in ("left", "right")]
    seen, true = windows[:, :, knees], clean[:, :, knees]
    apart = (true[:, :, 0] - true[:, :, 1]).norm(dim=-1) > 0.02
    swapped = (seen - true.flip(2)).norm(dim=-1).amax(dim=-1) < 1e-5
    right = (seen - true).norm(dim=-1).amax(dim=-1) < 1e-5
    assert 0.05 < swapped[apart].float().mean() < 0.5
    assert (swapped | right | seen.isnan().any(dim=(-2, -1)))[apart].all()


def test_bursts_make_errors_larger_for_a_while(motion):
    spread = []
    for bursts in (0.0, 1.0):
        detections = Detections(Views(bursts=bursts), torch.device("cpu"))
        world = motion.joints[:100].expand(100, -1, -1, -1)
        windows, clean, *_ = detections.view(world, 0.02, torch.Generator().manual_seed(0))
        spread.append((windows - clean).diff(dim=1).nan_to_num(0).square().mean())
    assert spread[1] > 1.3 * spread[0]


def test_people_may_move_faster_or_slower(motion):
    plain, varied = (
        _windows(motion, Views(noise=False, body_scale=0.0, speed=speed), batch_size=256).batch(0) for speed in (0, 0.5)
    )
    stays = [(batch.joints.diff(dim=1) == 0).all(dim=(-2, -1)).float().mean(dim=1) for batch in (plain, varied)]
    assert not torch.equal(*stays)  # windows reach beyond the ends of their clips at other times


def test_fixed_cameras_film_each_clip_as_often_as_there_are_cameras(motion):
    films = film(motion, Views(), seed=3, cameras=3)
    assert len(films.keypoints) == 3 * len(motion.joints)
    assert len(set(films.cameras)) == 3 * len(motion.lengths)
    first, second = films.keypoints[:120], films.keypoints[120:240]
    assert not torch.equal(first.nan_to_num(0), second.nan_to_num(0))
