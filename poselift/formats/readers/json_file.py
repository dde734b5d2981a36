"""Parse JSON files."""

import json
from pathlib import Path
from typing import Any

from poselift.errors import InvalidFile


def load_json(path: Path) -> Any:
    """Parse a JSON file.

    Raises:
        InvalidFile: the file is not JSON; the message says from which line and column on.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8-sig"))
    except json.JSONDecodeError as error:
        raise InvalidFile(f"it is not JSON from line {error.lineno}, column {error.colno} on: {error.msg}.") from None
    except UnicodeDecodeError:
        raise InvalidFile("it is neither JSON nor an npz archive.") from None
    except (ValueError, RecursionError) as error:  # numbers of thousands of digits, brackets nested by the thousand
        raise InvalidFile(f"it is not JSON that can be read: {error}.") from None
