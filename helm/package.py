"""Pack the chart: python -m helm.package

The package lies in dist/ then. The same chart gives the same package, bit for bit, wherever and whenever it is made, so
that its digest tells whether somebody has changed it.
"""

import os
import shutil
import sys
import tempfile
from pathlib import Path

import helm_python

CHART = Path(__file__).with_name("poselift")
DESTINATION = Path(__file__).parents[1] / "dist"


def package(chart: Path, destination: Path) -> Path:
    """Pack a chart; returns the package, which is named after its version."""
    with tempfile.TemporaryDirectory() as scratch:
        copy = Path(scratch) / chart.name
        shutil.copytree(chart, copy)
        for file in copy.rglob("*"):
            os.utime(file, (0, 0))  # the time of a clone would get into the package
        return Path(helm_python.package(copy, destination=destination))


if __name__ == "__main__":
    DESTINATION.mkdir(exist_ok=True)
    packed = package(CHART, DESTINATION)
    sys.stdout.write(f"{packed.relative_to(Path.cwd())} {helm_python.digest(packed)}\n")
