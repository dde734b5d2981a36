"""What of the contracts clients rely on, and which changes break them: of the OpenAPI document, and of the protobuf.

Compared are the operations, parameters, fields, their types and whether they are required. Bounds and conditions among
fields are not, nor is anything that only adds: clients must ignore fields that they do not know.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from google.protobuf.descriptor_pb2 import FileDescriptorProto, FileDescriptorSet

PROTO_PACKAGE = "poselift.v1"


@dataclass(frozen=True)
class Field:
    """What is promised of one field of a JSON document; an empty `choices` is any value."""

    types: frozenset[str]
    is_required: bool
    choices: frozenset[str]


def openapi_breaks(old: dict[str, Any], new: dict[str, Any]) -> list[str]:
    """What a client of the old document would stumble over, one sentence each."""
    return list(_operation_breaks(old, new))


def _operation_breaks(old: dict[str, Any], new: dict[str, Any]) -> Iterator[str]:
    for path, methods in old["paths"].items():
        for method, operation in methods.items():
            name = f"{method.upper()} {path}"
            if (now := new["paths"].get(path, {}).get(method)) is None:
                yield f"{name} is gone."
                continue
            before, after = _parameters(operation, old), _parameters(now, new)
            yield from _request_breaks(f"{name}, parameters", before, after)
            before, after = _content(operation.get("requestBody"), old), _content(now.get("requestBody"), new)
            yield from _request_breaks(f"{name}, body", before, after)
            for status, response in operation["responses"].items():
                if status not in now["responses"]:
                    if status.startswith("2"):
                        yield f"{name} no longer answers with {status}."
                    continue
                before, after = _content(response, old), _content(now["responses"][status], new)
                yield from _response_breaks(f"{name}, answer {status}", before, after)


def _request_breaks(name: str, old: dict[str, Field], new: dict[str, Field]) -> Iterator[str]:
    for path, field in old.items():
        if (now := new.get(path)) is None:
            yield f"{name}: {path} is no longer taken."
            continue
        if lost := field.types - now.types:
            yield f"{name}: {path} may no longer be {', '.join(sorted(lost))}."
        if now.choices and (gone := field.choices - now.choices if field.choices else {"anything"}):
            yield f"{name}: {path} may no longer be {', '.join(sorted(gone))}."
    for path, now in new.items():
        if now.is_required and not (path in old and old[path].is_required) and _parent(path) in old:
            yield f"{name}: {path} is newly required."


def _response_breaks(name: str, old: dict[str, Field], new: dict[str, Field]) -> Iterator[str]:
    for path, field in old.items():
        if (now := new.get(path)) is None:
            yield f"{name}: {path} is gone."
            continue
        if others := now.types - field.types:
            yield f"{name}: {path} may now be {', '.join(sorted(others))}."
        if field.is_required and not now.is_required:
            yield f"{name}: {path} may now be missing."


def _parameters(operation: dict[str, Any], document: dict[str, Any]) -> dict[str, Field]:
    """Parameters by name, and the empty name for the whole of them."""
    fields = {"": Field(frozenset(), False, frozenset())}
    for parameter in operation.get("parameters", ()):
        name = f".{parameter['in']}:{parameter['name']}"
        fields |= _fields(parameter["schema"], document, name, is_required=parameter.get("required", False))
    return fields


def _content(body: dict[str, Any] | None, document: dict[str, Any]) -> dict[str, Field]:
    """Fields of a body, below the media type that it has."""
    fields: dict[str, Field] = {}
    for media_type, content in (body or {}).get("content", {}).items():
        fields |= _fields(content["schema"], document, media_type, is_required=True)
    return fields


def _fields(
    schema: dict[str, Any], document: dict[str, Any], path: str, *, is_required: bool, above: tuple[str, ...] = ()
) -> dict[str, Field]:
    """A schema and all below it, by path, such as `application/json.tracks[].track_id`."""
    types: set[str] = set()
    choices: set[str] = set()
    below: dict[str, Field] = {}
    for branch, references in _branches(schema, document, above):
        types |= _types(branch)
        choices |= {str(choice) for choice in branch.get("enum", [branch["const"]] if "const" in branch else [])}
        for name, part in branch.get("properties", {}).items():
            required = name in branch.get("required", ())
            below |= _fields(part, document, f"{path}.{name}", is_required=required, above=references)
        for part in [branch["items"]] if "items" in branch else branch.get("prefixItems", ()):
            below |= _fields(part, document, f"{path}[]", is_required=False, above=references)
    return {path: Field(frozenset(types), is_required, frozenset(choices)), **below}


def _branches(
    schema: dict[str, Any], document: dict[str, Any], above: tuple[str, ...]
) -> Iterator[tuple[dict[str, Any], tuple[str, ...]]]:
    """The alternatives of a schema, references resolved; a schema that contains itself is followed once."""
    if (reference := schema.get("$ref")) is not None:
        if reference not in above:
            target: dict[str, Any] = document
            for name in reference.removeprefix("#/").split("/"):
                target = target.get(name, {})
            yield from _branches(target, document, (*above, reference))
        return
    yield schema, above
    for alternative in (*schema.get("anyOf", ()), *schema.get("oneOf", ())):
        yield from _branches(alternative, document, above)


def _types(schema: dict[str, Any]) -> set[str]:
    named = schema.get("type", ())
    types = {named} if isinstance(named, str) else set(named)
    return types | {"integer"} if "number" in types else types


def _parent(path: str) -> str:
    return path.rpartition(".")[0]


def proto_breaks(promised: bytes, generated: bytes) -> list[str]:
    """What of a descriptor set the generated descriptor of the file no longer keeps, one sentence each."""
    (old,) = (file for file in FileDescriptorSet.FromString(promised).file if file.package == PROTO_PACKAGE)
    kept = set(promises(FileDescriptorProto.FromString(generated)))
    return [f"proto/lifter.proto no longer has {promise}." for promise in promises(old) if promise not in kept]


def promises(file: FileDescriptorProto) -> Iterator[tuple[object, ...]]:
    """What clients may rely on: every field, with its number and type, and every call."""
    for message in file.message_type:
        yield message.name, "message"
        for field in message.field:
            told_apart = field.label, field.proto3_optional
            yield message.name, field.number, field.name, field.type, field.type_name, *told_apart
    for service in file.service:
        for call in service.method:
            streams = call.client_streaming, call.server_streaming
            yield service.name, call.name, call.input_type, call.output_type, *streams
