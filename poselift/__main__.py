"""The `poselift` command, also as `python -m poselift`."""

import sys

from poselift.errors import sentence_about

__all__ = ["main"]


def main() -> None:
    """Run the command; from a checkout that is not installed, say what is missing."""
    try:
        from poselift.cli.app import main as run

        run()
    except ModuleNotFoundError as error:
        if (sentence := sentence_about(error)) is None:
            raise
        sys.stderr.write(f"poselift: {sentence}\n")
        sys.exit(2)


if __name__ == "__main__":
    main()
