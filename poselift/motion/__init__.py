"""From poses before a camera to motion in the world: upright, in metres, on the ground, on a rig.

Pure functions of poses, keypoints and what the caller knows; no network is needed, and the poses never change.

Letters: F frames, J = 17 joints of Human3.6M. Camera axes: x right, y down, z forward. World axes: x to the left of a
person who faces +z, y up, right-handed.
"""
