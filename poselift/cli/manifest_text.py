"""The manifest of a model as lines for a terminal."""

import textwrap
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from poselift.artifacts.manifest import Manifest

# Indentation of everything behind a title, and the width of running text; tables may be wider.
_INDENT, _WIDTH = 12, 100


def manifest_lines(manifest: "Manifest") -> Iterator[str]:
    """Describe a model: what it takes and gives, its network, its data and its scores."""
    seconds = (manifest.network["frames"] - 1) * manifest.temporal_stride / manifest.frame_rate_hz
    smoothed = ", smoothed" if manifest.smoothed else ""
    yield f"{manifest.name}@{manifest.version} ({manifest.system})"
    yield from row("input", f"{manifest.input_skeleton}, scores from {manifest.score_threshold:g}")
    yield from row("output", manifest.output_skeleton)
    yield from row("window", f"{manifest.network['frames']} frames over {seconds:.2f} s{smoothed}")
    yield from row("network", ", ".join(f"{key} {value}" for key, value in manifest.network.items()))
    for number, data in enumerate(manifest.data):
        yield from row("" if number else "data", f"{data.source} ({data.licence})")
    yield from row("attribution", manifest.attribution)
    yield from row("code", manifest.code_revision)
    yield from row("weights", f"sha256 {manifest.weights_sha256}")
    yield from _score_lines(manifest.scores)


def row(title: str, text: str) -> list[str]:
    """Lines of a title and a text behind it."""
    lead = f"{title:<{_INDENT}}"
    return textwrap.wrap(text, _WIDTH, initial_indent=lead, subsequent_indent=" " * _INDENT) or [lead.rstrip()]


def _score_lines(scores: tuple[dict[str, Any], ...]) -> Iterator[str]:
    """Tables of scores, one for each protocol, whose columns are what its scores say."""
    for protocol in dict.fromkeys(str(score.get("protocol", "")) for score in scores):
        rows = [score for score in scores if str(score.get("protocol", "")) == protocol]
        yield from row("scores", protocol)
        columns = [name for name in dict.fromkeys(name for score in rows for name in score) if name != "protocol"]
        yield from _table(columns, rows)


def _table(columns: list[str], rows: list[dict[str, Any]]) -> Iterator[str]:
    cells = [columns, *([_cell(row, column) for column in columns] for row in rows)]
    widths = [max(len(line[column]) for line in cells) for column in range(len(columns))]
    for line in cells:
        is_number = [isinstance(rows[0].get(name), int | float) for name in columns]
        padded = (
            text.rjust(width) if number else text.ljust(width)
            for text, width, number in zip(line, widths, is_number, strict=True)
        )
        yield f"  {'  '.join(padded)}".rstrip()


def _cell(score: Mapping[str, Any], column: str) -> str:
    value = score.get(column, "")
    return f"{value:.1f}" if isinstance(value, float) else str(value)
