"""Results as files, in the forms that the command writes."""

from collections.abc import Sequence as Items
from typing import NamedTuple

from poselift.artifacts.manifest import Manifest
from poselift.errors import sentence_about
from poselift.formats.writers.pose_file import check_times, form_of, pack_poses
from poselift.formats.writers.track import LiftedTrack
from poselift_service.errors import InvalidRequest
from poselift_service.pipeline.request import LiftRequest

_MEDIA_TYPES = {
    "bvh": "text/plain; charset=utf-8",
    "csv": "text/csv; charset=utf-8",
    "glb": "model/gltf-binary",
    "npz": "application/x-npz",
    "parquet": "application/vnd.apache.parquet",
    "trc": "text/tab-separated-values; charset=utf-8",
    "zip": "application/zip",
}
_BINARY = "application/octet-stream"


class PoseFile(NamedTuple):
    """A file of poses; of several people, an archive if each has a file of their own."""

    name: str
    media_type: str
    content: bytes


def check_form(name: str, request: LiftRequest) -> None:
    """Check that a form of files can hold the poses of a request, before they are computed.

    Raises:
        InvalidRequest: it needs a package that the server does not have.
        InvalidFile: it cannot hold them.
    """
    form = form_of(name)
    try:
        form.load()
    except ModuleNotFoundError as error:
        raise InvalidRequest(f"This server cannot write {name}. {sentence_about(error)}", path="format") from None
    check_times(form, [track.sequence.times_s for track in request.tracks])


def write_file(form_name: str, manifest: Manifest, tracks: Items[LiftedTrack]) -> PoseFile:
    """Write poses with their times to a file. To be called in a thread."""
    name, content = pack_poses(form_of(form_name), manifest, tracks)
    return PoseFile(name, _MEDIA_TYPES.get(name.rpartition(".")[2], _BINARY), content)
