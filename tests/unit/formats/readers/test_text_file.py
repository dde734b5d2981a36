"""Text in the encodings that programs write."""

import codecs
import json

import pytest

from poselift.errors import InvalidFile
from poselift.formats.readers.keypoint_file import read_keypoints
from poselift.formats.readers.text_file import read_text
from tests.unit.formats.readers.detector_files import assert_keypoints, keypoints, request

ENCODINGS = {
    "utf-8": b"",
    "utf-8-sig": b"",
    "utf-16": b"",
    "utf-16-le": b"",
    "utf-16-be": b"",
    "utf-32": b"",
    "utf-16-be with a mark": codecs.BOM_UTF16_BE,
}


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_encodings(tmp_path, encoding):
    path = tmp_path / "a.txt"
    path.write_bytes(ENCODINGS[encoding] + "näse_x;1,5\n".encode(encoding.partition(" ")[0]))
    assert read_text(path).removeprefix("\ufeff") == "näse_x;1,5\n"


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_json_in_them(tmp_path, encoding):
    path = tmp_path / "a.json"
    path.write_text(json.dumps(request(keypoints())), encoding=encoding)
    assert_keypoints(read_keypoints(path).tracks[0].sequence, keypoints())


@pytest.mark.parametrize("content", [b"\xff\xfe\x00", b"na\xefve_x,nose_y,z\n1,2,3\n", b"\x89PNG\r\n\x1a\n\xff"])
def test_what_is_no_text_is_refused(tmp_path, content):
    (tmp_path / "a.txt").write_bytes(content)
    with pytest.raises(InvalidFile, match="neither text in UTF-8"):
        read_text(tmp_path / "a.txt")


def test_a_text_that_is_too_long_is_not_read(tmp_path):
    path = tmp_path / "a.json"
    with path.open("wb") as file:
        file.truncate(2**30)  # takes no space on the disk
    with pytest.raises(InvalidFile, match="it has 1073741824 bytes, more than"):
        read_text(path)
