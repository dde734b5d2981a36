"""The clip that the tests come with."""

from pathlib import Path

from poselift_training.data.bvh import (
    put_on_floor,
    read_bvh,
    resample,
    seventeen_joints,
)
from poselift_training.data.clips import Clip

DATA = Path(__file__).parents[3] / "data"
CMU_UNIT_M = 0.0254 / 0.45


def clip(name="a", subject="05", split="train"):
    joints = seventeen_joints(resample(read_bvh(DATA / "cmu_05_15_cut.bvh").after(1), 50), CMU_UNIT_M)
    return Clip(name, subject, put_on_floor(joints), split, "CMU", "CMU terms", "dance")
