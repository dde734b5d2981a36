"""The first finding of pydantic, as sentences need it."""

from typing import Annotated

import pytest
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from poselift.validation import first_finding


class Person(BaseModel):
    model_config = ConfigDict(extra="forbid")

    name: str
    sizes: list[Annotated[int, Field(gt=0)]] = []

    @field_validator("name")
    @classmethod
    def is_capital(cls, name: str) -> str:
        if name != name.capitalize():
            raise ValueError("names begin with a capital.")
        return name


class People(BaseModel):
    people: list[Person]


@pytest.mark.parametrize(
    ("people", "kind", "path", "message", "value"),
    [
        ([{"name": "Eve"}, {"name": "adam"}], "value_error", "people[1].name", "names begin with a capital", "adam"),
        ([{"name": "Eve", "sizes": [1, 0]}], "greater_than", "people[0].sizes[1]", "Input should be greater than 0", 0),
        ([{"name": "eve", "sizes": [0]}], "value_error", "people[0].name", "names begin with a capital", "eve"),
        ([{}], "missing", "people[0].name", "Field required", {}),
        ([{"name": "Eve", "x": 1}], "extra_forbidden", "people[0].x", "Extra inputs are not permitted", 1),
    ],
)
def test_a_finding_names_its_place_and_says_what_is_wrong(
    people: object, kind: str, path: str, message: str, value: object
):
    with pytest.raises(ValidationError) as error:
        People.model_validate({"people": people})
    found = first_finding(error.value)
    assert (found.kind, found.path, found.message, found.value) == (kind, path, message, value)


def test_the_whole_document_has_no_path():
    with pytest.raises(ValidationError) as error:
        People.model_validate_json("[")
    assert (first_finding(error.value).kind, first_finding(error.value).path) == ("json_invalid", "")
