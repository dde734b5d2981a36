"""What the wheel and the source archive hold."""

import re
import tarfile
import zipfile
from email import message_from_bytes
from email.message import Message
from pathlib import Path

import pytest

from tests.packaging.distributions import (
    REPOSITORY,
    Distributions,
    create_environment,
    install_alone,
    lend_dependencies,
)

PACKAGES = {"poselift", "poselift_service", "poselift_training"}
# Of the wheel without the detector of `make web`. The weights of the shipped model are two thirds of it.
MAX_BYTES = 8_000_000
DETECTOR = "poselift_service/web/mediapipe/"


@pytest.fixture(scope="module")
def files(distributions: Distributions) -> set[str]:
    with zipfile.ZipFile(distributions.wheel) as wheel:
        return set(wheel.namelist())


@pytest.fixture(scope="module")
def metadata(distributions: Distributions) -> Message:
    with zipfile.ZipFile(distributions.wheel) as wheel:
        (name,) = (name for name in wheel.namelist() if name.endswith(".dist-info/METADATA"))
        return message_from_bytes(wheel.read(name))


def below(folder: Path, *patterns: str) -> set[str]:
    return {path.relative_to(folder).as_posix() for pattern in patterns for path in folder.rglob(pattern)}


def test_the_wheel_installs_three_packages_and_nothing_else(files: set[str]):
    top_level = {name.partition("/")[0] for name in files}
    assert {name for name in top_level if not name.endswith(".dist-info")} == PACKAGES


@pytest.mark.parametrize(
    ("package", "folder"),
    [
        ("poselift", "poselift"),
        ("poselift_service", "service/poselift_service"),
        ("poselift_training", "training/poselift_training"),
        ("poselift_training/recipes", "training/recipes"),
        ("poselift/models", "models"),
    ],
)
def test_the_wheel_has_every_file_of_the_checkout(files: set[str], package: str, folder: str):
    patterns = ("*.py", "*.pyi", "*.typed", "*.json", "*.html", "*.toml", "*.safetensors")
    expected = {f"{package}/{name}" for name in below(REPOSITORY / folder, *patterns)}
    assert expected
    assert expected <= files


def test_the_wheel_leaves_out_what_tools_left_behind(files: set[str]):
    assert not [name for name in files if "__pycache__" in name or name.endswith((".pyc", ".ipynb"))]
    assert not [name for name in files if "test" in Path(name).name]


def test_the_wheel_is_small(distributions: Distributions):
    with zipfile.ZipFile(distributions.wheel) as wheel:
        detector = sum(file.compress_size for file in wheel.infolist() if file.filename.startswith(DETECTOR))
    assert distributions.wheel.stat().st_size - detector < MAX_BYTES


def test_the_wheel_has_the_detector_of_the_checkout(files: set[str]):
    checkout = REPOSITORY / "service" / DETECTOR
    assert {name for name in files if name.startswith(DETECTOR)} == {
        f"{DETECTOR}{path.name}" for path in (checkout.iterdir() if checkout.is_dir() else ())
    }


def test_the_wheel_says_who_made_it_and_where_it_lives(metadata: Message):
    links = dict(link.split(", ", 1) for link in metadata.get_all("Project-URL", []))
    assert links.keys() >= {"Homepage", "Documentation", "Source", "Issues", "Changelog"}
    assert all(link.startswith("https://") for link in links.values())
    assert metadata["Author"] == "Poselift developers"
    assert metadata["License-Expression"] == "Apache-2.0"
    assert set(metadata.get_all("License-File", [])) == {"LICENSE", "NOTICE"}
    assert "Typing :: Typed" in metadata.get_all("Classifier", [])
    assert metadata["Keywords"]


def test_the_torch_requirement_keeps_an_installed_build(metadata: Message):
    torch = {line.partition(";")[0] for line in metadata.get_all("Requires-Dist", []) if line.startswith("torch")}
    assert torch
    assert all(">=" in line and "==" not in line for line in torch)


def test_whoever_only_calls_a_service_installs_four_packages(metadata: Message):
    requirements = metadata.get_all("Requires-Dist", [])
    assert all("extra == " in line for line in requirements), "nothing comes with the package alone"
    of_client = {re.split("[<>=]", line)[0] for line in requirements if line.endswith("extra == 'client'")}
    assert of_client == {"grpcio", "httpx", "protobuf", "websockets"}


def test_the_source_archive_holds_what_the_wheel_is_built_from(distributions: Distributions):
    with tarfile.open(distributions.source_archive) as archive:
        top_level = {Path(name).parts[1] for name in archive.getnames()}
    assert top_level >= {
        "poselift",
        "service",
        "training",
        "models",
        "pyproject.toml",
        "README.md",
        "LICENSE",
        "NOTICE",
    }
    assert not top_level & {"tests", "docs", "helm", "docker", ".venv"}


def test_an_editable_install_leaves_only_a_path(tmp_path: Path):
    environment = create_environment(tmp_path)
    site_packages = lend_dependencies(environment)
    before = set(site_packages.iterdir())
    install_alone(environment, "--no-build-isolation", "-e", REPOSITORY)
    installed = {path.name for path in set(site_packages.iterdir()) - before if path.suffix != ".dist-info"}
    assert installed == {"_poselift.pth"}
