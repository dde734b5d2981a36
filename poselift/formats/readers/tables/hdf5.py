"""HDF5 files: tables of DeepLabCut, which pandas writes, and the analysis files of SLEAP."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from poselift.errors import InvalidFile, PoseliftError
from poselift.formats.readers.archives.archive import MAX_NUMBERS
from poselift.formats.readers.archives.pickled import load_pickled
from poselift.formats.readers.recording import Recording
from poselift.formats.readers.tables.deeplabcut import read_deeplabcut
from poselift.formats.readers.tables.rows import Rows
from poselift.formats.readers.tables.table import Table

if TYPE_CHECKING:
    import h5py

_MAGIC = b"\x89HDF\r\n\x1a\n"
_MAX_NAMES = 20_000
_EXPORT = "export the keypoints as CSV, which is read, too"


def is_hdf5(path: Path) -> bool:
    """Whether a file is one of HDF5."""
    with path.open("rb") as file:
        return file.read(len(_MAGIC)) == _MAGIC


def read_hdf5(path: Path) -> Recording:
    """Read a table of DeepLabCut or an analysis file of SLEAP.

    Raises:
        InvalidFile: it is something else, or broken.
        ModuleNotFoundError: h5py is not installed.
    """
    with _opened(path) as file:
        if {"tracks", "node_names"} <= set(file):
            return _read_sleap(file)
        for key in file:
            group = file[key]
            if group.attrs.get("pandas_type") is not None:
                return read_deeplabcut(_pandas_table(group))
    raise InvalidFile(f"it is neither a table of DeepLabCut nor an analysis file of SLEAP; {_EXPORT}.")


@contextmanager
def _opened(path: Path) -> "Iterator[h5py.File]":
    """Open a file, and translate what h5py raises for broken ones, which has no class in common."""
    import h5py

    try:
        with h5py.File(path, "r") as file:
            yield file
    except PoseliftError:
        raise
    except Exception as error:
        raise InvalidFile(f"it is an HDF5 file that is cut off or broken; {_EXPORT}.") from error


def _array(group: Any, key: str, most: int = MAX_NUMBERS) -> NDArray[Any]:
    """A dataset in this file, within bounds.

    Raises:
        InvalidFile: there is none, it is too large, or its numbers lie in another file.
    """
    dataset = group.get(key)
    if dataset is None or not hasattr(dataset, "dtype"):
        raise InvalidFile(f"it has no dataset {key}; {_EXPORT}.", path=key)
    if dataset.external or dataset.is_virtual or dataset.file.filename != group.file.filename:
        raise InvalidFile(f"{key} lies in another file; {_EXPORT}.", path=key)
    n_numbers = dataset.size * max(dataset.dtype.itemsize // 8, 1)
    if n_numbers > most:
        raise InvalidFile(f"{key} has {n_numbers} numbers, more than the {most} that are read.", path=key)
    array: NDArray[Any] = dataset[()]
    return array


def _texts(array: NDArray[Any]) -> list[str]:
    return [text.decode("utf-8", "replace") if isinstance(text, bytes) else str(text) for text in array.tolist()]


def _read_sleap(file: "h5py.File") -> Recording:
    """Read `tracks` (people, 2, nodes, frames), `point_scores` (people, nodes, frames) and the names of the nodes."""
    nodes = _texts(_array(file, "node_names", _MAX_NAMES).ravel())
    tracks = _array(file, "tracks")
    if tracks.ndim != 4 or tracks.shape[1:3] != (2, len(nodes)) or tracks.dtype.kind != "f" or not tracks.size:
        raise InvalidFile(
            f"tracks must be numbers [people, 2, {len(nodes)} nodes, frames], not {tracks.dtype} {list(tracks.shape)}.",
            path="tracks",
        )
    people, _, _, frames = tracks.shape
    keypoints = np.ones((people, frames, len(nodes), 3))
    keypoints[..., :2] = tracks.transpose(0, 3, 2, 1)
    if "point_scores" in file:
        scores = _array(file, "point_scores")
        if scores.shape != (people, len(nodes), frames):
            raise InvalidFile(f"point_scores must be {[people, len(nodes), frames]}, not {list(scores.shape)}.")
        keypoints[..., 2] = scores.transpose(0, 2, 1)
    names = _texts(_array(file, "track_names", _MAX_NAMES).ravel()) if "track_names" in file else []
    if len(names) != people or len(set(names)) < people:
        names = [str(person) for person in range(people)]
    return Rows(
        keypoints.reshape(-1, len(nodes), 3),
        nodes,
        list(range(frames)) * people,
        None if people == 1 else [name for name in names for _ in range(frames)],
    ).recording()


def _pandas_table(group: Any) -> Table:
    """A data frame of numbers under names of several levels, as pandas keeps it in one of its two layouts."""
    kind = _attribute(group, "pandas_type")
    if kind == b"frame_table":
        return _appendable(group)
    if kind == b"frame" and _attribute(group, "axis0_variety") == b"multi":
        return _fixed(group)
    raise InvalidFile(f"it holds a table of pandas that is not DeepLabCut's; {_EXPORT}.")


def _attribute(group: Any, key: str) -> bytes:
    value = group.attrs.get(key)
    if isinstance(value, str):
        return value.encode("latin-1", "replace")
    return bytes(value) if isinstance(value, bytes | np.bytes_) else b""


def _appendable(group: Any) -> Table:
    """The layout `table`: records of an index and one block of numbers; the names are pickled."""
    table = _array(group, "table")
    kinds = load_pickled(_attribute(group["table"], "values_block_0_kind"))
    levels = load_pickled(_attribute(group, "info"))
    names = levels.get("names") if isinstance(levels, dict) else None
    for value in levels.values() if isinstance(levels, dict) else ():
        if isinstance(value, dict) and isinstance(value.get("names"), list):
            names = value["names"]
    if not isinstance(kinds, list) or not isinstance(names, list) or "values_block_0" not in (table.dtype.names or ()):
        raise InvalidFile(f"it holds a table of pandas that is not DeepLabCut's; {_EXPORT}.")
    return _table(names, [list(kind) for kind in kinds], table["values_block_0"], table["index"])


def _fixed(group: Any) -> Table:
    """The layout `fixed`: names as levels and codes, numbers in one block."""
    levels, names = [], []
    for level in range(int(group.attrs.get("block0_items_nlevels", 0))):
        dataset = group[f"block0_items_level{level}"]
        texts = _texts(_array(group, f"block0_items_level{level}", _MAX_NAMES))
        codes = _array(group, f"block0_items_label{level}", _MAX_NAMES)
        levels.append([texts[code] for code in codes.tolist()])
        names.append(_attribute(dataset, "name").decode("utf-8", "replace"))
    index = _array(group, "axis1") if "axis1" in group else None
    return _table(names, list(zip(*levels, strict=True)), _array(group, "block0_values"), index)


def _table(names: Any, columns: Any, values: NDArray[Any], index: NDArray[Any] | None) -> Table:
    """The table that the CSV of the same numbers would be."""
    if values.ndim == 1:
        values = values[:, None]
    if values.ndim != 2 or values.dtype.kind != "f" or len(columns) != values.shape[1] or not len(values):
        raise InvalidFile(f"it holds a table of pandas that is not DeepLabCut's; {_EXPORT}.")
    header = [[str(name), *(str(column[level]) for column in columns)] for level, name in enumerate(names)]
    numbers = np.concatenate([np.arange(len(values), dtype=np.float64)[:, None], values.astype(np.float64)], axis=1)
    texts = {}
    if index is not None and index.dtype.kind == "i":
        numbers[:, 0] = index
    elif index is not None and index.dtype.kind in "SO":
        texts[0] = _texts(index)
    return Table(header, numbers, texts)
