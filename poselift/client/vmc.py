"""Motion in the world as VMC messages (OSC over UDP), which move avatars in VSeeFace, EVMC4U, VMagicMirror and others.

    from poselift.client.vmc import VmcSender

    with VmcSender() as avatar:
        avatar.send(world.poses[frame], world.rotations[frame])

Needs the extra `vmc`. The protocol: https://protocol.vmc.info/english
"""

import math
import socket
from collections.abc import Mapping, Sequence
from typing import NamedTuple, Self

from pythonosc.osc_bundle_builder import IMMEDIATELY, OscBundleBuilder
from pythonosc.osc_message import OscMessage
from pythonosc.osc_message_builder import OscMessageBuilder

Vector = Sequence[float]

PORT = 39539
"""Where programs that show avatars listen."""


class _Bone(NamedTuple):
    """A bone of VRM's humanoid.

    Attributes:
        name: in Unity.
        turned_by: joints of Human3.6M whose rotations, one after the other, turn it against its parent.
        comes_from: the joints of Human3.6M at its parent's head and at its own; None if both lie in one place.
        direction: from the one to the other in the T-pose, y up and x to the left.
    """

    name: str
    turned_by: tuple[int, ...]
    comes_from: tuple[int, int] | None = None
    direction: Vector = (0.0, 0.0, 0.0)


_DOWN, _UP, _LEFT, _RIGHT = (0.0, -1.0, 0.0), (0.0, 1.0, 0.0), (1.0, 0.0, 0.0), (-1.0, 0.0, 0.0)
_BONES = (
    _Bone("Hips", (0,)),
    _Bone("LeftUpperLeg", (4, 5), (0, 4), _LEFT),
    _Bone("RightUpperLeg", (1, 2), (0, 1), _RIGHT),
    _Bone("LeftLowerLeg", (6,), (4, 5), _DOWN),
    _Bone("RightLowerLeg", (3,), (1, 2), _DOWN),
    _Bone("LeftFoot", (), (5, 6), _DOWN),
    _Bone("RightFoot", (), (2, 3), _DOWN),
    _Bone("Spine", (7,)),
    _Bone("Chest", (8,), (0, 7), _UP),
    _Bone("Neck", (9,), (7, 8), _UP),
    _Bone("Head", (10,), (8, 9), (0.0, 0.79, 0.61)),
    _Bone("LeftShoulder", (11,), (7, 8), _UP),
    _Bone("RightShoulder", (14,), (7, 8), _UP),
    _Bone("LeftUpperArm", (12,), (8, 11), (0.98, -0.16, -0.10)),
    _Bone("RightUpperArm", (15,), (8, 14), (-0.98, -0.16, -0.10)),
    _Bone("LeftLowerArm", (13,), (11, 12), _LEFT),
    _Bone("RightLowerArm", (16,), (14, 15), _RIGHT),
    _Bone("LeftHand", (), (12, 13), _LEFT),
    _Bone("RightHand", (), (15, 16), _RIGHT),
)


class VmcSender:
    """Sends one bundle for each frame: the root, the bones of a normalised VRM avatar, and the time.

    Positions are those of the person; most programs use that of the hips alone. For those that move every bone, such as
    EVMC4U with `BonePositionSynchronize`, give the avatar's own positions.
    """

    def __init__(
        self,
        host: str = "127.0.0.1",
        port: int = PORT,
        *,
        positions: Mapping[str, Vector] | None = None,
        scale: float = 1.0,
    ) -> None:
        """Open a socket; nothing is sent yet.

        Args:
            positions: of bones relative to their parents in the avatar's T-pose, metres, in Unity's axes, by the names
                of Unity's `HumanBodyBones`; bones that are not named get the person's.
            scale: how many times as tall as the person the avatar is; the path of the hips is multiplied by it.
        """
        self._address = (host, port)
        self._positions = dict(positions or {})
        self._scale = scale
        self._socket = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM)

    def send(self, pose: Sequence[Vector], rotations: Sequence[Vector], time_s: float = 0.0) -> None:
        """Send one frame of `world`, whose axes have y up.

        Args:
            pose: [17][3] metres, of `world.poses`.
            rotations: [17][4] of `world.rotations`, which are there if they were asked for.
            time_s: of the frame, seconds from any moment.
        Raises:
            OSError: the message cannot be sent. UDP does not notice that nobody listens.
        """
        bundle = OscBundleBuilder(IMMEDIATELY)
        bundle.add_content(_message("/VMC/Ext/Root/Pos", "root", *(0.0,) * 6, 1.0))
        for bone in _BONES:
            x, y, z = self._position(bone, pose)
            w, qx, qy, qz = _turn(rotations, bone)
            bundle.add_content(_message("/VMC/Ext/Bone/Pos", bone.name, x, y, z, qx, -qy, -qz, w))
        bundle.add_content(_message("/VMC/Ext/OK", 1))
        bundle.add_content(_message("/VMC/Ext/T", float(time_s)))
        self._socket.sendto(bundle.build().dgram, self._address)

    def _position(self, bone: _Bone, pose: Sequence[Vector]) -> tuple[float, float, float]:
        """Relative to the parent, in Unity's axes: x is mirrored, since they are left-handed."""
        if bone.name == "Hips":
            x, y, z = (self._scale * float(value) for value in pose[0])
            return -x, y, z
        if (given := self._positions.get(bone.name)) is not None:
            x, y, z = map(float, given)
            return x, y, z
        length_m = math.dist(pose[bone.comes_from[0]], pose[bone.comes_from[1]]) if bone.comes_from else 0.0
        share = self._scale * length_m / (math.hypot(*bone.direction) or 1.0)
        x, y, z = bone.direction
        return -share * x, share * y, share * z

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


def _message(address: str, *arguments: str | int | float) -> OscMessage:
    """Receivers ignore messages whose types are not exactly those of the protocol."""
    message = OscMessageBuilder(address)
    for argument in arguments:
        message.add_arg(argument, {str: "s", int: "i", float: "f"}[type(argument)])
    return message.build()


def _turn(rotations: Sequence[Vector], bone: _Bone) -> tuple[float, float, float, float]:
    """The rotation w, x, y, z of a bone against its parent."""
    w, x, y, z = 1.0, 0.0, 0.0, 0.0
    for joint in bone.turned_by:
        ow, ox, oy, oz = map(float, rotations[joint])
        w, x, y, z = (
            w * ow - x * ox - y * oy - z * oz,
            w * ox + x * ow + y * oz - z * oy,
            w * oy - x * oz + y * ow + z * ox,
            w * oz + x * oy - y * ox + z * ow,
        )
    return w, x, y, z
