"""Poselift lifts 2D keypoint sequences to 3D human poses.

from poselift import load_artifact
artifact = load_artifact("models/pstmo-tiny-27/11")
poses = artifact.lifter(windows)  # windows [B, N, J, 2] in screen coordinates
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from poselift.artifacts.artifact import Artifact, load_artifact

    __version__: str

__all__ = ["Artifact", "__version__", "load_artifact"]


def __getattr__(name: str) -> Any:
    # Loading torch takes seconds; `import poselift` and `poselift --help` must not wait for it.
    if name == "__version__":
        from importlib.metadata import version

        return version("poselift")
    if name in __all__:
        from poselift.artifacts import artifact

        return getattr(artifact, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
