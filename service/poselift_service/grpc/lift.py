"""Lift, Complete and ListModels over gRPC."""

from poselift.pb import lifter_pb2 as pb
from poselift_service.codecs.protobuf.fields import parse
from poselift_service.codecs.protobuf.lift import (
    read_complete,
    read_lift,
    read_off_loop_if_long,
    write_models,
    write_result,
)
from poselift_service.codecs.protobuf.refine import read_refine, write_refined
from poselift_service.grpc.call import Methods
from poselift_service.pipeline.lift import Pipeline, Result
from poselift_service.telemetry.record import RequestRecord


def lift_methods(pipeline: Pipeline) -> Methods:
    """Build the methods that need a pipeline, but no session."""

    async def lift(body: bytes, record: RequestRecord, deadline: float) -> bytes:
        pipeline.refuse_when_full(deadline)
        request = await read_off_loop_if_long(read_lift, body, pipeline.limits)
        return _serialize(await pipeline.lift(request, deadline=deadline), record)

    async def complete(body: bytes, record: RequestRecord, deadline: float) -> bytes:
        pipeline.refuse_when_full(deadline)
        request = await read_off_loop_if_long(read_complete, body, pipeline.limits)
        return _serialize(await pipeline.complete(request, deadline=deadline), record)

    async def refine(body: bytes, record: RequestRecord, deadline: float) -> bytes:
        pipeline.refuse_refinement_when_full()
        refined = await pipeline.refine(await read_refine(body, pipeline.limits), deadline)
        return write_refined(refined, total_s=record.elapsed_s)

    async def list_models(body: bytes, record: RequestRecord, deadline: float) -> bytes:
        parse(body, pb.ListModelsRequest)
        return write_models(pipeline.models)

    unary = {"Lift": lift, "Complete": complete, "Refine": refine, "ListModels": list_models}
    return Methods(unary=unary, streams={})


def _serialize(result: Result, record: RequestRecord) -> bytes:
    """Note a result in the record and serialize it."""
    record.set_result(
        model=result.manifest.name, frames=result.poses, queue_s=result.queue_s, inference_s=result.inference_s
    )
    return write_result(result, total_s=record.elapsed_s)
