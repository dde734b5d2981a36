"""What can be checked of commands that a test cannot run: that everything they name exists and fits together."""

import importlib.util
import itertools
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from poselift_service.settings import Settings

from tests.docs.documents import DOCUMENTS, REPOSITORY, blocks_of

MOST_BLOCKS = 6
SECONDS = 60


def commands() -> list[tuple[str, list[str]]]:
    """Each command of the blocks that are not run, with its place."""
    found = []
    for document in DOCUMENTS:
        for block in blocks_of(document):
            if block.mark.startswith("not run"):
                lines = block.text.replace("\\\n", " ").splitlines()
                found += [(block.place, shlex.split(line, comments=True)) for line in lines]
    return [(place, words) for place, words in found if words]


def test_they_are_few():
    marked = [block for document in DOCUMENTS for block in blocks_of(document) if block.mark.startswith("not run")]
    assert len(marked) <= MOST_BLOCKS, [block.place for block in marked]


@pytest.mark.parametrize(("place", "words"), commands(), ids=[f"{place} {words[0]}" for place, words in commands()])
def test_everything_they_name_exists(place: str, words: list[str]):
    checks = {
        "docker": check_compose,
        "helm": check_helm,
        "make": check_make,
        "poselift": check_poselift,
        "torchrun": check_torchrun,
    }
    checks[words[0]](words[1:])


def check_make(words: list[str]) -> None:
    if shutil.which("make") is None:
        pytest.skip("make is not installed")
    command = ["make", "-n", *words]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=SECONDS, check=False)
    assert done.returncode == 0, done.stderr


def check_compose(words: list[str]) -> None:
    assert (words[0], words[-1]) == ("compose", "up")
    assert set(words[1:-1:2]) == {"-f"}
    files = [REPOSITORY / word for word in words[2:-1:2]]
    services: dict[str, Any] = {}
    for file in files:
        changes = yaml.safe_load(file.read_text(encoding="utf-8"))["services"]
        assert not services or set(changes) <= set(services)
        for name, change in changes.items():
            services[name] = merged(services.get(name, {}), change)
    folder = files[0].parent
    for service in services.values():
        assert service["image"]
        mounted = [volume.split(":")[0] for volume in service.get("volumes", []) if volume.startswith(".")]
        assert all((folder / path).exists() for path in mounted), mounted
        if "build" in service:
            dockerfile = folder / service["build"]["context"] / service["build"]["dockerfile"]
            arguments = re.findall(r"^ARG (\w+)", dockerfile.read_text(encoding="utf-8"), re.MULTILINE)
            assert set(service["build"].get("args", {})) <= set(arguments)
        for path in [service["env_file"]] if "env_file" in service else []:
            named = re.findall(r"^#?(POSELIFT_\w+)=", (folder / path).read_text(encoding="utf-8"), re.MULTILINE)
            assert set(named) <= {f"POSELIFT_{name.upper()}" for name in Settings.model_fields}
        given = {name for name in service.get("environment", {}) if name.startswith("POSELIFT_")}
        assert given <= {f"POSELIFT_{name.upper()}" for name in Settings.model_fields}


def merged(one: Any, other: Any) -> Any:
    """As compose merges files: mappings by key, others replaced. It appends lists, of which none is changed here."""
    if not (isinstance(one, dict) and isinstance(other, dict)):
        return other
    return one | {key: merged(one.get(key), value) for key, value in other.items()}


def check_helm(words: list[str]) -> None:
    assert words[0] == "install"
    chart = REPOSITORY / words[2]
    given = dict(word.split("=", 1) for option, word in itertools.pairwise(words) if option == "--set")
    values: dict[str, Any] = yaml.safe_load((chart / "values.yaml").read_text(encoding="utf-8"))
    for path in given:
        found: Any = values
        for name in path.split("."):
            assert name in found, path
            found = found[name]
    _render(chart, given)


def _render(chart: Path, given: dict[str, str]) -> None:
    """Render the chart where Helm's engine is installed; `make chart` installs it."""
    if importlib.util.find_spec("helm_python") is None:
        return
    from tests.chart.rendering import render

    nested: dict[str, Any] = {}
    for path, value in given.items():
        *parents, name = path.split(".")
        table = nested
        for parent in parents:
            table = table.setdefault(parent, {})
        table[name] = value
    text = str(render(nested, chart=chart))
    assert all(value in text for value in given.values())


def check_poselift(words: list[str]) -> None:
    command = [sys.executable, "-m", "poselift", words[0], "--help"]
    printed = subprocess.run(
        command, cwd=REPOSITORY, capture_output=True, text=True, timeout=SECONDS, check=True
    ).stdout
    unknown = [word for word in words if word.startswith("--") and word not in re.findall(r"--[a-z-]+", printed)]
    assert unknown == []


def check_torchrun(words: list[str]) -> None:
    assert importlib.util.find_spec(words[words.index("-m") + 1]) is not None
    assert importlib.util.find_spec("torch.distributed.run") is not None
