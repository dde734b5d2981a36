"""The sizes that a network can have. A manifest is not trusted: it may name any."""

from typing import Any, NoReturn

from poselift.errors import InvalidArtifact

MOST = {"frames": 4096, "channels": 65_536, "hidden": 65_536, "layers": 256, "heads": 65_536}
"""The largest size of each kind, far above every network of the papers, so that even an outline is built in seconds."""
_MOST_JOINTS = 1000


def refuse_setting(field: str, message: str) -> NoReturn:
    """Raise InvalidArtifact for a field of a configuration."""
    raise InvalidArtifact(message, path=f"network.{field}")


def check_size(config: Any, name: str, least: int = 1) -> None:
    """Refuse a size of a configuration that is no whole number, or too small or large.

    Raises:
        InvalidArtifact: the message names the field.
    """
    size: object = getattr(config, name)
    if not isinstance(size, int) or isinstance(size, bool) or size < least:
        refuse_setting(name, f"{name} must be a whole number of at least {least}, not {size!r:.40}.")
    if size > (most := MOST.get(name, _MOST_JOINTS)):
        refuse_setting(name, f"{name} must be a whole number of at most {most}, not {size!r:.40}.")


def check_heads(config: Any) -> None:
    """Refuse heads that do not divide the channels.

    Raises:
        InvalidArtifact: the message names the field.
    """
    if config.channels % config.heads:
        refuse_setting("channels", f"{config.channels} channels cannot be shared evenly by {config.heads} heads.")
