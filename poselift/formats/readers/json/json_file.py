"""Parse JSON files."""

import json
from pathlib import Path
from typing import Any

from poselift.errors import InvalidFile
from poselift.formats.readers.text_file import read_text


def load_json(path: Path) -> Any:
    """Parse a JSON file. Raises as `read_text` and `parse_json`."""
    return parse_json(read_text(path))


def parse_json(text: str) -> Any:
    """Parse JSON.

    Raises:
        InvalidFile: the text is not JSON; the message says from which line and column on.
    """
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise InvalidFile(f"it is not JSON from line {error.lineno}, column {error.colno} on.") from None
    except ValueError:
        raise InvalidFile("it is not JSON that can be read: it has a number of thousands of digits.") from None
    except RecursionError:
        raise InvalidFile("it is not JSON that can be read: its brackets are nested too deeply.") from None
