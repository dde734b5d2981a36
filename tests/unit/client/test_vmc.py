"""Motion as VMC messages: a receiver of its own puts a left-handed avatar together from them."""

import socket
import threading
import time

import numpy as np
import pytest

from poselift.motion.rotations import joint_rotations, rest_offsets
from tests.unit.formats.writers.world_motions import BONES, motion_of, moving_track, random_rotations, t_pose

vmc = pytest.importorskip("poselift.client.vmc")
from pythonosc.dispatcher import Dispatcher  # noqa: E402
from pythonosc.osc_packet import OscPacket  # noqa: E402
from pythonosc.osc_server import ThreadingOSCUDPServer  # noqa: E402

FLOAT32_M = 1e-5
PARENTS = {"Hips": None, "Spine": "Hips", "Chest": "Spine", "Neck": "Chest", "Head": "Neck"}
for side in ("Left", "Right"):
    PARENTS |= {f"{side}UpperLeg": "Hips", f"{side}LowerLeg": f"{side}UpperLeg", f"{side}Foot": f"{side}LowerLeg"}
    PARENTS |= {f"{side}Shoulder": "Chest", f"{side}UpperArm": f"{side}Shoulder"}
    PARENTS |= {f"{side}LowerArm": f"{side}UpperArm", f"{side}Hand": f"{side}LowerArm"}
# Joints of Human3.6M at the heads of bones.
HEADS = {
    "Hips": 0, "Chest": 7, "Neck": 8, "Head": 9, "LeftLowerLeg": 5, "LeftFoot": 6, "RightLowerLeg": 2, "RightFoot": 3,
    "LeftUpperArm": 11, "LeftLowerArm": 12, "LeftHand": 13, "RightUpperArm": 14, "RightLowerArm": 15, "RightHand": 16,
}  # fmt: skip


class Receiver:
    """Listens as a program with an avatar does; counts datagrams, and keeps the arguments of the last messages."""

    def __enter__(self):
        self.bones: dict[str, tuple[float, ...]] = {}
        self.others: dict[str, tuple[float, ...]] = {}
        self.frames = 0
        dispatcher = Dispatcher()
        dispatcher.map("/VMC/Ext/Bone/Pos", lambda _, name, *numbers: self.bones.update({name: numbers}))
        dispatcher.map("/VMC/Ext/Root/Pos", lambda address, *arguments: self.others.update({address: arguments}))
        dispatcher.map("/VMC/Ext/OK", lambda address, *arguments: self.others.update({address: arguments}))
        dispatcher.map("/VMC/Ext/T", self.end_frame)
        self.server = ThreadingOSCUDPServer(("127.0.0.1", 0), dispatcher)
        self.thread = threading.Thread(target=self.server.serve_forever)
        self.thread.start()
        return self

    def end_frame(self, address, *arguments):
        self.others[address] = arguments
        self.frames += 1

    def wait_for(self, frames):
        giving_up = time.monotonic() + 20
        while self.frames < frames:
            assert time.monotonic() < giving_up, f"{self.frames} of {frames} frames came"
            time.sleep(0.005)

    def __exit__(self, *exception):
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()


def unity_rotation(x, y, z, w):
    """Unity's matrix of a quaternion: the formula is that of right-handed axes, read in left-handed ones."""
    return np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
            [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
            [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
        ]
    )


def put_together(bones):
    """Positions of the bones' heads, in Unity's axes."""
    places: dict[str, np.ndarray] = {}
    axes: dict[str, np.ndarray] = {}
    for name, parent in PARENTS.items():
        position, rotation = np.array(bones[name][:3]), unity_rotation(*bones[name][3:])
        places[name] = position if parent is None else places[parent] + axes[parent] @ position
        axes[name] = rotation if parent is None else axes[parent] @ rotation
    return places


def test_an_avatar_with_the_persons_bones_stands_where_the_person_does():
    rotations = random_rotations(5)
    rotations[:, [1, 4]] = [1, 0, 0, 0]  # an avatar's hips are one piece
    motion = motion_of(rotations, moving_track(frames=5).world.root)
    with Receiver() as receiver, vmc.VmcSender(port=receiver.server.server_address[1]) as sender:
        for number in range(5):
            sender.send(motion.poses[number].tolist(), motion.rotations[number].tolist(), number / 30)
            receiver.wait_for(number + 1)
            places = put_together(receiver.bones)
            for bone, joint in HEADS.items():
                x, y, z = motion.poses[number, joint]
                np.testing.assert_allclose(places[bone], [-x, y, z], atol=FLOAT32_M, err_msg=bone)
    assert receiver.others["/VMC/Ext/Root/Pos"] == ("root", 0, 0, 0, 0, 0, 0, 1)
    assert receiver.others["/VMC/Ext/OK"] == (1,)
    assert receiver.others["/VMC/Ext/T"] == (pytest.approx(4 / 30),)


def test_a_frame_is_one_bundle_with_the_types_of_the_protocol():
    motion = t_pose().world
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as listening:
        listening.bind(("127.0.0.1", 0))
        listening.settimeout(20)
        with vmc.VmcSender(port=listening.getsockname()[1]) as sender:
            sender.send(motion.poses[0], motion.rotations[0], 3)  # arrays do as well as lists
        packet = listening.recv(65535)
    messages = [timed.message for timed in OscPacket(packet).messages]
    assert packet.startswith(b"#bundle\0")
    assert [message.address for message in messages] == [
        *("/VMC/Ext/Root/Pos",), *["/VMC/Ext/Bone/Pos"] * 19, *("/VMC/Ext/OK", "/VMC/Ext/T")
    ]  # fmt: skip
    for message in messages:
        kinds = [type(argument) for argument in message.params]
        assert kinds in ([str] + [float] * 7, [int], [float]), message.address
    bones = {message.params[0]: message.params[1:] for message in messages[1:-2]}
    assert bones.keys() == PARENTS.keys()
    for name, (*_, qx, qy, qz, w) in bones.items():  # the T-pose of a normalised avatar turns nothing
        assert (qx, qy, qz, w) == pytest.approx((0, 0, 0, 1), abs=1e-6), name


def test_the_avatars_own_positions_and_size():
    motion = t_pose().world
    with (
        Receiver() as receiver,
        vmc.VmcSender(port=receiver.server.server_address[1], positions={"Neck": (0, 0.2, 0)}, scale=0.5) as sender,
    ):
        sender.send(motion.poses[0], motion.rotations[0])
        receiver.wait_for(1)
    assert receiver.bones["Neck"][:3] == pytest.approx((0, 0.2, 0))
    assert receiver.bones["Hips"][1] == pytest.approx(motion.root[0, 1] / 2)
    assert receiver.bones["LeftFoot"][1] == pytest.approx(-0.45 / 2)


def test_the_t_pose_is_that_of_the_rotations():
    rest = rest_offsets(BONES)
    for bone in vmc._BONES:
        if bone.comes_from:
            joint = bone.comes_from[1]
            direction = np.array(bone.direction) / np.linalg.norm(bone.direction)
            np.testing.assert_allclose(BONES[joint] * direction, rest[joint], atol=1e-9, err_msg=bone.name)
    np.testing.assert_allclose(joint_rotations(t_pose(2).world.poses)[0, 0], [1, 0, 0, 0], atol=1e-9)
