"""The first finding of pydantic, as sentences need it."""

import dataclasses
import json
import re
import tomllib
from itertools import product
from typing import Annotated, get_args

import pytest
from poselift_service.codecs.json import forms
from poselift_training.recipe import SHIPPED, Recipe, recipe_from
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator
from pydantic_core.core_schema import ErrorType

from poselift import validation
from poselift.artifacts.manifest import Manifest
from poselift.errors import InvalidRecipe
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
        ([{"name": "Eve", "sizes": [1, 0]}], "greater_than", "people[0].sizes[1]", "it must be greater than 0", 0),
        ([{"name": "eve", "sizes": [0]}], "value_error", "people[0].name", "names begin with a capital", "eve"),
        ([{}], "missing", "people[0].name", "it is missing", {}),
        ([{"name": "Eve", "x": 1}], "extra_forbidden", "people[0].x", "it is not known here", 1),
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


def test_the_kinds_of_faults_are_those_of_pydantic():
    assert validation._MESSAGES.keys() <= set(get_args(ErrorType))


# What pydantic says in its own words.
PYDANTICS = re.compile(r"Input|Field required|valid (integer|number|string|list|dict)|Extra|permitted|dictionary")
STRANGE: list[object] = [
    None,
    True,
    -1,
    0,
    1.5,
    1e300,
    10**30,
    "",
    "x" * 300,
    "é",
    [],
    [[]],
    [None],
    ["a", 1],
    {},
    {"a": 1},
    [[1, 2, 3]],
]


@pytest.mark.parametrize("form", [forms.LiftForm, forms.CompleteForm, forms.OpeningForm, forms.FramesForm, Manifest])
def test_no_schema_speaks_in_the_words_of_pydantic(form: type[BaseModel]):
    refused = 0
    for field, value in product([*form.model_fields, "unheard_of"], STRANGE):
        try:
            form.model_validate_json(json.dumps({field: value}))
        except ValidationError as error:
            for finding in error.errors():
                refused += 1
                said = validation._message(finding["type"], finding.get("ctx", {}), finding["msg"])
                assert not PYDANTICS.search(said), (field, value, said)
    assert refused > 50


def test_no_recipe_is_refused_in_the_words_of_pydantic():
    recipe = tomllib.loads((SHIPPED / "smoke.toml").read_text())
    refused = [
        error
        for key, value in product([field.name for field in dataclasses.fields(Recipe)], STRANGE)
        if (error := refusal_of(recipe | {key: value}))
    ]
    assert len(refused) > 50
    assert [error.message for error in refused if PYDANTICS.search(error.message) or not error.path] == []


def refusal_of(recipe: dict[str, object]) -> InvalidRecipe | None:
    try:
        recipe_from(recipe)
    except InvalidRecipe as error:
        return error
    return None


@pytest.mark.parametrize("document", ["{", '{"a": 1}}', "[1,]", "\x00", '{"a": nope}', ""])
def test_what_is_no_json_is_said_with_its_place(document: str):
    with pytest.raises(ValidationError) as error:
        People.model_validate_json(document)
    assert re.fullmatch(r"it is not JSON from line \d+, column \d+ on", first_finding(error.value).message)
