"""Compare a weights file with the network of a manifest, by its header, before anything of that size is allocated."""

import json
import struct
from collections.abc import Callable, Mapping
from typing import NamedTuple

import safetensors.torch
import torch
from torch import Tensor

from poselift.artifacts.files import Location, read_file
from poselift.artifacts.manifest import WEIGHTS_FILE, Manifest
from poselift.errors import InvalidArtifact
from poselift.lifters.systems import configure, outline

_MAX_HEADER_BYTES = 16 * 1024 * 1024
_LENGTH = struct.Struct("<Q")
# Any of one kind may stand for another, because loading converts them.
_KINDS = {"F16": "floating", "BF16": "floating", "F32": "floating", "F64": "floating", "I64": "whole", "I32": "whole"}


class TensorSize(NamedTuple):
    """The kind of numbers of a tensor, and its shape."""

    kind: str
    shape: tuple[int, ...]

    def __str__(self) -> str:
        return f"{self.kind} numbers {list(self.shape)}"


def check_header(location: Location, manifest: Manifest) -> None:
    """Check that the weights of an artifact fit its manifest, reading only the header of their file.

    Raises:
        InvalidArtifact: the file is missing or has no such header, or a tensor is missing, is too many, or has another
            size than in the network of the manifest.
        UnreachableRepository: the object store cannot be reached.
    """

    def read(first: int, end: int) -> bytes:
        try:
            return read_file(location, WEIGHTS_FILE, first, end)
        except OSError as error:
            raise InvalidArtifact(
                f"The artifact {location} has no readable {WEIGHTS_FILE}: copy or publish it again."
            ) from error

    _check_fit(_read_header(read, location), manifest, location)


def check_sizes(weights: bytes, manifest: Manifest, location: Location) -> None:
    """Check that the content of a weights file fits a manifest, without building the network.

    Raises:
        InvalidArtifact: as `check_header`.
    """
    _check_fit(_read_header(lambda first, end: weights[first:end], location), manifest, location)


def read_tensors(weights: bytes, location: Location) -> dict[str, Tensor]:
    """The tensors of a weights file.

    Raises:
        InvalidArtifact: the file is broken, or a number in it is not finite.
    """
    try:
        tensors = safetensors.torch.load(weights)
    except Exception as error:  # safetensors raises several unrelated kinds for a broken file
        raise InvalidArtifact(f"The weights in {location} cannot be read: copy or publish it again.") from error
    for name, tensor in tensors.items():
        if tensor.is_floating_point() and not tensor.float().isfinite().all():
            raise InvalidArtifact(f"The weights in {location} are not finite: {name} has a NaN or an infinity.")
    return tensors


def _read_header(read: Callable[[int, int], bytes], location: Location) -> dict[str, TensorSize]:
    """The tensors that the header of a safetensors file names."""
    try:
        (length,) = _LENGTH.unpack(read(0, _LENGTH.size))
        if length > _MAX_HEADER_BYTES:
            raise ValueError(f"a header of {length} bytes")
        header = json.loads(read(_LENGTH.size, _LENGTH.size + length))
        header.pop("__metadata__", None)
        return {name: _tensor_size(**tensor) for name, tensor in header.items()}
    except (struct.error, ValueError, TypeError, AttributeError, RecursionError) as error:
        raise InvalidArtifact(
            f"The weights in {location} are no safetensors file: copy or publish it again."
        ) from error


def _tensor_size(dtype: str, shape: list[int], data_offsets: list[int]) -> TensorSize:
    del data_offsets  # safetensors checks them when it reads the tensors
    return TensorSize(_KINDS.get(dtype, f"{dtype:.10}"), tuple(map(int, shape)))


def _check_fit(found: Mapping[str, TensorSize], manifest: Manifest, location: Location) -> None:
    _check_frame(manifest, location)
    expected = _expected_sizes(manifest)
    for name in sorted(expected.keys() | found.keys()):
        if found.get(name) != expected.get(name):
            raise InvalidArtifact(
                f"The weights in {location} do not fit the network of its manifest: {name:.100} is "
                f"{found.get(name, 'missing')} in the file and {expected.get(name, 'missing')} in the network."
            )


def _expected_sizes(manifest: Manifest) -> dict[str, TensorSize]:
    """The tensors of the network of a manifest, which is not allocated."""
    network = outline(manifest.system, configure(manifest.system, manifest.network))
    return {
        name: TensorSize(_kind_of(tensor.dtype), tuple(tensor.shape)) for name, tensor in network.state_dict().items()
    }


def _kind_of(dtype: torch.dtype) -> str:
    return "floating" if dtype.is_floating_point else "whole"


def _check_frame(manifest: Manifest, location: Location) -> None:
    """The network must take and return the joints of the skeletons, and missing ones if the manifest says so."""
    config = configure(manifest.system, manifest.network)
    for skeleton, joints in ((manifest.source, config.joints_in), (manifest.target, config.joints_out)):
        if skeleton.n_joints != joints:
            raise InvalidArtifact(
                f"The network of {location} has {joints} joints, and the skeleton {skeleton.name} of its manifest "
                f"has {skeleton.n_joints}."
            )
    if manifest.missing_joints == "token" and not config.mask_token:
        raise InvalidArtifact(f"The network of {location} has no token for missing joints, as its manifest says.")
