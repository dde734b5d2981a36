"""The documents fit together: links lead somewhere, blocks have a language, and data that is shown can be read."""

import json
import re
import tomllib
from pathlib import Path

import pytest
import yaml
from poselift_service.settings import Settings

from tests.docs.documents import (
    DOCUMENTS,
    OTHER_LANGUAGES,
    REPOSITORY,
    RUNNABLE,
    anchors_of,
    blocks_of,
    links_of,
    name_of,
    prose_of,
)

README_LINES = 120
PICTURE_BYTES = 150_000
# What a reader would have to replace before a command works.
PLACEHOLDER = re.compile(r"\b[A-Z]{2,}_ID\b|\bYOUR_|<[a-z][a-z _-]*>|\bexample\.pth\b|\bTODO\b|\bFIXME\b")

every_document = pytest.mark.parametrize("document", DOCUMENTS, ids=name_of)


@every_document
def test_relative_links_and_anchors_resolve(document: Path):
    for target in links_of(document):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        file = document if not path else (document.parent / path).resolve()
        assert file.exists(), f"{name_of(document)}: there is no {target}"
        if anchor:
            assert anchor in anchors_of(file), f"{name_of(document)}: {target} has no such heading"


@every_document
def test_blocks_have_a_known_language_and_a_known_mark(document: Path):
    for block in blocks_of(document):
        assert block.language in (*RUNNABLE, *OTHER_LANGUAGES), f"{block.place}: {block.language!r}"
        if block.mark.startswith("not run"):
            assert re.fullmatch(r"not run: \S.{15,}", block.mark), f"{block.place} does not say why it is not run"
            assert block.language in RUNNABLE, f"{block.place} would not be run anyway"
        if block.is_answer:
            assert block.language == "json", f"{block.place} is no JSON"


@every_document
def test_code_is_fenced(document: Path):
    """A block that is only indented would not be run."""
    indented = [line for line in prose_of(document).splitlines() if re.match(r" {4}(?! *(?:[-*]|\d+\.) )\S", line)]
    in_lists = re.findall(r"^ *(?:[-*]|\d+\.) .*(?:\n {2,}\S.*)+", prose_of(document), re.MULTILINE)
    assert [line for line in indented if not any(line in item for item in in_lists)] == []


@every_document
def test_code_has_no_placeholders(document: Path):
    for block in blocks_of(document):
        if block.language in RUNNABLE:
            assert not PLACEHOLDER.search(block.text), f"{block.place}: {PLACEHOLDER.search(block.text)}"


@every_document
def test_data_that_is_shown_can_be_read(document: Path):
    for block in blocks_of(document):
        if block.is_answer:
            continue
        if block.language == "json":
            json.loads(block.text)
        elif block.language == "toml":
            tomllib.loads(block.text)
        elif block.language == "yaml":
            yaml.safe_load(block.text)


def test_the_readme_is_short():
    assert len((REPOSITORY / "README.md").read_text(encoding="utf-8").splitlines()) <= README_LINES


def test_every_document_is_reachable_from_the_readme():
    reached, waiting = set(), [REPOSITORY / "README.md"]
    while waiting:
        document = waiting.pop()
        reached.add(document)
        targets = (target.partition("#")[0] for target in links_of(document) if not re.match(r"[a-z]+:", target))
        found = {(document.parent / target).resolve() for target in targets if target.endswith(".md")}
        waiting += [file for file in found & set(DOCUMENTS) if file not in reached]
    assert set(DOCUMENTS) - reached == set()


def test_pictures_are_small():
    for picture in (REPOSITORY / "docs" / "images").iterdir():
        assert picture.stat().st_size < PICTURE_BYTES, picture.name


def test_names_of_files_in_prose_exist():
    """Paths in backticks that begin with a folder of the repository are paths of the repository."""
    folders = ("poselift", "service", "training", "proto", "docker", "helm", "tests", "docs")
    quoted = re.compile(rf"`((?:{'|'.join(folders)})/[\w./-]+)`")
    for document in DOCUMENTS:
        if document.name == "CHANGELOG.md":
            continue
        for path in quoted.findall(prose_of(document)):
            assert (REPOSITORY / path).exists(), f"{name_of(document)}: there is no {path}"


def test_variables_in_documents_are_settings():
    for document in DOCUMENTS:
        named = set(re.findall(r"(?<![\w/])POSELIFT_([A-Z_]*[A-Z])\b", document.read_text(encoding="utf-8")))
        # The second one is there to be refused.
        assert named - {name.upper() for name in Settings.model_fields} <= {"API_KEY_FILE"}, name_of(document)


def test_citation_and_changelog_know_the_version():
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    cited = yaml.safe_load((REPOSITORY / "CITATION.cff").read_text(encoding="utf-8"))
    assert (cited["cff-version"], cited["version"], cited["license"]) == (
        "1.2.0",
        project["version"],
        project["license"],
    )
    versions = re.findall(r"^## \[([^\]]+)\]", (REPOSITORY / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert versions[:2] == ["Unreleased", project["version"]]


def test_the_architecture_names_every_room():
    text = (REPOSITORY / "docs" / "architecture.md").read_text(encoding="utf-8")
    packages = ("poselift", "service/poselift_service", "training/poselift_training")
    rooms = [
        folder.name
        for package in packages
        for folder in (REPOSITORY / package).iterdir()
        if folder.is_dir() and not folder.name.startswith("__")
    ]
    assert len(rooms) > 15
    assert [room for room in rooms if f"`{room}/`" not in text] == []


def test_the_architecture_names_files_that_exist():
    """Within a section about a package, paths are relative to it."""
    text = (REPOSITORY / "docs" / "architecture.md").read_text(encoding="utf-8")
    packages = [
        REPOSITORY / path for path in ("poselift", "service/poselift_service", "training/poselift_training", ".")
    ]
    for path in re.findall(r"`([\w/]+\.py)`", text):
        assert any((package / path).is_file() for package in packages), path
