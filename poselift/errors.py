"""What a caller can get wrong, one class each.

    PoseliftError
    ├── InvalidKeypoints        keypoints of a wrong shape, or with values that are no positions
    ├── InvalidPoses            3D poses of a wrong shape, or that cannot be completed
    ├── UnknownSkeleton         a skeleton name we have no joints for
    ├── InvalidFile             a detector or pose file that cannot be read as what it claims to be
    ├── InvalidDataset          training or test data that is missing or inconsistent
    ├── InvalidRecipe           a training recipe that cannot be run
    ├── InvalidCheckpoint       an official checkpoint that does not fit the network
    ├── InvalidArtifact         a published artifact that is broken, foreign or altered
    └── UnreachableRepository   a remote model repository that cannot be read now

Each message is one sentence that a user can act on. Transports translate the classes, so nothing here knows of HTTP.
"""


class PoseliftError(Exception):
    """The caller's input cannot be used.

    Attributes:
        message: one sentence, meant for the caller.
        path: the field at fault, as in `keypoints[3][5][0]`, or None when no single field is.
    """

    def __init__(self, message: str, *, path: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.path = path


class InvalidKeypoints(PoseliftError):
    """Keypoints of a wrong shape, or with values that are no positions."""


class InvalidPoses(PoseliftError):
    """3D poses of a wrong shape, or that cannot be completed."""


class UnknownSkeleton(PoseliftError):
    """A skeleton name we have no joints for."""


class InvalidFile(PoseliftError):
    """A detector or pose file that cannot be read as what it claims to be."""


class InvalidDataset(PoseliftError):
    """Training or test data that is missing or inconsistent."""


class InvalidRecipe(PoseliftError):
    """A training recipe that cannot be run."""


class InvalidCheckpoint(PoseliftError):
    """An official checkpoint that does not fit the network."""


class InvalidArtifact(PoseliftError):
    """A published artifact that is broken, foreign or altered."""


class UnreachableRepository(PoseliftError):
    """A remote model repository that cannot be read now."""
