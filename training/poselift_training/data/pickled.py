"""Safe reader of npz files that contain a pickled dict of arrays.

Human3.6M and MPI-INF-3DHP are distributed in npz files whose entries are pickled Python dicts. `numpy.load` with
`allow_pickle=True` would run any code that such a file names; this reader allows only what builds arrays, numbers and
text.
"""

import pickle
import zipfile
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from poselift.errors import InvalidDataset

_REBUILD_ARRAY = np.empty(0).__reduce__()[0]
_REBUILD_SCALAR = np.float64(0).__reduce__()[0]
_ALLOWED = {
    **{(f"numpy.{core}.multiarray", "_reconstruct"): _REBUILD_ARRAY for core in ("core", "_core")},
    **{(f"numpy.{core}.multiarray", "scalar"): _REBUILD_SCALAR for core in ("core", "_core")},
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): np.dtype,
    # Pickle protocol 2, used by older NumPy, stores the bytes of an array this way.
    ("_codecs", "encode"): lambda text, encoding: text.encode(encoding),
}


class _NotPlain(Exception):
    """An entry that is something else than a dict of plain values and arrays."""


class _ArrayUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        try:
            return _ALLOWED[module, name]
        except KeyError:
            raise _NotPlain(f"it asks for {module}.{name}") from None


def read_pickled_dict(file: Path, key: str) -> dict[Any, Any]:
    """Read one entry of an npz file that is a pickled dict.

    Args:
        key: name of the entry, such as `positions_3d`.
    Raises:
        InvalidDataset: the file is missing or not an npz file, has no such entry, or the entry is not a dict of plain
            values and arrays.
    """
    try:
        with zipfile.ZipFile(file) as archive, archive.open(f"{key}.npy") as entry:
            content = _read_object(entry)
    except FileNotFoundError:
        raise InvalidDataset(
            f"{file} is missing; --root, or data.root in a recipe, names the folder that holds it."
        ) from None
    except KeyError:
        raise InvalidDataset(f"{file} has no entry {key!r}; is it the file of another data set?") from None
    except _NotPlain as error:
        raise InvalidDataset(f"The entry {key!r} of {file} is no dictionary of plain arrays: {error}.") from None
    except Exception as error:  # a broken pickle raises nearly anything
        raise InvalidDataset(
            f"The entry {key!r} of {file} cannot be read as a dictionary of plain arrays; get the file again."
        ) from error
    if not isinstance(content, dict):
        raise InvalidDataset(f"The entry {key!r} of {file} is no dict.")
    return content


def _read_object(entry: Any) -> object:
    stream: BinaryIO = entry
    version = np.lib.format.read_magic(stream)
    read_header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, _, dtype = read_header(stream)
    if dtype != np.dtype(object) or shape != ():
        raise _NotPlain(f"it is an array of {dtype} with the shape {shape}")
    return _ArrayUnpickler(stream).load().item()
