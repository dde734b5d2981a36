"""What commands say about input that they refuse: one sentence, which names only what exists."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer
from poselift_training import finetune

from poselift.cli.app import app
from tests.unit.cli.running import BVH, run

REPOSITORY = Path(__file__).parents[3]
GIT = {"--always", "--dirty", "--abbrev", "--exclude"}
EVALUATE = ("evaluate", "--models", REPOSITORY / "models", "--model", "pstmo-tiny-27")


def commands(group: Any, prefix: str = "") -> Iterator[tuple[str, set[str]]]:
    """Every command by its full name, and its options."""
    for name, command in group.commands.items():
        options = {option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)}
        yield f"{prefix}{name}", options
        if isinstance(command, typer.core.TyperGroup):
            yield from commands(command, f"{prefix}{name} ")


COMMANDS = dict(commands(typer.main.get_command(app)))
OPTIONS = {"--version"}.union(*COMMANDS.values())


def sentences() -> Iterator[tuple[str, str]]:
    """The texts in the code that raises errors, each with its place; values in them are left out."""
    for path in sorted([*(REPOSITORY / "poselift").rglob("*.py"), *(REPOSITORY / "training").rglob("*.py")]):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        documentation = {
            id(node.body[0].value)
            for node in ast.walk(tree)
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef)
            and node.body
            and isinstance(node.body[0], ast.Expr)
        }
        for node in ast.walk(tree):
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in documentation:
                yield f"{path.relative_to(REPOSITORY)}:{node.lineno}", node.value


def test_every_option_that_a_sentence_names_exists():
    named = [(place, option) for place, text in sentences() for option in re.findall(r"(?<![\w-])--[a-z][a-z-]+", text)]
    assert len(named) > 40
    assert [pair for pair in named if pair[1] not in OPTIONS | GIT] == []


def test_every_command_that_a_sentence_names_exists():
    named = [
        (place, command)
        for place, text in sentences()
        for command in re.findall(r"`poselift ([a-z]+(?: [a-z]+)?)", text)
    ]
    assert len(named) > 3
    unknown = [pair for pair in named if pair[1] not in COMMANDS and pair[1].split()[0] not in COMMANDS]
    assert unknown == []


@pytest.fixture
def motion(tmp_path, monkeypatch):
    """A folder with an index of one clip, and its shard as the test writes it; the command runs beside it."""
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "motion"
    folder.mkdir()
    clip = (
        '{"key": "a", "shard": "a.npz", "split": "train", "source": "o", "action": "b", "subject": "1", "licence": "l"}'
    )
    (folder / "index.json").write_text(f'{{"fps": 50, "clips": [{clip}]}}')
    return folder


SHARDS: dict[str, Any] = {
    "no archive": b"text",
    "half an archive": b"PK\x03\x04 and no more",
    "objects": {"a": np.array([{}], dtype=object)},
    "another key": {"b": np.zeros((20, 17, 3), np.int16)},
    "another shape": {"a": np.zeros((20, 16, 3), np.int16)},
}


@pytest.mark.parametrize("kind", SHARDS)
def test_motion_that_cannot_be_read(motion, kind):
    content = SHARDS[kind]
    if isinstance(content, bytes):
        (motion / "a.npz").write_bytes(content)
    else:
        np.savez(motion / "a.npz", **content)
    refusal = run(*EVALUATE, "--data", "mocap", "--root", motion, "--split", "train", code=2).stderr
    assert refusal.startswith("poselift: ")
    assert len(refusal.splitlines()) == 1
    assert "a.npz" in refusal or "clip a" in refusal
    assert "pickle" not in refusal


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b"steps = ", "own.toml is not a TOML file from "),
        (b"\xff\xfe", "own.toml is not a TOML file: it is no text in UTF-8."),
        (b"system = []", "'system' must be one of"),
        (b'name = "own"', "The recipe lacks the key 'stage'."),
    ],
)
def test_recipes_that_cannot_be_read(tmp_path, capsys, content, complaint):
    path = tmp_path / "own.toml"
    path.write_bytes(content)
    assert finetune.main([str(path)]) == 2
    assert complaint in capsys.readouterr().err


@pytest.mark.parametrize(
    ("override", "complaint"),
    [
        ("nope=1", "The recipe has no key 'nope'; there are name, "),
        ("stages=2", "The recipe has no key 'stages'; did you mean 'stage'?"),
        ("steps=x", "'steps': it must be a whole number, not 'x'."),
        ("steps=0", "'steps': it must be greater than 0, not 0."),
    ],
)
def test_overrides_that_do_not_fit(capsys, override, complaint):
    assert finetune.main(["smoke", "-o", override]) == 2
    assert complaint in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("models", "list", "--models", "absent"), "no folder absent; --models names"),
        (("models", "list", "--models", "foo://x"), "foo:// is no kind of store; name a folder, or an address such as"),
        ((*EVALUATE, "--data", "h36m", "--root", "absent"), "data_3d_h36m.npz is missing; --root, or data.root"),
        (
            (*EVALUATE, "--data", "mocap", "--root", "absent"),
            "index.json is missing or no JSON; `poselift data bvh` writes",
        ),
        (
            (*EVALUATE, "--data", "mocap", "--root", ".", "--device", "cuda:77"),
            "leave --device out to use what there is",
        ),
        (("data", "bvh", BVH, "--out", "x.npz"), "give the file's true unit (--unit-m)"),
        (("data", "bvh", BVH, "--out", "x.npz", "--skip", "100000"), "are to be dropped (--skip)"),
        (("complete", "brackets.json"), "brackets.json: it is not JSON that can be read: its brackets are nested"),
        (("complete", "cut.json"), "cut.json: it is not JSON from line 1, column 3 on.\n"),
    ],
)
def test_what_to_do_is_said(tmp_path, monkeypatch, arguments, complaint):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "brackets.json").write_text("[" * 100_000)
    (tmp_path / "cut.json").write_text("{ ")
    refusal = run(*arguments, code=2).stderr
    assert complaint in refusal
    assert len(refusal.splitlines()) == 1
