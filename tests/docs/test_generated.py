"""The generated documents fit the code, and a stale one is noticed."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from poselift_service.errors import ServiceError
from poselift_service.settings import Settings

from poselift.input_warnings import WARNINGS
from tests.docs.documents import REPOSITORY

GENERATOR = REPOSITORY / "docs" / "generate.py"


def check(generator: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, generator, "--check"], capture_output=True, text=True, check=False)


def test_generated_documents_fit_the_code():
    done = check(GENERATOR)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("page", ["settings.md", "errors.md", "warnings.md", "files.md"])
def test_a_stale_document_is_refused_with_a_sentence(page: str, tmp_path: Path):
    for file in ("generate.py", "settings.md", "errors.md", "warnings.md", "files.md", "openapi.json"):
        shutil.copy(REPOSITORY / "docs" / file, tmp_path / file)
    generated = (tmp_path / page).read_text(encoding="utf-8")
    place = generated.index("`", generated.index("docs/generate.py; `make check`") + 30)
    (tmp_path / page).write_text(f"{generated[:place]}'{generated[place + 1 :]}", encoding="utf-8")
    done = check(tmp_path / "generate.py")
    assert done.returncode == 1
    assert done.stderr == f"docs/{page} no longer fits the code: run `python docs/generate.py`.\n"


def test_a_change_that_breaks_callers_is_refused_and_not_written(tmp_path: Path):
    for file in ("generate.py", "settings.md", "errors.md", "warnings.md", "files.md", "openapi.json"):
        shutil.copy(REPOSITORY / "docs" / file, tmp_path / file)
    promised = (tmp_path / "openapi.json").read_text(encoding="utf-8").replace('"/complete"', '"/completed"')
    (tmp_path / "openapi.json").write_text(promised, encoding="utf-8")
    done = check(tmp_path / "generate.py")
    assert (done.returncode, done.stderr.splitlines()[0]) == (1, "Callers break: POST /completed is gone.")
    for option, is_written in (([], False), (["--break-callers"], True)):
        subprocess.run([sys.executable, tmp_path / "generate.py", *option], capture_output=True, check=False)
        assert ((tmp_path / "openapi.json").read_text(encoding="utf-8") != promised) is is_written


def test_every_setting_and_every_code_is_listed():
    settings = (REPOSITORY / "docs" / "settings.md").read_text(encoding="utf-8")
    assert all(f"| `POSELIFT_{name.upper()}` |" in settings for name in Settings.model_fields)
    errors = (REPOSITORY / "docs" / "errors.md").read_text(encoding="utf-8")
    assert all(f"| `{kind.code}` |" in errors for kind in ServiceError.__subclasses__())
    warnings = (REPOSITORY / "docs" / "warnings.md").read_text(encoding="utf-8")
    assert all(f"| `{code}` |" in warnings for code in WARNINGS)
