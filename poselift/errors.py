"""Errors of the caller's input, one class per kind.

    PoseliftError
    ├── InvalidKeypoints        keypoints of a wrong shape, or with impossible values
    ├── InvalidPoses            3D poses of a wrong shape, or that cannot be completed
    ├── UnknownSkeleton         an unknown skeleton name
    ├── InvalidFile             a detector or pose file that cannot be read
    ├── InvalidDataset          training or test data that is missing or inconsistent
    ├── InvalidRecipe           a training recipe that cannot be run
    ├── InvalidCheckpoint       an official checkpoint that does not fit the network
    ├── InvalidArtifact         a published artifact that is missing, broken or altered
    └── UnreachableRepository   a remote model repository that cannot be reached

Each message is one sentence that a user can act on. Transports translate the classes, so
this module does not depend on them.
"""


class PoseliftError(Exception):
    """The caller's input cannot be used.

    Attributes:
        message: one sentence, meant for the caller.
        path: the field at fault, as in `keypoints[3][5][0]`, or None if no single field is.
    """

    def __init__(self, message: str, *, path: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.path = path


class InvalidKeypoints(PoseliftError):
    """Keypoints of a wrong shape, or with impossible values."""


class InvalidPoses(PoseliftError):
    """3D poses of a wrong shape, or that cannot be completed."""


class UnknownSkeleton(PoseliftError):
    """An unknown skeleton name."""


class InvalidFile(PoseliftError):
    """A detector or pose file that cannot be read."""


class InvalidDataset(PoseliftError):
    """Training or test data that is missing or inconsistent."""


class InvalidRecipe(PoseliftError):
    """A training recipe that cannot be run."""


class InvalidCheckpoint(PoseliftError):
    """An official checkpoint that does not fit the network."""


class InvalidArtifact(PoseliftError):
    """A published artifact that is missing, broken or altered."""


class UnreachableRepository(PoseliftError):
    """A remote model repository that cannot be reached."""
