"""A class as the form of the answer, and the answer as one of its objects."""

from __future__ import annotations

import dataclasses
import enum
from datetime import datetime
from typing import Annotated, Any, Generic, Literal, TypedDict, TypeVar

import msgspec
import pydantic
import pytest
from calling import USER

from router import BadRequest, Chunk, Router, provider
from router.structured import parse, response_format_of


class Inner(msgspec.Struct):
    number: int
    default: str = "x"


class AStruct(msgspec.Struct):
    name: str
    inner: Inner
    tags: list[str] = []


@dataclasses.dataclass
class ADataclass:
    name: str
    inner: Inner | None = None


class ATypedDict(TypedDict):
    name: str


class AModel(pydantic.BaseModel):
    name: str
    count: int = 0


class Recursive(msgspec.Struct):
    children: list[Recursive]


class AModelInItself(pydantic.BaseModel):
    children: list[AModelInItself] = []


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Cat(pydantic.BaseModel):
    kind: Literal["cat"]


class Dog(pydantic.BaseModel):
    kind: Literal["dog"]


class Described(pydantic.BaseModel):
    """Fields of whose schemas pydantic says more than services with `strict` take."""

    pet: Annotated[Cat | Dog, pydantic.Field(discriminator="kind")]
    owner: AModel = pydantic.Field(description="Whose it is.")


class Open(msgspec.Struct):
    counts: dict[str, int]


Kept = TypeVar("Kept")


class Box(pydantic.BaseModel, Generic[Kept]):
    kept: Kept


def objects(schema: Any) -> Any:
    """Every schema of an object within a schema."""
    if isinstance(schema, dict):
        if schema.get("type") == "object":
            yield schema
        for each in schema.values():
            yield from objects(each)
    elif isinstance(schema, list):
        for each in schema:
            yield from objects(each)


@pytest.mark.parametrize(
    "kind", [AStruct, ADataclass, ATypedDict, AModel, Recursive, AModelInItself, Described]
)
def test_a_class_becomes_a_strict_schema(kind: type) -> None:
    form, found = response_format_of(kind)
    assert found is kind
    assert form["type"] == "json_schema"
    assert form["json_schema"]["name"] == kind.__name__
    assert form["json_schema"]["strict"] is True
    schema = form["json_schema"]["schema"]
    assert schema["type"] == "object"
    for each in objects(schema):
        assert each["additionalProperties"] is False
        assert each["required"] == list(each["properties"])


def test_a_property_may_be_called_default() -> None:
    schema = response_format_of(AStruct)[0]["json_schema"]["schema"]
    assert list(schema["$defs"]["Inner"]["properties"]) == ["number", "default"]


def test_a_class_that_holds_itself_refers_to_itself() -> None:
    schema = response_format_of(Recursive)[0]["json_schema"]["schema"]
    assert "Recursive" in schema["$defs"]


def test_a_class_whose_name_begins_anothers_is_not_repeated() -> None:
    """It was taken to hold itself, and sent twice."""

    class In(msgspec.Struct):
        inner: Inner

    assert list(response_format_of(In)[0]["json_schema"]["schema"]["$defs"]) == ["Inner"]


def test_a_reference_stands_alone_and_a_union_is_any_of() -> None:
    """With `strict`, services refuse a reference that is described, and `oneOf`."""
    schema = response_format_of(Described)[0]["json_schema"]["schema"]
    assert schema["properties"] == {
        "pet": {
            "anyOf": [{"$ref": "#/$defs/Cat"}, {"$ref": "#/$defs/Dog"}],
            "title": "Pet",
        },
        "owner": {"anyOf": [{"$ref": "#/$defs/AModel"}], "description": "Whose it is."},
    }


def test_a_class_with_keys_of_any_name_keeps_them() -> None:
    schema = response_format_of(Open)[0]["json_schema"]["schema"]
    assert schema["properties"]["counts"]["additionalProperties"] == {"type": "integer"}


@pytest.mark.parametrize(
    "field",
    [
        *(dict[str, int], list[dict[str, int]], Any, list[Any], set[int], tuple[int, str]),
        *(pydantic.AnyUrl, Annotated[str, pydantic.Field(min_length=1)]),
    ],
    ids=str,
)
def test_a_class_that_says_more_than_strict_takes_is_not_strict(field: Any) -> None:
    """It was sent as strict, which the OpenAI API refuses."""
    kind = pydantic.create_model("Holder", kept=field)
    assert response_format_of(kind)[0]["json_schema"]["strict"] is False


@pytest.mark.parametrize(
    "field",
    [
        *(Colour, Literal["a"], Literal["a", "b"], list[Cat], Cat | None, datetime, list[str]),
        *(Annotated[int, pydantic.Field(ge=0)], Annotated[list[int], pydantic.Field(max_length=2)]),
    ],
    ids=str,
)
def test_a_class_of_what_strict_takes_is_strict(field: Any) -> None:
    kind = pydantic.create_model("Holder", kept=field)
    assert response_format_of(kind)[0]["json_schema"]["strict"] is True


def test_a_word_of_one_is_an_enum_of_it() -> None:
    """As a `const` it was nothing to those that do not know it, as Gemini does not."""
    for kind in (Cat, msgspec.defstruct("Cat", [("kind", Literal["cat"])])):
        schema = response_format_of(kind)[0]["json_schema"]["schema"]
        kept = schema["properties"]["kind"]
        assert (kept["type"], kept["enum"]) == ("string", ["cat"])


def test_a_name_has_the_letters_that_services_take() -> None:
    """`Box[int]` was sent as it is, and refused."""
    assert response_format_of(Box[int])[0]["json_schema"]["name"] == "Box_int_"


@pytest.mark.parametrize("wrong", [7, "json", int, object, [AStruct]])
def test_what_describes_no_fields_is_refused(wrong: Any) -> None:
    with pytest.raises(BadRequest, match="response_format"):
        response_format_of(wrong)


def test_a_dict_of_the_api_passes_as_it_is() -> None:
    form = {"type": "json_object"}
    assert response_format_of(form) == (form, None)


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        (AStruct, '{"name": "a", "inner": {"number": 1}}'),
        (ADataclass, '{"name": "a", "inner": null}'),
        (AModel, '{"name": "a"}'),
    ],
)
def test_an_answer_is_parsed_into_its_class(kind: type, text: str) -> None:
    parsed = parse(text, kind)
    assert isinstance(parsed, kind)
    assert parsed.name == "a"  # type: ignore[attr-defined]  # all of them have it
    with pytest.raises(ValueError, match="name"):
        parse('{"inner": {"number": 1}}', kind)


def answering(text: str) -> Any:
    @provider("fixed", models=["model"])
    def fixed(
        model: str, messages: list[Any], stream: bool, *, response_format: dict[str, Any]
    ) -> Any:
        assert response_format["json_schema"]["name"] == "AModel"
        yield text

    return fixed


@pytest.mark.parametrize("stream", [False, True])
def test_a_call_gives_the_object_back(stream: bool) -> None:
    with Router([answering('{"name": "sea"}')], allow=[]) as router:
        answer = router.create_completion("fixed/model", USER, stream, response_format=AModel)
        if stream:
            list(answer)
            answer = answer.completion
    assert answer.parsed == AModel(name="sea")
    assert answer.parse_error is None


def test_an_answer_of_another_form_is_returned_with_the_reason() -> None:
    with Router([answering("no JSON")], allow=[]) as router:
        answer = router.create_completion("fixed/model", USER, response_format=AModel)
    assert answer.parsed is None
    assert answer.text == "no JSON"
    assert answer.parse_error


def test_an_answer_without_text_says_how_it_ended() -> None:
    """A refusal or a tool call was told to be invalid JSON."""

    @provider("refusing", models=["model"])
    def refusing(
        model: str, messages: list[Any], stream: bool, *, response_format: Any = None
    ) -> Any:
        yield Chunk(refusal="No.")
        yield Chunk(finish_reason="refusal")

    with Router([refusing], allow=[]) as router:
        completion = router.create_completion("refusing/model", USER, response_format=AModel)
    assert completion.parsed is None
    assert completion.parse_error == "the answer has no text: its finish reason is refusal"


def test_an_answer_is_not_lost_to_a_validator_that_breaks() -> None:
    """What it raised was raised by the call, which then ended in no log and no hook."""

    class Broken(AModel):
        @pydantic.model_validator(mode="after")
        def check(self) -> Broken:
            raise LookupError("no such name")

    @provider("fixed", models=["model"])
    def fixed(model: str, messages: list[Any], stream: bool, *, response_format: Any) -> Any:
        yield '{"name": "sea"}'

    with Router([fixed], allow=[]) as router:
        answer = router.create_completion("fixed/model", USER, response_format=Broken)
    assert (answer.parsed, answer.text) == (None, '{"name": "sea"}')
    assert answer.parse_error == "no such name"
