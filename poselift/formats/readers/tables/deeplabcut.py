"""DeepLabCut's tables: columns under rows of names, scorer to coords, in CSV and in HDF5."""

from collections.abc import Sequence

from poselift.errors import InvalidFile
from poselift.formats.readers.recording import Recording
from poselift.formats.readers.tables.rows import Rows, blank, frames_of
from poselift.formats.readers.tables.table import Table

_COLUMNS = {"x": 0, "y": 1, "likelihood": 2}


def is_deeplabcut(table: Table) -> bool:
    """Whether rows of names begin as DeepLabCut's."""
    return table.header[0][0].lower() == "scorer"


def read_deeplabcut(table: Table) -> Recording:
    """Read the columns x, y and likelihood of each body part, of one or several individuals.

    Frames are numbered by the first column, or by the names of pictures in it.

    Raises:
        InvalidFile: a row of names is missing, or the body parts are not those of a person.
    """
    levels = {row[0].lower(): row for row in table.header}
    if not {"bodyparts", "coords"} <= levels.keys():
        raise InvalidFile("it begins as a table of DeepLabCut, and has no rows that begin with bodyparts and coords.")
    coords, bodyparts = levels["coords"], levels["bodyparts"]
    individuals = levels.get("individuals", [""] * len(coords))
    data = [column for column, axis in enumerate(coords) if axis.lower() in _COLUMNS and column]
    if not data:
        raise InvalidFile("its row coords names no x and y.")
    joints = list(dict.fromkeys(bodyparts[column] for column in data))
    people = list(dict.fromkeys(individuals[column] for column in data))
    keypoints = blank(len(people), len(table.numbers), len(joints))
    for column in data:
        place = people.index(individuals[column]), slice(None), joints.index(bodyparts[column])
        keypoints[(*place, _COLUMNS[coords[column].lower()])] = table.numbers[:, column]
    frames = frames_of(table, _index_column(table, data), None)
    if len(set(frames)) < len(frames):
        raise InvalidFile("a frame is there twice; the table holds several videos. Keep the rows of one.")
    return Rows(
        keypoints.reshape(-1, len(joints), 3),
        joints,
        frames * len(people),
        _identities(people, len(frames)),
    ).recording()


def _index_column(table: Table, data: Sequence[int]) -> int:
    """The last column before the data: frame numbers, or names of pictures."""
    return max(min(data) - 1, 0)


def _identities(people: Sequence[str], frames: int) -> list[str] | None:
    """Whose each row is; a table of one animal does not say."""
    return None if people == [""] else [person for person in people for _ in range(frames)]
