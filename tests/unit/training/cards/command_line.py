"""The command, as the tests of cards call it."""

from pathlib import Path
from typing import Any

from typer.testing import CliRunner

from poselift.cli.app import app

SAMPLE = Path(__file__).parents[4] / "service" / "poselift_service" / "web" / "sample.json"


def run(*arguments: Any, code: int = 0) -> str:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert result.exit_code == code, f"{result.output}\n{result.exception!r}"
    return result.stdout if code == 0 else result.stderr
