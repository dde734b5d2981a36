"""Fields of protobuf messages that are filled through the wire format."""

import numpy as np
import pytest
from poselift_service.codecs.protobuf.fields import set_floats

from poselift.pb import lifter_pb2 as pb


@pytest.mark.parametrize("length", [0, 1, 31, 32, 4095, 4096, 600_000])
def test_floats_set_at_once_equal_those_set_one_by_one(length: int):
    """Lengths around those at which the varint of the size gets another byte."""
    values = np.arange(length, dtype=np.float32)
    at_once = pb.LiftResponse(skeleton="x")
    set_floats(at_once, pb.LiftResponse.JOINTS_FIELD_NUMBER, values)
    assert at_once == pb.LiftResponse(skeleton="x", joints=values.tolist())
