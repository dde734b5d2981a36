"""Where a command writes poses, and in which form."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import typer

from poselift.cli.inputs import STDIN
from poselift.errors import InvalidFile

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from poselift.artifacts.manifest import Manifest
    from poselift.formats.writers.pose_file import Form
    from poselift.formats.writers.track import LiftedTrack
    from poselift.input_warnings import InputWarning

STDOUT = "-"


class Destination(NamedTuple):
    """Where the poses of one input go; `path` is None for standard output."""

    path: Path | None
    form: "Form"

    def check(self, times_s: "Sequence[NDArray[np.float64]]") -> None:
        """Check, before the work, that the form can hold people's poses at these times; raises InvalidFile."""
        from poselift.formats.writers.pose_file import check_times

        if self.path is None and self.form.holds_one_person and len(times_s) > 1:
            raise InvalidFile(
                f"{self.form.ending} holds one person and there are {len(times_s)}; name an output file (-o), and each "
                "gets one."
            )
        check_times(self.form, times_s)

    def write(
        self, manifest: "Manifest", tracks: "Sequence[LiftedTrack]", warnings: "Sequence[InputWarning]" = ()
    ) -> None:
        """Write the poses, and name the files if they have other names; raises as `write_poses` and `print_poses`."""
        from poselift.formats.writers.pose_file import print_poses, write_poses

        if self.path is None:
            print_poses(self.form, manifest, tracks, warnings)
            return
        self.path.parent.mkdir(parents=True, exist_ok=True)
        written = write_poses(self.path, self.form, manifest, tracks, warnings)
        if written != [self.path]:
            typer.echo(f"poselift: wrote {', '.join(map(str, written))}.", err=True)


def destinations(inputs: Sequence[str], output: str | None, form_name: str | None) -> list[Destination]:
    """Decide where the poses of each input go, before any work.

    Args:
        output: a file, a folder, or "-"; None for standard output.
        form_name: such as "csv"; None to go by the ending of the output, or for JSON.
    Raises:
        InvalidFile: the form is not known, the folder does not exist, two outputs would have one name, or an output
            would replace an input.
        ModuleNotFoundError: the form needs a package that is not installed.
    """
    from poselift.formats.writers.pose_file import form_of

    if output in (None, STDOUT):
        if len(inputs) > 1:
            raise InvalidFile(f"The poses of {len(inputs)} inputs are written into a folder; name one: -o FOLDER.")
        form = form_of(form_name or "json")
        form.load()
        return [Destination(None, form)]
    assert output is not None
    path = Path(output)
    if output.endswith(("/", os.sep)) or path.is_dir():
        form = form_of(form_name or "json")
        found = [Destination(path / f"{_stem(source)}{form.ending}", form) for source in inputs]
    elif len(inputs) > 1:
        raise InvalidFile(f"{output} is no folder, and the poses of {len(inputs)} inputs need one: -o {output}/")
    else:
        form = form_of(form_name or path.name)
        found = [Destination(path, form)]
        if not path.parent.is_dir():
            raise InvalidFile(f"{path.parent}: there is no such folder.")
    form.load()
    _check(inputs, [path for path, _ in found if path is not None])
    return found


def _stem(source: str) -> str:
    if source == STDIN:
        return "stdin"
    path = Path(os.path.abspath(source))  # noqa: PTH100 - a link keeps its own name
    return path.name if path.is_dir() else path.stem


def _check(inputs: Sequence[str], paths: Sequence[Path]) -> None:
    """Raise InvalidFile if outputs would replace each other, or an input."""
    sources = {Path(source).resolve(): source for source in inputs if source != STDIN}
    for number, path in enumerate(paths):
        if path in paths[:number]:
            first = inputs[paths.index(path)]
            raise InvalidFile(f"The poses of {first} and of {inputs[number]} would both be {path}; lift one at a time.")
        if path.resolve() in sources:
            raise InvalidFile(f"{path} is an input and would be replaced; choose another output.")
