"""Reads files of detectors, each in a process of its own that can be ended and has limits."""

import asyncio
import json
import logging
import math
import os
import shutil
import sys
import tempfile
import time
from dataclasses import dataclass
from typing import Any

from poselift.input_warnings import InputWarning
from poselift_service.codecs.files.options import FileOptions
from poselift_service.errors import DeadlineExceeded, EngineFailed, InvalidRequest, Overloaded
from poselift_service.pipeline.request import Limits

_CHILD = "poselift_service.codecs.files.child"
# A file of 32 MB takes about 5 s.
_CPU_S = 15
# Of a file's process, above what its bytes may need; Python and NumPy take a part of it.
_MEMORY_BYTES = 512 * 1024 * 1024
# Numbers of a text take as many times its bytes while they are parsed.
_MEMORY_PER_BYTE = 32
_MAX_WAITING = 16
_RETRY_AFTER_S = 2.0

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class FileContent:
    """What is in a file.

    Attributes:
        body: of a `POST /lift` about its people.
        first_frame: number of its first frame.
        warnings: what is likely not what was meant.
    """

    body: bytes
    first_frame: int
    warnings: tuple[InputWarning, ...]


class FileReader:
    """Reads files as `poselift lift` does, some at a time."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._turns = asyncio.Semaphore(max(1, (os.cpu_count() or 1) // 2))
        self._waiting = 0

    async def read(self, file: bytes, options: FileOptions, deadline: float, *, is_folder: bool) -> FileContent:
        """Read a file.

        Args:
            deadline: moment of `time.monotonic()`.
            is_folder: whether it is a tar archive of the files in a folder.
        Raises:
            InvalidRequest: it cannot be read.
            Overloaded: too many files wait.
            DeadlineExceeded: it was not read in time.
        """
        if self._waiting >= _MAX_WAITING:
            raise Overloaded(_RETRY_AFTER_S, "Too many files wait to be read; try again later.")
        self._waiting += 1
        try:
            async with asyncio.timeout(deadline - time.monotonic()), self._turns:
                return await self._read(file, self._task(file, options, is_folder=is_folder))
        except TimeoutError:
            raise DeadlineExceeded from None
        finally:
            self._waiting -= 1

    def _task(self, file: bytes, options: FileOptions, *, is_folder: bool) -> str:
        reading = {
            "skeleton": options.skeleton,
            "fps": options.fps,
            "image_size": options.size_px,
            "coordinates": options.coordinates,
            "track": options.track,
            "person": options.person,
            "strict": options.strict,
            "camera": options.camera,
            "about": options.person_known,
        }
        task = {
            "reading": reading,
            "is_folder": is_folder,
            "file_bytes": len(file),
            "memory_bytes": _MEMORY_BYTES + _MEMORY_PER_BYTE * len(file),
            "cpu_s": _CPU_S,
            "frames": self._limits.frames,
            "tracks": self._limits.tracks,
        }
        return json.dumps(task)

    async def _read(self, file: bytes, task: str) -> FileContent:
        folder = tempfile.mkdtemp(prefix="poselift-file-")
        try:
            code, answer, errors = await _run(folder, task, file)
        finally:  # in a thread: an archive may have thousands of files
            await asyncio.shield(asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True))
        if code == 0:
            return _content(answer)
        if code < 0:  # ended by a signal: by its limits, or by a crash in a library
            raise InvalidRequest("The file cannot be read within the limits of a request; use `poselift lift`.")
        logger.error("the process that reads a file failed: %s", errors.decode(errors="replace")[-2000:])
        raise EngineFailed("The file could not be read; the cause is in the server's log.")


async def _run(folder: str, task: str, file: bytes) -> tuple[int, bytes, bytes]:
    """Have a process read a file; its exit code, its answer, and what it complains about."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", _CHILD, folder, task),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=_environment(folder),
    )
    try:
        answer, errors = await process.communicate(file)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode is not None
    return process.returncode, answer, errors


def _environment(folder: str) -> dict[str, str]:
    """Only what Python needs: the server's own environment may hold secrets."""
    return {
        "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
        "PYTHONDONTWRITEBYTECODE": "1",
        "OPENBLAS_NUM_THREADS": "1",
        "OMP_NUM_THREADS": "1",
        "TMPDIR": folder,
    }


def _content(answer: bytes) -> FileContent:
    header, _, body = answer.partition(b"\n")
    said: dict[str, Any] = json.loads(header)
    if "error" in said:
        raise InvalidRequest(said["error"], path=said.get("path"))
    warnings = tuple(InputWarning(**warning) for warning in said["warnings"])
    first_frame = said["first_frame"]
    assert isinstance(first_frame, int)
    assert math.isfinite(first_frame)
    return FileContent(body, first_frame, warnings)
