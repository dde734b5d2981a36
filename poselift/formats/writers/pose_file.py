"""Write poses to a file whose ending says how, whole or not at all."""

import functools
import importlib
import io
import re
import shutil
import sys
import tempfile
import zipfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple, cast

import numpy as np
from numpy.typing import NDArray

from poselift.artifacts.manifest import Manifest
from poselift.errors import InvalidFile
from poselift.formats.writers.markers import MAX_C3D_FRAMES, even_times
from poselift.formats.writers.track import LiftedTrack
from poselift.input_warnings import InputWarning

Write = Callable[[Path, Manifest, Sequence[LiftedTrack]], None]


class Form(NamedTuple):
    """A form that poses are written in.

    Attributes:
        ending: of the names of its files.
        function: that writes it, with its module, which is imported on demand: it may need an optional package.
        holds_one_person: whether each person has a file of their own.
        has_constant_rate: whether poses at uneven times are interpolated.
        needs_world: whether it holds motion in the world, and no poses before a camera.
        holds_warnings: whether what is likely wrong with the input is written, too.
        max_frames: of one file, if it has a limit.
    """

    ending: str
    function: str
    holds_one_person: bool = False
    has_constant_rate: bool = False
    needs_world: bool = False
    holds_warnings: bool = False
    max_frames: int | None = None

    def load(self, warnings: Sequence[InputWarning] = ()) -> Write:
        """The function that writes this form, with warnings about the input if it holds them.

        Raises:
            ModuleNotFoundError: an optional package is not installed.
        """
        module, _, name = self.function.rpartition(".")
        write = getattr(importlib.import_module(f"poselift.formats.writers.{module}"), name)
        return cast(Write, functools.partial(write, warnings=warnings) if self.holds_warnings else write)


# Longer endings come first.
FORMS = (
    Form(".json", "json.write_json", holds_warnings=True),
    Form(".npz", "npz.write_npz"),
    Form(".wide.csv", "csv.write_wide_csv"),
    Form(".angles.csv", "angles.write_angles_csv", needs_world=True),
    Form(".csv", "csv.write_csv"),
    Form(".parquet", "parquet.write_parquet"),
    Form(".trc", "trc.write_trc", holds_one_person=True, has_constant_rate=True),
    Form(".c3d", "c3d.write_c3d", holds_one_person=True, has_constant_rate=True, max_frames=MAX_C3D_FRAMES),
    Form(".mixamo.bvh", "rig.bvh.write_mixamo_bvh", holds_one_person=True, has_constant_rate=True, needs_world=True),
    Form(".lafan1.bvh", "rig.bvh.write_lafan1_bvh", holds_one_person=True, has_constant_rate=True, needs_world=True),
    Form(".bvh", "rig.bvh.write_bvh", holds_one_person=True, has_constant_rate=True, needs_world=True),
    Form(".glb", "rig.glb.write_glb", holds_one_person=True, needs_world=True),
)


def form_of(name: str) -> Form:
    """The form that the ending of a file's name, or the name of a form such as `csv`, stands for.

    Raises:
        InvalidFile: there is no such form; the message lists them.
    """
    for form in FORMS:
        if f".{name.lower()}".endswith(form.ending):
            return form
    raise InvalidFile(f"{name}: poses are written as {', '.join(form.ending for form in FORMS)}.")


def check_times(form: Form, people: Sequence[NDArray[np.float64]]) -> None:
    """Check that a form can hold the poses of people, before they are lifted.

    Args:
        people: the times [F] of each person's poses, seconds.
    Raises:
        InvalidFile: they are too many, or too far apart.
    """
    for times_s in people:
        even_s = even_times(times_s) if form.has_constant_rate else None
        frames = len(times_s if even_s is None else even_s)
        if form.max_frames is not None and frames > form.max_frames:
            raise InvalidFile(
                f"{form.ending} files hold {form.max_frames} frames and these are {frames}; write .trc or .parquet, or "
                "lift the recording in parts."
            )


def write_poses(
    path: Path,
    form: Form,
    manifest: Manifest,
    tracks: Sequence[LiftedTrack],
    warnings: Sequence[InputWarning] = (),
) -> list[Path]:
    """Write the poses of every person. A file that exists is replaced once the new one is complete.

    Returns:
        The files: `path`, or, if the form holds one person and there are several, one for each with their identity
        before the ending.
    Raises:
        InvalidFile: the form cannot hold these poses.
        OSError: a file cannot be written; nothing is left of it.
    """
    write = form.load(warnings)
    if not form.holds_one_person or len(tracks) == 1:
        _write_whole(path, write, manifest, tracks)
        return [path]
    paths = _paths_of_people(path, form, tracks)
    for track, own_path in zip(tracks, paths, strict=True):
        _write_whole(own_path, write, manifest, [track])
    return paths


def print_poses(
    form: Form, manifest: Manifest, tracks: Sequence[LiftedTrack], warnings: Sequence[InputWarning] = ()
) -> None:
    """Write the poses to standard output.

    Raises:
        InvalidFile: the form cannot hold these poses.
        OSError: standard output cannot be written to.
    """
    write = form.load(warnings)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"poses{form.ending}"
        write(path, manifest, tracks)
        with path.open("rb") as file:
            shutil.copyfileobj(file, sys.stdout.buffer)
        sys.stdout.flush()  # so that a full disk is noticed here


class Packed(NamedTuple):
    """A file of poses, or a zip archive of one for each person."""

    name: str
    content: bytes


def pack_poses(
    form: Form, manifest: Manifest, tracks: Sequence[LiftedTrack], warnings: Sequence[InputWarning] = ()
) -> Packed:
    """Write the poses of every person into one file in memory; raises as `write_poses` does."""
    with tempfile.TemporaryDirectory(prefix="poselift-") as folder:
        path = Path(folder) / f"poses{form.ending}"
        paths = write_poses(path, form, manifest, tracks, warnings)
        if paths == [path]:
            return Packed(path.name, path.read_bytes())
        archive = io.BytesIO()
        with zipfile.ZipFile(archive, "w") as packed:
            for one in paths:
                packed.write(one, one.name)
        return Packed(f"{path.name}.zip", archive.getvalue())


def usable_forms(*, world: bool) -> list[Form]:
    """The forms that need no package which is not installed, and motion in the world only if it is there."""
    return [form for form in FORMS if _is_usable(form) and (world or not form.needs_world)]


def _is_usable(form: Form) -> bool:
    try:
        form.load()
    except ModuleNotFoundError:
        return False
    return True


def _paths_of_people(path: Path, form: Form, tracks: Sequence[LiftedTrack]) -> list[Path]:
    """`poses_7.trc` for person 7; characters that not every file system takes become `_`."""
    has_ending = path.name.lower().endswith(form.ending)
    stem = path.name[: -len(form.ending)] if has_ending else path.stem
    ending = path.name[len(stem) :]
    paths: list[Path] = []
    for number, track in enumerate(tracks):
        person = re.sub(r"[^\w.-]", "_", str(track.track_id))[:100]
        own_path = path.with_name(f"{stem}_{person}{ending}")
        paths.append(own_path if own_path not in paths else path.with_name(f"{stem}_{person}_{number}{ending}"))
    return paths


def _write_whole(path: Path, write: Write, manifest: Manifest, tracks: Sequence[LiftedTrack]) -> None:
    with _replacing(path) as temporary:
        write(temporary, manifest, tracks)


@contextmanager
def _replacing(path: Path) -> Iterator[Path]:
    """A path of the same name in a folder of its own, whose file takes the place of `path` in the end."""
    target = path.resolve()
    if target.exists() and not target.is_file():  # a device or a pipe
        with tempfile.TemporaryDirectory() as folder:
            yield Path(folder) / path.name
            with (Path(folder) / path.name).open("rb") as file, target.open("wb") as device:
                shutil.copyfileobj(file, device)
        return
    try:
        folder = tempfile.mkdtemp(prefix=".poselift-", dir=target.parent)
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from error
    try:
        yield Path(folder) / path.name
        (Path(folder) / path.name).replace(target)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
