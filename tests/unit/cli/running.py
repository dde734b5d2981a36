"""Run the command in this process; files and settings that several tests use."""

from pathlib import Path

from typer.testing import CliRunner

from poselift.cli.app import app
from poselift.lifters.pstmo.network import STMOConfig

SAMPLE = Path(__file__).parents[3] / "service" / "poselift_service" / "web" / "sample.json"
BVH = Path(__file__).parents[2] / "data" / "cmu_05_15_cut.bvh"
CONFIG = STMOConfig(frames=9, channels=16, hidden=32, layers=1, mask_token=True, person_centred=True)
# Answers are rounded to 10 micrometres.
ROUNDED_M = 1e-5


def run(*arguments, code=0):
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert result.exit_code == code, f"{result.output}\n{result.exception!r}"
    return result
