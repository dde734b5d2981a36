"""The `poselift` command, also as `python -m poselift`."""

from poselift.cli.app import main

__all__ = ["main"]

if __name__ == "__main__":
    main()
