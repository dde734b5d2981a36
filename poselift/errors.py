"""Errors of the caller's input, one class per kind.

    PoseliftError
    ├── InvalidKeypoints        keypoints of a wrong shape, or with impossible values
    ├── InvalidPoses            3D poses of a wrong shape, or that cannot be completed
    ├── UnknownSkeleton         an unknown skeleton name
    ├── UnknownPerson           a person who is not among those of the input
    ├── InvalidFile             a detector or pose file that cannot be read
    ├── InvalidDataset          training or test data that is missing or inconsistent
    ├── InvalidRecipe           a training recipe that cannot be run
    ├── InvalidCheckpoint       an official checkpoint that does not fit the network
    ├── InvalidArtifact         a published artifact that is missing, broken or altered
    └── UnreachableRepository   a remote model repository that cannot be reached

Each message is one sentence that a user can act on. Transports translate the classes, so
this module does not depend on them.
"""

import errno


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


class UnknownPerson(PoseliftError):
    """A person who is not among those of the input."""


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


# The extra of this package that installs a module, by the name that is imported.
_EXTRAS = {
    "lift": "numpy torch safetensors pydantic typer rich fsspec orjson",
    "serve": "fastapi fastapi_offline starlette uvicorn httptools uvloop websockets pydantic_settings simdjson "
    "prometheus_client redis grpc google grpc_health grpc_reflection",
    "training": "lightning_fabric lightning_utilities tensorboard matplotlib",
    "s3": "s3fs",
    "formats": "ezc3d h5py pyarrow",
    "openvino": "openvino",
    "otel": "opentelemetry",
    "client": "httpx",
}
_OUR_PACKAGES = ("poselift", "poselift_service", "poselift_training")


def printable(text: str) -> str:
    """A text with names out of a file, in which these may hold line breaks and escape sequences for the terminal."""
    return "".join(letter if letter.isprintable() else " " for letter in text)


def sentence_about(error: BaseException) -> str | None:
    """What a command says about a failure that its user can end: bad input, files, and packages that are missing.

    Returns:
        One sentence; None for a bug, which deserves its traceback.
    """
    if isinstance(error, PoseliftError):
        return error.message
    if isinstance(error, ModuleNotFoundError):
        return _about_missing(error.name or "")
    if isinstance(error, OSError) and error.strerror is not None and error.errno != errno.EPIPE:
        return f"{error.strerror}." if error.filename is None else f"{error.filename}: {error.strerror}."
    return None


def _about_missing(module: str) -> str | None:
    package = module.partition(".")[0]
    if package in _OUR_PACKAGES:
        # Not a module of an installed package: that would be a bug.
        return (
            f"{module} is not installed; `pip install -e .` in its checkout does that." if package == module else None
        )
    extra = next((f"[{extra}]" for extra, modules in _EXTRAS.items() if package in modules.split()), "[lift]")
    return (
        f"This needs {module}, which is not installed; pip install 'poselift{extra}' brings it, "
        f"in a checkout pip install -e '.{extra}'."
    )
