"""TRC files in pixels, as Sports2D writes them."""

import numpy as np
import pytest

from poselift.errors import InvalidFile
from poselift.skeletons import SKELETONS
from tests.unit.formats.readers.tables.tables import COCO, read

MARKERS = (
    "Hip RHip RKnee RAnkle RBigToe RSmallToe RHeel LHip LKnee LAnkle LBigToe LSmallToe LHeel Neck Head Nose RShoulder "
    "RElbow RWrist LShoulder LElbow LWrist"
).split()


def of_marker(name):
    """Our name of a marker that COCO has, too."""
    side = {"R": "right_", "L": "left_"}.get(name[0], "")
    joint = (side + name[1:] if side else name).lower()
    return joint if joint in COCO else None


def trc(detected, *, depth=0.0, scale=1.0, fps=60.0, times=None, end="\t", line_end="\n"):
    """As Sports2D's `make_trc_with_trc_data`; markers that COCO lacks lie at the nose."""
    count = len(MARKERS)
    names = ["PathFileType\t4\t(X/Y/Z)\tclip_px_person00.trc"]
    names.append("DataRate\tCameraRate\tNumFrames\tNumMarkers\tUnits\tOrigDataRate\tOrigDataStartFrame\tOrigNumFrames")
    names.append(f"{fps}\t{fps}\t{len(detected)}\t{count}\tm\t{fps}\t0\t{len(detected)}")
    names.append("Frame#\tTime\t" + "\t\t\t".join(MARKERS) + "\t\t" + end)
    names.append("\t\t" + "\t".join(f"X{number}\tY{number}\tZ{number}" for number in range(1, count + 1)))
    for frame, joints in enumerate(detected):
        time = frame / 60 if times is None else times[frame]
        cells = [str(frame), f"{time}"]
        for marker in MARKERS:
            joint = of_marker(marker)
            x, y = joints[COCO.index(joint) if joint else 0, :2] * scale
            cells += ["", "", ""] if np.isnan(x) else [f"{x:.6f}", f"{y:.6f}", str(depth * frame)]
        names.append("\t".join(cells))
    return line_end.join(names) + line_end


@pytest.mark.parametrize("end", ["", "\t"])
@pytest.mark.parametrize("line_end", ["\n", "\r\n"])
def test_sports2d_s_pixels(tmp_path, detected, end, line_end):
    holes = detected.copy()
    holes[2, COCO.index("left_wrist")] = holes[3, COCO.index("left_ankle")] = np.nan
    (tmp_path / "a.trc").write_bytes(trc(holes, end=end, line_end=line_end).encode())
    (track,), warnings = read(tmp_path / "a.trc", fps=None)
    assert (track.sequence.skeleton.name, warnings) == ("halpe26", ())
    np.testing.assert_allclose(track.sequence.times_s, np.arange(8) / 60)
    names = SKELETONS["halpe26"].joint_names
    for joint in filter(None, map(of_marker, MARKERS)):
        np.testing.assert_allclose(
            track.sequence.keypoints[:, names.index(joint), :2], holes[:, COCO.index(joint), :2], atol=1e-3
        )
    np.testing.assert_allclose(track.sequence.keypoints[:, names.index("pelvis"), :2], holes[:, 0, :2], atol=1e-3)
    assert np.isnan(track.sequence.keypoints[:, names.index("left_eye"), 0]).all()


def test_times_that_are_not_those_of_the_rate(tmp_path, detected):
    times = np.array([0, 0.1, 0.2, 0.35, 0.4, 0.5, 0.6, 0.7])
    (tmp_path / "a.trc").write_text(trc(detected, times=times))
    (track,), _ = read(tmp_path / "a.trc", fps=None)
    np.testing.assert_allclose(track.sequence.times_s, times)


CUT = trc(np.full((2, 17, 3), 500.0)).splitlines()


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (trc(np.full((2, 17, 3), 500.0), depth=0.3), "3D positions; lifting takes keypoints in pixels"),
        (trc(np.full((2, 17, 3), 500.0), scale=0.002), "reach 1, so they are metres"),
        ("\n".join(CUT[:3]), "no line of markers"),
        ("\n".join(CUT[:5]), "without frames"),
        ("\n".join([*CUT[:6], CUT[6][:100]]), "line 7 has .* cells, not 68"),
        ("\n".join([*CUT[:6], CUT[6].replace("500.0", "abc")]), r"line 7: 'abc.*' is no number"),
        ("\n".join([*CUT[:6], CUT[5]]), "a frame number is there twice"),
        ("\n".join([*CUT[:5], "0.5" + CUT[5][1:]]), "not numbered"),
        ("\n".join(CUT).replace("Shoulder", "ASIS"), "its joints are named Hip"),
    ],
)
def test_other_files_are_refused(tmp_path, content, complaint):
    (tmp_path / "a.trc").write_text(content)
    with pytest.raises(InvalidFile, match=complaint):
        read(tmp_path / "a.trc")
