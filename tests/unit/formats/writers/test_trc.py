"""Poses as TRC, read by a parser that knows the format and nothing of the writer."""

import numpy as np
import pytest

from poselift.formats.writers.trc import write_trc
from tests.unit.formats.writers.lifted_tracks import EXACT_M, MANIFEST, track_of


def parse_trc(text):
    """As OpenSim's description of the format says: header cells, marker names, times, positions."""
    lines = text.split("\n")
    assert lines[0].split("\t")[:3] == ["PathFileType", "4", "(X/Y/Z)"]
    header = dict(zip(lines[1].split("\t"), lines[2].split("\t"), strict=True))
    names = [cell for cell in lines[3].split("\t")[2:] if cell]
    rows = [[float(cell) for cell in line.split("\t")] for line in lines[5:] if line.strip()]
    numbers = np.array(rows)
    assert lines[4].split("\t")[2:] == [f"{axis}{n}" for n in range(1, len(names) + 1) for axis in "XYZ"]
    assert (int(header["NumFrames"]), int(header["NumMarkers"])) == (len(rows), len(names))
    return header, names, numbers[:, 0], numbers[:, 1], numbers[:, 2:].reshape(len(rows), len(names), 3)


@pytest.mark.parametrize("first_frame", [0, 15])
def test_an_independent_parser_reads_it(tmp_path, first_frame):
    track = track_of(first_frame=first_frame)
    write_trc(tmp_path / "walk.trc", MANIFEST, [track])
    text = (tmp_path / "walk.trc").read_text()
    header, names, frames, times_s, positions = parse_trc(text)
    assert text.startswith("PathFileType\t4\t(X/Y/Z)\twalk.trc\n")
    assert (header["Units"], header["DataRate"], header["OrigDataStartFrame"]) == ("m", "30", str(first_frame + 1))
    assert frames.tolist() == [first_frame + 1 + n for n in range(7)]
    np.testing.assert_allclose(times_s, track.times_s, atol=1e-6)
    camera = np.stack([-positions[..., 2], -positions[..., 1], -positions[..., 0]], axis=-1)
    np.testing.assert_allclose(camera, track.lifted.joints, atol=EXACT_M)
    assert names[:3] == ["Hip", "RHip", "RKnee"]
