import torch
from poselift_training.data.synthetic.simulate import ViewSimulator
from poselift_training.data.synthetic.views import Views

from poselift.skeletons import skeleton
from tests.unit.training.data.synthetic.sampling import TYPICAL, draw_windows

H36M, COCO = skeleton("h36m17"), skeleton("coco17")
BONES = [(j, parent) for j, parent in enumerate(H36M.parents) if parent >= 0]


def test_left_is_left_in_the_picture_of_a_person_seen_from_the_front(motion):
    level = Views(noise=False, roll_spread_deg=0.0, pitch_deg=0.0, pitch_spread_deg=0.0)
    batch = draw_windows(motion, level, batch_size=512).batch(0)
    left, right = (H36M.joint_names.index(f"{side}_shoulder") for side in ("left", "right"))
    nose = H36M.joint_names.index("neck_nose")
    thorax = H36M.joint_names.index("thorax")
    facing = batch.joints[:, 13, nose, 2] - batch.joints[:, 13, thorax, 2] < -0.07  # the nose is nearer to the camera
    assert facing.sum() > 50
    # Facing us, a person's left is on the right side of the picture, in 2D and in 3D.
    assert (batch.windows[facing, 13, left, 0] > batch.windows[facing, 13, right, 0]).all()
    assert (batch.joints[facing, 13, left, 0] > batch.joints[facing, 13, right, 0]).all()


def test_exact_keypoints_are_pinhole_projections_of_the_joints(motion):
    simulator = ViewSimulator(Views(noise=False, direct=1.0), torch.device("cpu"))
    world = motion.joints[:60].expand(8, -1, -1, -1)
    windows, clean, joints, *_ = simulator.view(world, 0.02, torch.Generator().manual_seed(0))
    torch.testing.assert_close(windows, clean, rtol=0, atol=0)
    rays = joints[..., :2] / joints[..., 2:]
    focal = (windows / rays).flatten(1).median(dim=1).values
    assert ((focal >= 1.0) & (focal <= 3.2)).all()
    torch.testing.assert_close(windows, focal[:, None, None, None] * rays, rtol=1e-4, atol=1e-4)


def test_nobody_walks_through_the_camera(motion):
    walk = torch.linspace(-15, 15, 100)[:, None, None] * torch.tensor([1.0, 0, 0])
    world = (motion.joints[:1] + walk).expand(64, -1, -1, -1)
    joints = ViewSimulator(TYPICAL, torch.device("cpu")).view(world, 0.02, torch.Generator().manual_seed(0)).joints
    assert joints[..., 2].min() > 0.49
    for joint, parent in BONES:
        length = (joints[:, :, joint] - joints[:, :, parent]).norm(dim=-1)
        true = (world[:, :, joint] - world[:, :, parent]).norm(dim=-1)
        torch.testing.assert_close(length, true, rtol=0, atol=1e-4)
