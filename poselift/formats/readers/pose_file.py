"""Read any file of 3D poses with missing joints."""

from pathlib import Path

from poselift.errors import InvalidFile
from poselift.formats.readers.archives.archive import is_npz
from poselift.formats.readers.archives.poses import read_pose_npz
from poselift.formats.readers.json.json_file import load_json
from poselift.formats.readers.json.request import is_complete_request, read_complete_request
from poselift.formats.readers.keypoint_file import naming
from poselift.formats.readers.pose_recording import PoseRecording, PoseTrack


def read_poses(path: Path, *, skeleton: str | None = None, fps: float | None = None) -> list[PoseTrack]:
    """Read the people of a body of POST /complete, or of an npz archive. Arguments override what the file says.

    Args:
        skeleton: name of the skeleton; needed if the file does not say it.
        fps: frame rate in Hz, likewise.
    Returns:
        One track per person.
    Raises:
        InvalidFile, InvalidPoses, InvalidKeypoints, UnknownSkeleton: the message names the file and the field.
    """
    with naming(path):
        return _read_recording(path).overridden(skeleton, fps).tracks()


def _read_recording(path: Path) -> PoseRecording:
    if is_npz(path):
        return read_pose_npz(path)
    document = load_json(path)
    if is_complete_request(document):
        return read_complete_request(document)
    raise InvalidFile(
        "its form is not known; readable are a body of POST /complete and npz archives of poses. 2D keypoints are "
        "lifted and shown by `poselift lift --view`."
    )
