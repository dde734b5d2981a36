"""Poses as Parquet. This module can only be imported if the optional package is installed."""

from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from poselift.artifacts.manifest import Manifest
from poselift.formats.writers.table import WORLD, person_frames, tidy_columns
from poselift.formats.writers.track import LiftedTrack, axes


def write_parquet(path: Path, manifest: Manifest, tracks: Sequence[LiftedTrack]) -> None:
    """Write the columns of tidy CSV, unrounded; the schema's metadata say model, skeleton, unit and axes."""
    schema = _schema(manifest, tracks)
    with pq.ParquetWriter(path, schema) as writer:
        for part in person_frames(tracks):
            columns = tidy_columns(part, manifest)
            writer.write_table(pa.table({name: pa.array(column) for name, column in columns.items()}).cast(schema))


def _schema(manifest: Manifest, tracks: Sequence[LiftedTrack]) -> pa.Schema:
    positions = pa.from_numpy_dtype(tracks[0].lifted.joints.dtype)
    fields = {
        "person": pa.string(),
        "frame": pa.int64(),
        "time_s": pa.float64(),
        "joint": pa.string(),
        **dict.fromkeys(("x_m", "y_m", "z_m"), positions),
        "imputed": pa.bool_(),
    }
    if tracks[0].lifted.expected_error_m is not None:
        fields["expected_error_m"] = pa.float32()
    if tracks[0].world is not None:
        fields |= dict.fromkeys(WORLD, pa.float64())
    metadata = {
        "model": f"{manifest.name}@{manifest.version}",
        "digest": manifest.digest,
        "skeleton": manifest.output_skeleton,
        "unit": "m",
        "axes": axes(manifest.task),
    }
    return pa.schema(list(fields.items()), metadata=metadata)
