"""The documents of the repository, taken apart: fenced blocks, links and anchors.

A block in a language of `RUNNABLE` is run by `test_blocks.py`. An HTML comment right above a block says otherwise:

    <!-- not run: REASON -->    `test_not_run.py` checks what can be checked without running it
    <!-- answer -->             the JSON block is what the block before it printed; `...` stands for omitted elements
"""

import re
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]
DOCUMENTS = sorted(
    [
        *(REPOSITORY / f"{name}.md" for name in ("README", "CONTRIBUTING", "CHANGELOG", "SECURITY")),
        *(REPOSITORY / "docs").rglob("*.md"),
    ]
)
RUNNABLE = ("bash", "console", "python")
# Checked by parsing alone, or not at all.
OTHER_LANGUAGES = ("json", "toml", "yaml", "mermaid", "text")

_FENCE = re.compile(
    r"^(?P<indent> *)(?P<ticks>`{3,})(?P<language>\S*)\n(?P<text>.*?)^(?P=indent)(?P=ticks)$", re.MULTILINE | re.DOTALL
)
_MARK = re.compile(r"<!--\s*(?P<mark>[^>]*?)\s*-->\s*\Z")
_LINK = re.compile(r"!?\[(?:[^\]\[]|\[[^\]]*\])*\]\((?P<target>[^)\s]+)\)")
_CODE = re.compile(r"`[^`\n]*`")
_HEADING = re.compile(r"^#{1,6} +(?P<title>.+?) *$", re.MULTILINE)


@dataclass(frozen=True)
class Block:
    """One fenced block.

    Attributes:
        line: number of its opening fence, from 1.
        mark: text of the comment right above it, empty without one.
    """

    document: Path
    line: int
    language: str
    text: str
    mark: str

    @property
    def place(self) -> str:
        return f"{self.document.relative_to(REPOSITORY)}:{self.line}"

    @property
    def is_run(self) -> bool:
        return self.language in RUNNABLE and not self.mark.startswith("not run")

    @property
    def is_answer(self) -> bool:
        return self.mark == "answer"


def name_of(document: Path) -> str:
    return str(document.relative_to(REPOSITORY))


def blocks_of(document: Path) -> list[Block]:
    text = document.read_text(encoding="utf-8")
    return [_block(document, text, fence) for fence in _FENCE.finditer(text)]


def _block(document: Path, content: str, fence: re.Match[str]) -> Block:
    before = content[: fence.start()]
    mark = _MARK.search(before)
    text = textwrap.dedent(fence["text"])
    return Block(document, before.count("\n") + 1, fence["language"], text, mark["mark"] if mark is not None else "")


def prose_of(document: Path) -> str:
    """The text without its fenced blocks."""
    return _FENCE.sub("", document.read_text(encoding="utf-8"))


def links_of(document: Path) -> Iterator[str]:
    """Targets of all links and pictures."""
    return (link["target"] for link in _LINK.finditer(_CODE.sub("", prose_of(document))))


def anchors_of(document: Path) -> set[str]:
    """The anchors that a forge gives the headings; a title that comes again gets a number."""
    anchors: set[str] = set()
    for heading in _HEADING.finditer(prose_of(document)):
        plain = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading["title"]).replace("`", "").strip().lower()
        anchor = re.sub(r"[^\w\- ]", "", plain).replace(" ", "-")
        numbered = (anchor if number == 0 else f"{anchor}-{number}" for number in range(100))
        anchors.add(next(candidate for candidate in numbered if candidate not in anchors))
    return anchors
