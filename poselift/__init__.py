"""Poselift lifts 2D keypoint sequences to 3D human poses.

from poselift import load_artifact
artifact = load_artifact("models/pstmo-tiny-27/1")
poses = artifact.lifter(windows)  # windows [B, N, J, 2] in screen coordinates
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from poselift.artifacts.artifact import Artifact, load_artifact

__all__ = ["Artifact", "load_artifact"]


def __getattr__(name: str) -> Any:
    # Loading torch takes seconds; `import poselift` and `poselift --help` must not wait for it.
    if name in __all__:
        from poselift.artifacts import artifact

        return getattr(artifact, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
