"""Reads one file in a process of its own: `python -m poselift_service.codecs.files.child FOLDER OPTIONS`.

The file arrives on standard input and is kept in FOLDER; a header and the body of `POST /lift` leave on standard
output. Whatever a file makes its reader do, it costs this process no more than its limits, and the server nothing.
"""

import contextlib
import json
import re
import resource
import shutil
import sys
import tarfile
from pathlib import Path
from typing import Any, NamedTuple

import orjson

from poselift.camera_fields import CameraFields, PersonFields
from poselift.errors import InvalidFile, sentence_about
from poselift.formats.readers.keypoint_file import read_keypoints
from poselift.formats.writers.request import request_document

_OPTION = re.compile(r"--([a-z]+(?:-[a-z]+)*)")


class Task(NamedTuple):
    """What a child does with a file.

    Attributes:
        reading: arguments of `read_keypoints`.
        is_folder: whether the file is a tar archive with the files of a folder.
        file_bytes: most bytes of all files in an archive.
        memory_bytes, cpu_s: what this process may take.
        frames, tracks: most of them that a request may have; more are not written out.
    """

    reading: dict[str, Any]
    is_folder: bool
    file_bytes: int
    memory_bytes: int
    cpu_s: int
    frames: int
    tracks: int


def main(folder: str, task_json: str) -> None:
    """Read the file, and print what is in it or why it cannot be read."""
    task = Task(**json.loads(task_json))
    _limit(task)
    path = Path(folder) / "file"
    try:
        with path.open("wb") as file:
            shutil.copyfileobj(sys.stdin.buffer, file)
        if task.is_folder:
            path = _unpacked(path, task)
        header, body = _read(path, task)
    except MemoryError:
        header, body = {"error": "It takes more memory to read than the server gives it; use `poselift lift`."}, b""
    except Exception as error:
        sentence = sentence_about(error)
        if sentence is None:
            raise
        header, body = {"error": _in_words_of_a_request(sentence, path), "path": getattr(error, "path", None)}, b""
    sys.stdout.buffer.write(orjson.dumps(header) + b"\n" + body)


def _limit(task: Task) -> None:
    limits = {
        resource.RLIMIT_AS: task.memory_bytes,
        resource.RLIMIT_CPU: task.cpu_s,
        resource.RLIMIT_FSIZE: task.file_bytes,
        resource.RLIMIT_CORE: 0,
    }
    for kind, limit in limits.items():
        with contextlib.suppress(ValueError, OSError):  # not every system has all of them
            resource.setrlimit(kind, (limit, limit))
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000")  # rather this process than the server


def _unpacked(archive: Path, task: Task) -> Path:
    """Unpack the plain files of a tar archive into one folder, under their own names."""
    folder = archive.with_name("files")
    folder.mkdir()
    with tarfile.open(archive, "r:") as tar:
        for number, member in enumerate(tar):
            if number >= task.frames:
                raise InvalidFile(f"It holds more than {task.frames} files.")
            name = Path(member.name).name
            if member.isreg() and name and not name.startswith("."):
                source = tar.extractfile(member)
                assert source is not None
                with (folder / name).open("wb") as file:
                    shutil.copyfileobj(source, file)
    return folder


def _read(path: Path, task: Task) -> tuple[dict[str, Any], bytes]:
    reading = dict(task.reading)
    size, camera, about = (reading.pop(name) for name in ("image_size", "camera", "about"))
    content = read_keypoints(
        path,
        image_size=None if size is None else tuple(size),
        camera=CameraFields(**camera) if camera else None,
        about=PersonFields(**about) if about else None,
        **reading,
    )
    frames, people = sum(len(track.sequence.times_s) for track in content.tracks), len(content.tracks)
    if frames > task.frames:
        raise InvalidFile(f"It holds {frames} frames, and a request at most {task.frames} (setting max_frames).")
    if people > task.tracks:
        raise InvalidFile(f"It holds {people} people, and a request at most {task.tracks} (setting max_tracks).")
    header = {"warnings": content.warnings, "first_frame": content.tracks[0].first_frame}
    return header, orjson.dumps(request_document(content.tracks), option=orjson.OPT_SERIALIZE_NUMPY)


def _in_words_of_a_request(sentence: str, path: Path) -> str:
    """Without the path, which is this process's own, and with options as those of a query are called."""
    plain = sentence.removeprefix(f"{path}: ").replace(str(path), "the file")
    plain = _OPTION.sub(lambda found: found[1].replace("-", "_"), plain)
    return plain[:1].upper() + plain[1:]


if __name__ == "__main__":
    main(*sys.argv[1:])
