"""Errors of the service as statuses and metadata."""

from typing import Any

import pytest
from poselift_service import errors

from poselift import errors as core_errors
from tests.unit.service.conftest import Serving
from tests.unit.service.grpc.conftest import Started, lift_request, refusal


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (core_errors.InvalidKeypoints("Wrong.", path="keypoints[1]"), "INVALID_ARGUMENT", "invalid_request"),
        (core_errors.UnknownSkeleton("Wrong.", path="skeleton"), "INVALID_ARGUMENT", "invalid_request"),
        (errors.InvalidRequest("Unlesbar: ä."), "INVALID_ARGUMENT", "invalid_request"),
        (errors.InvalidRequest("x" * 100_000), "INVALID_ARGUMENT", "invalid_request"),
        (errors.Unauthenticated("Wrong."), "UNAUTHENTICATED", "unauthenticated"),
        (errors.UnknownModel("x", ["y"]), "NOT_FOUND", "unknown_model"),
        (errors.Overloaded(retry_after_s=2.1), "RESOURCE_EXHAUSTED", "overloaded"),
        (errors.DeadlineExceeded(), "DEADLINE_EXCEEDED", "deadline_exceeded"),
        (errors.NotReady("Starting."), "UNAVAILABLE", "not_ready"),
        (errors.EngineFailed(), "INTERNAL", "engine_failed"),
        (errors.ModelConflict("Not now."), "FAILED_PRECONDITION", "model_conflict"),
        (errors.RepositoryDown("Gone."), "UNAVAILABLE", "repository_down"),
    ],
)
async def test_errors_become_statuses(
    started: Started, serving: Serving, monkeypatch: pytest.MonkeyPatch, error: Any, status: str, code: str
):
    async def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(serving.pipeline, "lift", fail)
    given, message, metadata = await refusal(started.stub.Lift(lift_request(), metadata=(("x-request-id", "my-own"),)))
    assert (given.name, message) == (status, errors.shorten(error.message))
    assert (metadata["poselift-code"], metadata.get("poselift-path")) == (code, error.path)
    assert metadata["x-request-id"] == "my-own"
    assert metadata.get("grpc-retry-pushback-ms") == ("2100" if code == "overloaded" else None)
