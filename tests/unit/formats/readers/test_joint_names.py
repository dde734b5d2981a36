"""Joints by name: the spellings, and the skeleton that a list of names means."""

import pytest

from poselift.errors import InvalidFile
from poselift.formats.readers.joint_names import joints_named, skeleton_of
from poselift.skeletons import SKELETONS

SPELLINGS = {
    "left_shoulder": "LShoulder left_shoulder LeftShoulder l_shoulder leftShoulder LEFT-SHOULDER shoulder.L",
    "right_eye": "REye right_eye RightEye r_eye",
    "right_ear": "REar right_ear rear",
    "left_eye_inner": "left_eye_inner LEyeInner left_inner_eye",
    "right_mouth": "mouth_right MOUTH_RIGHT RightMouth",
    "left_big_toe": "LBigToe left_foot_index left_big_toe LToe",
    "right_hip": "hip1 RHip right_hip",
    "left_ankle": "ankle2 LAnkle l_ank",
    "left_index": "left_index LIndex",
    "pelvis": "Hip MidHip pelvis HipCenter root",
    "nose": "nose Nose NOSE",
    "neck": "neck Neck",
}


@pytest.mark.parametrize(("joint", "spelling"), [(j, s) for j, words in SPELLINGS.items() for s in words.split()])
def test_spellings(joint, spelling):
    assert joints_named(spelling)[0] == joint


def test_a_name_of_two_words():
    assert joints_named("left shoulder") == ("left_shoulder",)


@pytest.mark.parametrize("spelling", ["", "l", "left", "snout", "tail_base", "RASI", "frame", "hip3", "lefty_knee"])
def test_names_of_no_joint(spelling):
    assert joints_named(spelling) == ()


@pytest.mark.parametrize(
    "name", sorted(SKELETONS.keys() - {"h36m16", "mpi17", "wholebody133", "wholebody134", "halpe136"})
)
def test_our_own_names_mean_their_skeleton(name):
    skeleton, places = skeleton_of(SKELETONS[name].joint_names)
    assert skeleton.name == name
    assert places == list(range(skeleton.n_joints))


HALPE = (
    "Hip RHip RKnee RAnkle RBigToe RSmallToe RHeel LHip LKnee LAnkle LBigToe LSmallToe LHeel Neck Head Nose RShoulder "
    "RElbow RWrist LShoulder LElbow LWrist"
)
MPII = (
    "ankle1 knee1 hip1 hip2 knee2 ankle2 wrist1 elbow1 shoulder1 shoulder2 elbow2 wrist2 chin forehead"  # DeepLabCut's
)


@pytest.mark.parametrize(
    ("names", "skeleton", "there"),
    [
        (HALPE, "halpe26", {"pelvis": "Hip", "head_top": "Head", "neck": "Neck", "left_big_toe": "LBigToe"}),
        (MPII, "coco17", {"right_hip": "hip1", "left_wrist": "wrist2"}),
        (
            "Hip RHip RKnee RFoot LHip LKnee LFoot Spine Thorax Neck/Nose Head LShoulder LElbow LWrist RShoulder "
            "RElbow RWrist RAnkle LAnkle",
            "h36m17",
            {"pelvis": "Hip", "neck_nose": "Neck/Nose", "head": "Head"},
        ),
    ],
)
def test_the_skeleton_that_keeps_most(names, skeleton, there):
    spellings = names.split()
    chosen, places = skeleton_of(spellings)
    assert chosen.name == skeleton
    for joint, spelling in there.items():
        place = places[chosen.joint_names.index(joint)]
        assert place is not None
        assert spellings[place] == spelling


def test_names_that_are_no_persons_say_what_is_needed():
    with pytest.raises(InvalidFile, match=r"named snout, leftear, tailbase; needed are .* no left_shoulder") as refusal:
        skeleton_of(["snout", "leftear", "tailbase"])
    assert "Rename" in refusal.value.message
