"""Builds the wheel and the source archive of the checkout, and environments that the wheel is installed in."""

import os
import subprocess
import sys
import sysconfig
from dataclasses import dataclass
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]
COMMAND_S = 600


@dataclass(frozen=True)
class Distributions:
    wheel: Path
    source_archive: Path


@dataclass(frozen=True)
class Environment:
    """A virtual environment with the wheel, and an empty folder outside of the checkout to work in."""

    folder: Path
    working_directory: Path

    @property
    def python(self) -> Path:
        return self.folder / "bin" / "python"

    @property
    def variables(self) -> dict[str, str]:
        """Environment variables without those that could lead to the checkout."""
        return {
            name: value
            for name, value in os.environ.items()
            if not name.startswith("POSELIFT_") and name not in ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV")
        }

    def run(self, *command: str | Path) -> str:
        """Run a command of the environment's bin folder; returns its standard output."""
        program, *arguments = command
        result = subprocess.run(
            [self.folder / "bin" / program, *arguments],
            cwd=self.working_directory,
            env=self.variables,
            capture_output=True,
            text=True,
            timeout=COMMAND_S,
            check=False,
        )
        assert result.returncode == 0, f"{command}: {result.stdout}{result.stderr}"
        return result.stdout


def build(out: Path) -> Distributions:
    """Build both with the hatchling of this environment, so that no index is needed."""
    _run(sys.executable, "-m", "build", "--no-isolation", "--outdir", out, REPOSITORY)
    (wheel,), (source_archive,) = out.glob("*.whl"), out.glob("*.tar.gz")
    return Distributions(wheel, source_archive)


def create_environment(folder: Path) -> Environment:
    """Create an environment without any package, and an empty working directory beside it."""
    working_directory = folder / "elsewhere"
    working_directory.mkdir(parents=True)
    _run(sys.executable, "-m", "venv", "--without-pip", folder / "environment")
    return Environment(folder / "environment", working_directory)


def install_alone(environment: Environment, *what: str | Path) -> None:
    """Install without dependencies and without any index."""
    _pip(environment, "--no-deps", "--no-index", *what)


def lend_dependencies(environment: Environment) -> Path:
    """Put the packages of this environment behind those of another. The editable install here does not come along.

    Returns:
        The folder that packages of the other environment are installed in.
    """
    code = "import sysconfig; print(sysconfig.get_path('purelib'))"
    site_packages = Path(environment.run("python", "-c", code).strip())
    (site_packages / "lent.pth").write_text(f"{sysconfig.get_path('purelib')}\n")
    return site_packages


def install_from_index(environment: Environment, *what: str | Path) -> None:
    """Install with all dependencies, as pip is configured on this machine."""
    _pip(environment, *what)


def index_is_reachable(folder: Path) -> bool:
    """Whether pip can download a small package, which is left in the folder."""
    options = ("--quiet", "--no-deps", "--no-cache-dir", "--dest", str(folder))
    command = [sys.executable, "-m", "pip", "download", *options, "pluggy"]
    return subprocess.run(command, capture_output=True, timeout=COMMAND_S, check=False).returncode == 0


def _pip(environment: Environment, *arguments: str | Path) -> None:
    _run(sys.executable, "-m", "pip", "--python", environment.python, "install", "--no-compile", *arguments)


def _run(*command: str | Path) -> None:
    result = subprocess.run(
        [str(part) for part in command],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=COMMAND_S,
        check=False,
    )
    assert result.returncode == 0, f"{command}: {result.stdout}{result.stderr}"
