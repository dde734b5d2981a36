"""Checkpoint files that run code when they are unpickled."""

import os
import pickle
from pathlib import Path

import torch


class Bomb:
    """Runs a command when it is unpickled."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple[object, ...]:
        return os.system, (f"touch {self.trace}",)


def bombs(content: dict[str, object], entry: str, folder: Path) -> tuple[Path, tuple[Path, Path]]:
    """Two checkpoints with one hostile entry, as torch writes them and as a bare pickle.

    Returns:
        The file that the entry creates when it is unpickled, and the two checkpoints.
    """
    trace, zipped, bare = folder / "trace", folder / "zipped.pth", folder / "bare.pth"
    armed = content | {entry: Bomb(trace)}
    torch.save(armed, zipped)
    bare.write_bytes(pickle.dumps({entry: Bomb(trace)}))
    return trace, (zipped, bare)
