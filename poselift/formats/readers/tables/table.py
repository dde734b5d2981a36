"""Text tables: columns of numbers under one or several rows of names."""

import csv
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from io import StringIO

import numpy as np
from numpy.typing import NDArray

from poselift.errors import InvalidFile
from poselift.formats.readers.archives.archive import MAX_NUMBERS

_MAX_COLUMNS = 20_000
_DELIMITERS = ",;\t"
_EMPTY = frozenset(("", "nan", "na", "n/a", "null", "none", "-"))
_DECIMAL_COMMA = re.compile(r"[+-]?\d*,\d+(?:[eE][+-]?\d+)?")


@dataclass(frozen=True)
class Table:
    """The content of a text table.

    Attributes:
        header: rows of C names, at least one.
        numbers: [R, C] float64; NaN where a cell is empty or a text.
        texts: the cells of the columns that hold texts, by column.
    """

    header: Sequence[Sequence[str]]
    numbers: NDArray[np.float64]
    texts: Mapping[int, Sequence[str]]

    def column(self, index: int) -> list[str]:
        """The cells of a column as texts, empty where one is missing; whole numbers without a decimal point."""
        if index in self.texts:
            return list(self.texts[index])
        numbers = self.numbers[:, index].tolist()
        return ["" if math.isnan(value) else f"{value:g}" if abs(value) < 1e6 else str(value) for value in numbers]


def is_table(text: str) -> bool:
    """Whether the first line of a text is one of names between commas, semicolons or tabs."""
    names = _cells(text)
    return len(names) >= 3 and sum(_number(name, decimal_comma=False) is None for name in names if name) >= 2


def _cells(text: str) -> list[str]:
    line = first_line(text)
    return [cell.strip() for cell in line.split(delimiter_of(line))]


def first_line(text: str) -> str:
    """The first line that is not empty."""
    return next((line for line in StringIO(text[:1_000_000]) if line.strip()), "").strip("\r\n")


def delimiter_of(line: str) -> str:
    """The separator that is most frequent in a line of names."""
    return max(_DELIMITERS, key=line.count)


def parse_table(text: str) -> Table:
    """Parse a table with one row of names, or DeepLabCut's with the rows from `scorer` to `coords`.

    Cells that are empty, or say that there is no number (`nan`, `NA`, `null`), are missing. A comma is a decimal comma
    where it does not separate cells.

    Raises:
        InvalidFile: a row has another number of cells, or a cell is no number; the message names the line.
    """
    delimiter = delimiter_of(first_line(text))
    rows = _rows(text, delimiter)
    header = _header(rows)
    if len(header[0]) > _MAX_COLUMNS:
        raise InvalidFile(f"it has {len(header[0])} columns, more than the {_MAX_COLUMNS} that are read.")
    numbers, texts = _body(rows, header, decimal_comma=delimiter != ",")
    return Table(header, numbers, texts)


def _rows(text: str, delimiter: str) -> Iterator[tuple[int, list[str]]]:
    """The line numbers and the cells of the rows that are not empty."""
    reader = csv.reader(StringIO(text, newline=""), delimiter=delimiter)
    try:
        for row in reader:
            cells = [cell.strip() for cell in row]
            if any(cells):
                yield reader.line_num, cells
    except csv.Error:
        raise InvalidFile(
            f"line {reader.line_num} is no row of a table: a quotation mark is not closed, or a cell is too long."
        ) from None


def _header(rows: Iterator[tuple[int, list[str]]]) -> list[list[str]]:
    header = []
    for _, cells in rows:
        header.append(cells)
        if header[0][0].lower() != "scorer" or cells[0].lower() == "coords":
            if len({len(row) for row in header}) > 1:
                raise InvalidFile("its rows of names are of different lengths.")
            return header
        if len(header) == 4:
            break
    raise InvalidFile("it begins as a table of DeepLabCut, and has no row that begins with coords.")


def _body(
    rows: Iterator[tuple[int, list[str]]], header: Sequence[Sequence[str]], *, decimal_comma: bool
) -> tuple[NDArray[np.float64], dict[int, list[str]]]:
    names = header[-1]
    values: list[NDArray[np.float64]] = []
    texts: dict[int, list[str]] = {}
    empty = set(range(len(names)))  # the first cell of a column that is not says whether it holds texts
    for line, cells in rows:
        if len(cells) != len(names) and not any(cells[len(names) :]):
            cells = cells[: len(names)]  # separators at the end of a line
        if len(cells) != len(names):
            raise InvalidFile(f"line {line} has {len(cells)} cells, not {len(names)} as the names above.")
        for column in sorted(empty):
            number = _number(cells[column], decimal_comma)
            if number is None:
                texts[column] = [""] * len(values)
            if number is None or not math.isnan(number):
                empty.remove(column)
        for column, found in texts.items():
            found.append(cells[column])
        values.append(_numbers(cells, texts, names, line, decimal_comma))
        if len(values) * len(names) > MAX_NUMBERS:
            raise InvalidFile(f"it has more than the {MAX_NUMBERS} cells that are read.")
    if not values:
        raise InvalidFile("it has names of columns and no rows below them.")
    return np.stack(values), texts


def _numbers(
    cells: Sequence[str], texts: Mapping[int, object], names: Sequence[str], line: int, decimal_comma: bool
) -> NDArray[np.float64]:
    try:
        return np.array([math.nan if column in texts else float(cell) for column, cell in enumerate(cells)])
    except ValueError:
        row = []
    for column, cell in enumerate(cells):
        number = math.nan if column in texts else _number(cell, decimal_comma)
        if number is None:
            raise InvalidFile(
                f"line {line}: {cell!r:.40} in column {names[column] or str(column + 1):.60} is no number.",
                path=names[column] or None,
            )
        row.append(number)
    return np.array(row)


def _number(cell: str, decimal_comma: bool) -> float | None:
    """A cell's number, NaN if it is missing, None for a text."""
    if cell.lower() in _EMPTY:
        return math.nan
    if decimal_comma and _DECIMAL_COMMA.fullmatch(cell):
        cell = cell.replace(",", ".")
    try:
        return float(cell)
    except ValueError:
        return None
