from pathlib import Path

import pytest

from poselift.artifacts import default_repository as module
from poselift.artifacts.default_repository import default_repository


def make_repository(folder: Path) -> Path:
    version = folder / "walking" / "1"
    version.mkdir(parents=True)
    (version / "manifest.json").touch()
    return folder


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of an installed package without models; the working directory is another, empty one."""
    package = tmp_path / "checkout" / "poselift"
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    monkeypatch.setattr(module, "_PACKAGE", package)
    return package


def test_the_working_directory_comes_first(package: Path):
    make_repository(package / "models")
    make_repository(Path("models"))
    assert default_repository() == Path("models")


def test_a_folder_of_other_things_is_no_repository(package: Path):
    shipped = make_repository(package / "models")
    Path("models").mkdir()
    Path("models/user.py").touch()
    assert default_repository() == shipped


def test_the_installed_models_come_before_those_of_a_checkout(package: Path):
    checkout = make_repository(package.parent / "models")
    assert default_repository() == checkout
    shipped = make_repository(package / "models")
    assert default_repository() == shipped


@pytest.mark.usefixtures("package")
def test_without_models_it_is_the_working_directorys_folder():
    assert default_repository() == Path("models")
