"""The generated documents fit the code, and a stale one is noticed."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from poselift_service.errors import ServiceError
from poselift_service.settings import Settings

from docs.draw_accuracy import models
from docs.generate import PAGES
from poselift.input_warnings import WARNINGS
from tests.docs.documents import REPOSITORY
from tests.shipped_model import NAME

GENERATOR = REPOSITORY / "docs" / "generate.py"


def check(generator: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, generator, "--check"], capture_output=True, text=True, check=False)


def test_generated_documents_fit_the_code():
    done = check(GENERATOR)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("page", ["settings.md", "errors.md", "warnings.md", "files.md"])
def test_a_stale_document_is_refused_with_a_sentence(page: str, tmp_path: Path):
    docs = copied(tmp_path) / "docs"
    generated = (docs / page).read_text(encoding="utf-8")
    place = generated.index("`", generated.index("docs/generate.py; `make check`") + 30)
    (docs / page).write_text(f"{generated[:place]}'{generated[place + 1 :]}", encoding="utf-8")
    done = check(docs / "generate.py")
    assert done.returncode == 1
    assert done.stderr == f"docs/{page} no longer fits the code: run `python docs/generate.py`.\n"


def test_what_is_said_of_another_version_of_the_shipped_model_is_replaced(tmp_path: Path):
    folder, stale = copied(tmp_path), []
    for page, said, other in (
        ("README.md", '"digest": "', '"digest": "0'),
        ("README.md", ' "poses": [[[0.0, ', ' "poses": [[[9.0, '),
        ("README.md", "- Accuracy of the shipped model: ", "- Accuracy of the shipped model: 1"),
        ("docs/accuracy.md", "| exact 2D | ", "| exact 2D | 1"),
        ("docs/models.md", f"{NAME}@", f"{NAME}@9"),
        ("docs/streaming.md", "| full | ", "| full | 1"),
        ("poselift/__init__.py", f"{NAME}/", f"{NAME}/9"),
        ("training/recipes/own.toml", "\nhidden = ", "\nhidden = 1"),
    ):
        text = (folder / page).read_text(encoding="utf-8")
        assert said in text
        (folder / page).write_text(text.replace(said, other), encoding="utf-8")
        stale.append(page)
    done = check(folder / "docs" / "generate.py")
    sentences = [f"{page} no longer fits the code: run `python docs/generate.py`." for page in dict.fromkeys(stale)]
    assert (done.returncode, done.stderr.splitlines()) == (1, sentences)
    subprocess.run([sys.executable, folder / "docs" / "generate.py"], capture_output=True, check=True)
    for page in stale:
        assert (folder / page).read_text(encoding="utf-8") == (REPOSITORY / page).read_text(encoding="utf-8")


def test_a_change_that_breaks_callers_is_refused_and_not_written(tmp_path: Path):
    docs = copied(tmp_path) / "docs"
    promised = (docs / "openapi.json").read_text(encoding="utf-8").replace('"/complete"', '"/completed"')
    (docs / "openapi.json").write_text(promised, encoding="utf-8")
    done = check(docs / "generate.py")
    assert (done.returncode, done.stderr.splitlines()[0]) == (1, "Callers break: POST /completed is gone.")
    for option, is_written in (([], False), (["--break-callers"], True)):
        subprocess.run([sys.executable, docs / "generate.py", *option], capture_output=True, check=False)
        assert ((docs / "openapi.json").read_text(encoding="utf-8") != promised) is is_written


def copied(folder: Path) -> Path:
    """Copy the generator and what it writes."""
    for page in ("docs/generate.py", *PAGES):
        (folder / page).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(REPOSITORY / page, folder / page)
    return folder


def test_every_setting_and_every_code_is_listed():
    settings = (REPOSITORY / "docs" / "settings.md").read_text(encoding="utf-8")
    assert all(f"| `POSELIFT_{name.upper()}` |" in settings for name in Settings.model_fields)
    errors = (REPOSITORY / "docs" / "errors.md").read_text(encoding="utf-8")
    assert all(f"| `{kind.code}` |" in errors for kind in ServiceError.__subclasses__())
    warnings = (REPOSITORY / "docs" / "warnings.md").read_text(encoding="utf-8")
    assert all(f"| `{code}` |" in warnings for code in WARNINGS)


def test_the_picture_of_accuracy_over_cost_has_every_model():
    picture = (REPOSITORY / "docs" / "images" / "accuracy_over_cost.svg").read_text(encoding="utf-8")
    for row in models():
        assert picture.count(f">{row['name']}</text>") == 4, "run `python docs/draw_accuracy.py` on it"
