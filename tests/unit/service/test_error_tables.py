"""Every error that a request can end in has a row in the table of each transport."""

from collections.abc import Iterator, Mapping

import pytest
from poselift_service.errors import ServiceError, shorten
from poselift_service.grpc import errors as grpc_errors
from poselift_service.http import errors as http_errors

from poselift.errors import PoseliftError

TABLES: dict[str, Mapping[type[Exception], object]] = {"http": http_errors.STATUS, "grpc": grpc_errors.STATUS}


def subclasses(kind: type[Exception]) -> Iterator[type[Exception]]:
    for child in kind.__subclasses__():
        if not child.__module__.startswith("tests."):
            yield child
            yield from subclasses(child)


@pytest.mark.parametrize("transport", TABLES)
@pytest.mark.parametrize("kind", [*subclasses(ServiceError), PoseliftError, *subclasses(PoseliftError)])
def test_every_error_has_a_status(kind: type[Exception], transport: str):
    table = TABLES[transport]
    assert any(ancestor in table for ancestor in kind.__mro__), f"{kind.__name__} has no row in {transport}/errors.py"


@pytest.mark.parametrize("transport", TABLES)
def test_every_service_error_has_a_row_of_its_own(transport: str):
    assert set(TABLES[transport]) == {PoseliftError, *subclasses(ServiceError)}


def test_every_service_error_has_a_code_of_its_own():
    codes = [kind.code for kind in subclasses(ServiceError)]  # type: ignore[attr-defined]
    assert len(codes) == len(set(codes))


def test_the_middle_of_a_long_message_is_left_out():
    long = f"There is no model '{'9' * 5000}'; name another."
    assert len(shorten(long)) <= 2000
    assert shorten(long).startswith("There is no model '999")
    assert shorten(long).endswith("'; name another.")
    assert shorten("x" * 2000) == "x" * 2000
