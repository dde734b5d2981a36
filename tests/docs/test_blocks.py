"""Every command and every program of the documents runs, in the order in which a reader meets them."""

import itertools
import json
import shutil
import signal
import subprocess
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from tests.docs.answers import difference, matches_lines, parse_answer
from tests.docs.conftest import Workplace
from tests.docs.documents import DOCUMENTS, Block, blocks_of, name_of

DOCUMENT_S = 600
WITH_BLOCKS = [document for document in DOCUMENTS if any(block.is_run for block in blocks_of(document))]
NEEDED = ("bash", "curl", "openssl")


@pytest.mark.skipif(not all(map(shutil.which, NEEDED)), reason=f"needs {', '.join(NEEDED)}")
@pytest.mark.parametrize("document", WITH_BLOCKS, ids=name_of)
def test_blocks_run(document: Path, workplace: Callable[[bool], AbstractContextManager[Workplace]], tmp_path: Path):
    blocks = [block for block in blocks_of(document) if block.is_run or block.is_answer]
    with workplace(any("127.0.0.1:800" in block.text for block in blocks)) as place:
        outputs = _run([block for block in blocks if block.is_run], place, tmp_path)
    for before, block in itertools.pairwise(blocks):
        if block.is_answer:
            printed = json.loads(outputs[before.line])
            assert (found := difference(parse_answer(block.text), printed)) is None, f"{block.place}: {found}"
    for block in blocks:
        if block.language == "console":
            expected = "".join(f"{line}\n" for line in block.text.splitlines() if not line.startswith("$ "))
            assert matches_lines(expected, outputs[block.line]), f"{block.place} printed\n{outputs[block.line]}"


def _run(blocks: list[Block], place: Workplace, folder: Path) -> dict[int, str]:
    """Run the blocks in one shell; returns what each printed, by its line."""
    script = folder / "blocks.sh"
    script.write_text("set -euo pipefail\n" + "".join(_script(block, place, folder) for block in blocks))
    log = folder / "blocks.log"
    with log.open("w") as output:
        process = subprocess.Popen(
            ["bash", script], cwd=place.folder, env=place.environment, stdout=output, stderr=output,
            start_new_session=True,
        )  # fmt: skip
        try:
            code = process.wait(DOCUMENT_S)
        finally:
            _end_group(process)
    reached = (folder / "reached").read_text().strip()
    assert code == 0, f"{reached} ended with {code}:\n{log.read_text()[-3000:]}"
    return {block.line: (folder / f"{block.line}.out").read_text() for block in blocks}


def _script(block: Block, place: Workplace, folder: Path) -> str:
    output, text = folder / f"{block.line}.out", place.localised(block.text)
    if block.language == "python":
        program = folder / f"line_{block.line}.py"
        program.write_text(text)
        text = f"python -W error {program}"
    elif block.language == "console":
        text = "\n".join(line.removeprefix("$ ") for line in text.splitlines() if line.startswith("$ "))
    return f"echo {block.place} > {folder / 'reached'}\n{{\n{text}\n}} > {output}\n"


def _end_group(process: subprocess.Popen[bytes]) -> None:
    """End what the blocks have left running in the background."""
    try:
        signal_group = process.pid
        subprocess.run(["kill", f"-{signal.SIGKILL.value}", "--", f"-{signal_group}"], check=False, capture_output=True)
    finally:
        process.wait()
