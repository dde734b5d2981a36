"""Read BVH and GLB with Blender itself: `make blender`."""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

from poselift.formats.writers.rig.skeleton import H36M, PLACES
from tests.e2e.recorded_motion import FPS, recorded_track, write_rig_files

# Runs in the Python that has Blender: prints the heads of all bones, [F, 3] by name, z up in metres.
READ = """
import json, sys
import bpy

path, frames = sys.argv[1], int(sys.argv[2])
bpy.ops.wm.read_factory_settings(use_empty=True)
bpy.context.scene.render.fps = int(sys.argv[3])
if path.endswith(".bvh"):
    bpy.ops.import_anim.bvh(filepath=path, global_scale=0.01)
else:
    bpy.ops.import_scene.gltf(filepath=path)
skeletons = [each for each in bpy.data.objects if each.type == "ARMATURE"]
assert len(skeletons) == 1, [each.type for each in bpy.data.objects]
first = int(skeletons[0].animation_data.action.frame_range[0])
places = {}
for frame in range(frames):
    bpy.context.scene.frame_set(first + frame)
    for bone in skeletons[0].pose.bones:
        places.setdefault(bone.name, []).append(list(skeletons[0].matrix_world @ bone.head))
print("PLACES", json.dumps(places))
"""
PLACES_M = 1e-5


def main(python: str) -> None:
    """Fail unless Blender has every joint where it is, in every file."""
    track = recorded_track()
    assert track.world is not None
    x, y, z = np.moveaxis(track.world.poses, -1, 0)
    expected = np.stack([x, -z, y], axis=-1)
    with tempfile.TemporaryDirectory() as name:
        write_rig_files(Path(name), track)
        for path in sorted(Path(name).iterdir()):
            arguments = [python, "-c", READ, str(path), str(len(expected)), str(FPS)]
            told = subprocess.run(arguments, capture_output=True, text=True, check=True).stdout
            places = json.loads(next(line for line in told.splitlines() if line.startswith("PLACES")).partition(" ")[2])
            prefix = "mixamorig:" if "mixamo" in path.name else ""
            found = {joint: places[prefix + PLACES[joint]] for joint in H36M.joint_names if joint != "head"}
            worst_m = max(
                np.abs(np.array(place) - expected[:, H36M.joint_names.index(joint)]).max()
                for joint, place in found.items()
            )
            sys.stdout.write(f"{path.name}: {len(places)} bones, {len(expected)} frames, within {worst_m:.1e} m\n")
            assert worst_m < PLACES_M, path.name


if __name__ == "__main__":
    main(sys.argv[1])
