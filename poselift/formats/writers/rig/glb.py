"""Motion in the world as GLB, the binary form of glTF 2.0: an animated skeleton with a simple body.

This module can only be imported if the optional package is installed.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pygltflib as gltf
from numpy.typing import NDArray

from poselift.artifacts.manifest import Manifest
from poselift.formats.writers.rig.animation import Animation, animation_of
from poselift.formats.writers.rig.body import body_of, rest_positions
from poselift.formats.writers.rig.skeleton import JOINTS, NAMES
from poselift.formats.writers.track import LiftedTrack

_TYPES = {(): gltf.SCALAR, (3,): gltf.VEC3, (4,): gltf.VEC4, (4, 4): gltf.MAT4}
_COMPONENTS = {"f4": gltf.FLOAT, "u1": gltf.UNSIGNED_BYTE, "u2": gltf.UNSIGNED_SHORT}
_SKIN_COLOUR = [0.72, 0.75, 0.80, 1.0]


def write_glb(path: Path, manifest: Manifest, tracks: Sequence[LiftedTrack]) -> None:
    """Write the motion of one person in metres, y up, from a T-pose that faces +z; frames keep their times.

    Raises:
        InvalidFile: as `animation_of`.
    """
    (track,) = tracks
    animation = animation_of(track)
    document = _Document()
    document.add_joints(animation)
    document.add_body(animation)
    document.add_motion(animation)
    document.save(path)


class _Document:
    """A scene whose arrays are packed one after the other into one buffer."""

    def __init__(self) -> None:
        self.scene = gltf.GLTF2(
            asset=gltf.Asset(version="2.0", generator="Poselift"), scene=0, scenes=[gltf.Scene(nodes=[])]
        )
        self.packed = bytearray()

    def add_joints(self, animation: Animation) -> None:
        """A node for each joint, the first ones of the document, in the T-pose; and the skin that they move."""
        offsets = animation.offsets.copy()
        places = rest_positions(animation)
        offsets[0] = places[0]
        children: dict[int, list[int]] = {number: [] for number in range(len(JOINTS))}
        for number, joint in enumerate(JOINTS[1:], start=1):
            children[joint.parent].append(number)
        self.scene.nodes = [
            gltf.Node(name=name, translation=offset.tolist(), children=children[number])
            for number, (name, offset) in enumerate(zip(NAMES, offsets, strict=True))
        ]
        inverse = np.tile(np.eye(4), (len(JOINTS), 1, 1))
        inverse[:, 3, :3] = -places  # by columns, as glTF stores them
        self.scene.skins = [
            gltf.Skin(joints=list(range(len(JOINTS))), inverseBindMatrices=self._add(inverse, "f4"), skeleton=0)
        ]
        self.scene.scenes[0].nodes.append(0)

    def add_body(self, animation: Animation) -> None:
        """The mesh, at the root of the scene: it stands where the joints are."""
        body = body_of(animation)
        joints = np.zeros((len(body.joints), 4))
        weights = np.zeros_like(joints)
        joints[:, 0], weights[:, 0] = body.joints, 1
        attributes = gltf.Attributes(
            POSITION=self._add(body.positions, "f4", gltf.ARRAY_BUFFER, bounds=True),
            NORMAL=self._add(body.normals, "f4", gltf.ARRAY_BUFFER),
            JOINTS_0=self._add(joints, "u1", gltf.ARRAY_BUFFER),
            WEIGHTS_0=self._add(weights, "f4", gltf.ARRAY_BUFFER),
        )
        indices = self._add(body.triangles.ravel(), "u2", gltf.ELEMENT_ARRAY_BUFFER)
        surface = gltf.PbrMetallicRoughness(baseColorFactor=_SKIN_COLOUR, metallicFactor=0.0, roughnessFactor=0.8)
        self.scene.materials = [gltf.Material(name="Body", pbrMetallicRoughness=surface)]
        primitive = gltf.Primitive(attributes=attributes, indices=indices, material=0)
        self.scene.meshes = [gltf.Mesh(name="Body", primitives=[primitive])]
        self.scene.scenes[0].nodes.append(len(self.scene.nodes))
        self.scene.nodes.append(gltf.Node(name="Body", mesh=0, skin=0))

    def add_motion(self, animation: Animation) -> None:
        """The path of the root, and the rotations of all joints that turn."""
        times = self._add(animation.times_s, "f4", bounds=True)
        motion = gltf.Animation(name="Motion")
        self._animate(motion, 0, "translation", times, animation.root)
        for number in range(len(JOINTS)):
            rotations = np.roll(animation.rotations[:, number], -1, axis=-1)  # x, y, z, w
            if number == 0 or np.ptp(rotations, axis=0).any():
                self._animate(motion, number, "rotation", times, rotations)
        self.scene.animations = [motion]

    def _animate(self, motion: gltf.Animation, node: int, path: str, times: int, values: NDArray[np.float64]) -> None:
        target = gltf.AnimationChannelTarget(node=node, path=path)
        motion.channels.append(gltf.AnimationChannel(sampler=len(motion.samplers), target=target))
        motion.samplers.append(
            gltf.AnimationSampler(input=times, output=self._add(values, "f4"), interpolation="LINEAR")
        )

    def _add(
        self, values: NDArray[np.floating | np.integer], dtype: str, target: int | None = None, *, bounds: bool = False
    ) -> int:
        """Pack an array [N, ...] and return the number of its accessor."""
        array = np.ascontiguousarray(values, dtype=f"<{dtype}")
        self.packed += bytes(-len(self.packed) % 4)
        view = gltf.BufferView(buffer=0, byteOffset=len(self.packed), byteLength=array.nbytes, target=target)
        self.packed += array.tobytes()
        self.scene.bufferViews.append(view)
        accessor = gltf.Accessor(
            bufferView=len(self.scene.bufferViews) - 1,
            byteOffset=0,
            componentType=_COMPONENTS[dtype],
            count=len(array),
            type=_TYPES[array.shape[1:]],
        )
        if bounds:
            accessor.min, accessor.max = (np.atleast_1d(edge(axis=0)).tolist() for edge in (array.min, array.max))
        self.scene.accessors.append(accessor)
        return len(self.scene.accessors) - 1

    def save(self, path: Path) -> None:
        self.scene.buffers = [gltf.Buffer(byteLength=len(self.packed))]
        self.scene.set_binary_blob(bytes(self.packed))
        path.write_bytes(b"".join(self.scene.save_to_bytes()))
