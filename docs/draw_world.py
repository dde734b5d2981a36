"""Take the picture of docs/page.md: the sample in the world, as the page shows it.

    python docs/draw_world.py docs/images/world.png

It needs a browser, which `make browser` installs.
"""

import argparse
import io
import tempfile
from pathlib import Path

from PIL import Image

from tests.e2e.chromium import chromium, opened
from tests.integration.server_process import running

REPOSITORY = Path(__file__).resolve().parents[1]
SHOWN = "#paused=1&frame=4&world=1&height=1.7&view=-40,18,1"
SIZE_PX = {"width": 1280, "height": 720}


def photograph() -> Image.Image:
    """Photograph the page of a server with the shipped model."""
    with (
        tempfile.TemporaryDirectory() as folder,
        running(REPOSITORY / "models", Path(folder) / "log") as server,
        chromium() as browser,
        opened(browser, f"{server.address}/{SHOWN}") as page,
    ):
        page.set_viewport_size(SIZE_PX)
        page.locator("#world-numbers dt:text-is('height') + dd", has_text="given").wait_for()
        page.evaluate("() => new Promise((drawn) => requestAnimationFrame(() => requestAnimationFrame(drawn)))")
        return Image.open(io.BytesIO(page.screenshot()))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path, help="where the picture is written")
    # A palette suits an interface: a third of the bytes.
    photograph().convert("RGB").quantize(255).save(parser.parse_args().file, optimize=True)


if __name__ == "__main__":
    main()
