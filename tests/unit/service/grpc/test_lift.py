"""Lift, Complete and ListModels over gRPC."""

import grpc
from poselift_service.transport.limits import SizeLimit

from poselift.pb import lifter_pb2 as pb
from tests.unit.service.conftest import Serving, full
from tests.unit.service.grpc.conftest import Started, lift_request, refusal, running, server_of
from tests.unit.service.long_clips import SKELETON, WORK_ON_JOINTS, functions_called, shares


async def test_a_request_is_answered_with_its_poses(started: Started):
    answer = await started.stub.Lift(lift_request(3, model="scripted@stable"))
    assert (len(answer.joints), answer.model.version, answer.skeleton) == (3 * 51, 3, "h36m17")


async def test_models_are_listed(started: Started):
    (model,) = (await started.stub.ListModels(pb.ListModelsRequest())).models
    assert (model.reference.name, model.reference.version, list(model.labels)) == ("scripted", 3, ["stable"])
    assert (model.is_default, model.receptive_field, model.receptive_field_s) == (True, 5, 0.08)


async def test_unparseable_bytes_are_an_invalid_request(started: Started):
    status, message, metadata = await refusal(started.call("Lift", b"\xff\xff"))
    assert (status, metadata["poselift-code"]) == (grpc.StatusCode.INVALID_ARGUMENT, "invalid_request")
    assert "poselift.v1.LiftRequest" in message


async def test_a_full_queue_refuses_before_a_request_is_read(started: Started, serving: Serving):
    with full(serving.batcher):
        status, _, metadata = await refusal(started.call("Lift", b"\xff"))
    assert (status, metadata["poselift-code"]) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "overloaded")


async def test_a_long_message_is_checked_and_prepared_beside_the_event_loop(serving: Serving):
    async with running(server_of(serving, max_message=SizeLimit(10**6))) as started:
        await started.server.set_ready()
        for frames, on_loop in ((10, WORK_ON_JOINTS), (100, set())):
            keypoints = shares(frames).ravel()
            with functions_called() as called:
                await started.stub.Lift(lift_request(keypoints=keypoints, skeleton=SKELETON, coordinates="normalised"))
            assert called & WORK_ON_JOINTS == on_loop
