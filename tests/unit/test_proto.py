"""The protobuf contract: the generated code follows it, and it stays compatible with what clients were built with."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from google.protobuf.descriptor_pb2 import FileDescriptorProto, FileDescriptorSet

from docs.compatibility import promises, proto_breaks
from poselift.pb import lifter_pb2

REPOSITORY = Path(__file__).parents[2]
PROTO = REPOSITORY / "proto"
IMAGE = PROTO / "lifter.binpb"


def only_file(descriptors: bytes) -> FileDescriptorProto:
    """The contract in a descriptor set that may hold what it imports too."""
    (file,) = [file for file in FileDescriptorSet.FromString(descriptors).file if file.package == "poselift.v1"]
    return file


def generated() -> FileDescriptorProto:
    return FileDescriptorProto.FromString(lifter_pb2.DESCRIPTOR.serialized_pb)


def test_the_generated_code_is_that_of_the_contract(tmp_path: Path):
    written = tmp_path / "descriptors"
    command = [sys.executable, "-m", "grpc_tools.protoc", f"-I{PROTO}", f"--descriptor_set_out={written}"]
    subprocess.run([*command, PROTO / "lifter.proto"], check=True)
    assert list(promises(only_file(written.read_bytes()))) == list(promises(generated())), "run `make proto`"


def test_what_was_promised_is_kept():
    assert len(list(promises(only_file(IMAGE.read_bytes())))) > 50
    assert proto_breaks(IMAGE.read_bytes(), lifter_pb2.DESCRIPTOR.serialized_pb) == []


def test_a_broken_promise_is_seen():
    changed = generated()
    changed.message_type[0].field[0].number = 99
    (broken,) = proto_breaks(IMAGE.read_bytes(), changed.SerializeToString())
    assert "'keypoints'" in broken


@pytest.mark.parametrize(
    "arguments", [["lint", PROTO], ["breaking", PROTO, "--against", IMAGE]], ids=["lint", "breaking"]
)
def test_buf_has_nothing_to_say(arguments: list[str | Path]):
    buf = shutil.which("buf")
    if buf is None:
        pytest.skip("buf is not installed; `make proto` fetches it from npm")
    done = subprocess.run([buf, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
