"""Motion as GLB: what glTF asks of its arrays, and where its animation moves the joints."""

import itertools
import json
import struct

import numpy as np
import pytest

from poselift.formats.writers.rig.quaternions import product, turn
from poselift.formats.writers.rig.skeleton import H36M, PLACES
from tests.unit.formats.writers.lifted_tracks import EXACT_M, MANIFEST
from tests.unit.formats.writers.world_motions import moving_track, t_pose

pytest.importorskip("pygltflib")

DTYPES = {5126: "<f4", 5123: "<u2", 5121: "u1"}
WIDTHS = {"SCALAR": 1, "VEC3": 3, "VEC4": 4, "MAT4": 16}


class Scene:
    """A GLB file, parsed as the specification describes it."""

    def __init__(self, path):
        content = path.read_bytes()
        magic, version, length, json_bytes, json_type = struct.unpack_from("<4sIII4s", content)
        assert (magic, version, length, json_type) == (b"glTF", 2, len(content), b"JSON")
        self.document = json.loads(content[20 : 20 + json_bytes])
        self.binary = content[28 + json_bytes :]
        assert self.document["buffers"] == [{"byteLength": len(self.binary)}]

    def array(self, number):
        accessor = self.document["accessors"][number]
        view = self.document["bufferViews"][accessor["bufferView"]]
        dtype, width = np.dtype(DTYPES[accessor["componentType"]]), WIDTHS[accessor["type"]]
        first = view["byteOffset"] + accessor.get("byteOffset", 0)
        assert first % dtype.itemsize == 0
        flat = np.frombuffer(self.binary, dtype, accessor["count"] * width, first)
        return flat.reshape(-1, width).astype(np.float64)

    def animated(self):
        """Times [F], and positions and rotations (w, x, y, z) of all nodes in the world: [F, 3], [F, 4] by name."""
        (animation,) = self.document["animations"]
        moved = {}
        for channel in animation["channels"]:
            sampler = animation["samplers"][channel["sampler"]]
            times = self.array(sampler["input"])[:, 0]
            assert sampler["interpolation"] == "LINEAR"
            moved[channel["target"]["node"], channel["target"]["path"]] = self.array(sampler["output"])
        positions, rotations = {}, {}
        ones = np.ones((len(times), 1))

        def walk(number, position, rotation):
            node = self.document["nodes"][number]
            offset = moved.get((number, "translation"), ones * node.get("translation", [0, 0, 0]))
            x, y, z, w = moved.get((number, "rotation"), ones * node.get("rotation", [0, 0, 0, 1])).T
            positions[node["name"]] = position + turn(rotation, offset)
            rotations[node["name"]] = product(rotation, np.stack([w, x, y, z], axis=1))
            for child in node.get("children", []):
                walk(child, positions[node["name"]], rotations[node["name"]])

        for root in self.document["scenes"][0]["nodes"]:
            walk(root, np.zeros((len(times), 3)), ones * [1, 0, 0, 0])
        return times, positions, rotations


def written(path, track):
    from poselift.formats.writers.rig.glb import write_glb

    write_glb(path, MANIFEST, [track])
    return Scene(path)


def test_the_animation_moves_the_joints_where_they_are(tmp_path):
    times_s = np.cumsum(np.random.default_rng(0).uniform(0.01, 0.2, 40))  # as uneven as they come
    track = moving_track(frames=40, times_s=times_s - times_s[0])
    times, positions, rotations = written(tmp_path / "walk.glb", track).animated()
    np.testing.assert_allclose(times, track.times_s, atol=1e-6)
    for number, joint in enumerate(H36M.joint_names):
        if (name := PLACES[joint]) in positions:
            np.testing.assert_allclose(positions[name], track.world.poses[:, number], atol=EXACT_M, err_msg=joint)
    head = positions["Head"] + turn(rotations["Head"], np.tile(_head_bone(), (40, 1)))
    np.testing.assert_allclose(head, track.world.poses[:, H36M.joint_names.index("head")], atol=EXACT_M)


def _head_bone():
    from poselift.motion.rotations import rest_offsets
    from tests.unit.formats.writers.world_motions import BONES

    return rest_offsets(BONES)[H36M.joint_names.index("head")]


def test_neighbouring_rotations_have_close_signs(tmp_path):
    scene = written(tmp_path / "walk.glb", moving_track(frames=200))
    for sampler in scene.document["animations"][0]["samplers"]:
        values = scene.array(sampler["output"])
        if values.shape[1] == 4:
            np.testing.assert_allclose(np.linalg.norm(values, axis=1), 1, atol=1e-6)
            assert ((values[1:] * values[:-1]).sum(1) > 0).all()


def test_the_body_stands_on_the_ground_around_its_skeleton(tmp_path):
    scene = written(tmp_path / "t.glb", t_pose())
    _, positions, _ = scene.animated()
    (skin,) = scene.document["skins"]
    (mesh,) = scene.document["meshes"]
    names = [scene.document["nodes"][joint]["name"] for joint in skin["joints"]]
    inverse = scene.array(skin["inverseBindMatrices"]).reshape(-1, 4, 4)
    at_rest = -inverse[:, 3, :3]  # stored by columns
    shift = positions["Hips"][0] - at_rest[0]  # the bind pose stands over the origin, the motion where the person is
    np.testing.assert_allclose(at_rest + shift, np.stack([positions[name][0] for name in names]), atol=1e-6)
    (primitive,) = mesh["primitives"]
    vertices, normals, joints, weights = (
        scene.array(primitive["attributes"][name]) for name in ("POSITION", "NORMAL", "JOINTS_0", "WEIGHTS_0")
    )
    assert vertices[:, 1].min() == pytest.approx(0, abs=0.01)
    assert 1.6 < vertices[:, 1].max() < 1.85
    np.testing.assert_allclose(weights.sum(1), 1)
    assert joints.max() < len(names)
    # No vertex is far from the joint that moves it, and all faces look outwards.
    assert np.linalg.norm(vertices - at_rest[joints[:, 0].astype(int)], axis=1).max() < 0.6
    corners = vertices[scene.array(primitive["indices"]).astype(int).reshape(-1, 3)]
    middles = np.stack([vertices[joints[:, 0] == joint].mean(0) for joint in np.unique(joints[:, 0])])
    faces = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    owner = joints[scene.array(primitive["indices"]).astype(int).reshape(-1, 3)[:, 0], 0]
    outwards = corners.mean(1) - middles[np.searchsorted(np.unique(joints[:, 0]), owner)]
    assert ((faces * outwards).sum(1) > 0).mean() > 0.99
    np.testing.assert_allclose(np.linalg.norm(normals, axis=1), 1, atol=1e-5)


def test_nodes_are_a_tree(tmp_path):
    nodes = written(tmp_path / "walk.glb", moving_track()).document["nodes"]
    children = list(itertools.chain.from_iterable(node.get("children", []) for node in nodes))
    assert len(children) == len(set(children)) == len(nodes) - 2  # all but the hips and the body
