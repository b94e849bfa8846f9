"""Checks that need no exchange: the contract and the parameters."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from router.parameters import FEATURE, TUNING, Kind, Parameter
from router.types import Model

from .subject import Subject

COMMON_KINDS: Mapping[str, Kind] = {
    **dict.fromkeys(("temperature", "top_p", "top_k", "min_p", "seed", "random_seed"), TUNING),
    **dict.fromkeys(("presence_penalty", "frequency_penalty"), TUNING),
    **dict.fromkeys(("repetition_penalty", "repeat_penalty"), TUNING),
    **dict.fromkeys(("max_tokens", "max_completion_tokens", "max_new_tokens"), FEATURE),
    **dict.fromkeys(("max_output_tokens", "num_predict", "stop", "stop_sequences"), FEATURE),
    **dict.fromkeys(("tools", "tool_choice", "response_format", "n"), FEATURE),
}
"""What the parameters are that many providers have. One that is a tuning here and a feature there
would pass that target over for nothing; one the other way round would be dropped in silence."""

KEYWORDS = {
    "ge": ("minimum",),
    "gt": ("exclusiveMinimum",),
    "le": ("maximum",),
    "lt": ("exclusiveMaximum",),
    "multiple_of": ("multipleOf",),
    "pattern": ("pattern",),
    "min_length": ("minLength", "minItems", "minProperties"),
    "max_length": ("maxLength", "maxItems", "maxProperties"),
}
"""What JSON Schema calls a bound."""


def contract(subject: Subject) -> Iterator[str]:
    """The router accepts it, and what it says of itself is of the right kind."""
    if subject.broken is not None:
        yield subject.broken
        return
    provider = subject.provider
    if not subject.models and not provider.open_models:
        yield "it has no models, and open_models is not set: no target can name it"
    yield from _wrong_types(subject)
    for item in subject.parameters:
        if not item.required and item.default is not None:
            complaint = item.check(item.default)
            if complaint is not None:
                yield f"the default of {complaint}"


def _wrong_types(subject: Subject) -> Iterator[str]:
    provider: Any = subject.provider  # of whom nothing is known but its class
    if not isinstance(provider.open_models, bool):
        yield "open_models is no bool"
    if not (provider.origin is None or isinstance(provider.origin, str)):
        yield "origin is no str"
    most = provider.max_concurrency
    if not (most is None or (isinstance(most, int) and most >= 1)):
        yield "max_concurrency is no positive int"
    if not isinstance(provider.missing(), str | None):
        yield "missing() says something that is no str"
    for model in (*subject.models, *provider.known_models().values()):
        try:
            msgspec.convert(msgspec.structs.asdict(model), Model)
        except msgspec.ValidationError as error:
            yield f"the model {model.id}: {error}"


def parameters(subject: Subject) -> Iterator[str]:
    """Each default, bound and JSON Schema agree; common names are the kind they are elsewhere."""
    for item in subject.parameters:
        yield from (f"{item.name}: {complaint}" for complaint in _parameter(item))


def _parameter(item: Parameter) -> Iterator[str]:
    try:
        schema = item.json_schema()
        msgspec.json.encode(schema)
    except (TypeError, ValueError) as error:
        yield f"no JSON Schema can be made of it: {error}"
        return
    if not schema.keys() - {"description", "default", "x-kind"} and item.type is not Any:
        yield f"JSON has no form for its type, {item.type_name}: no caller can check a value"
    if not item.required and item.default is not None and "default" not in schema:
        yield "its default has no form in JSON"
    for bound, value in item.bounds.items():
        if value not in _said(schema, KEYWORDS[bound]):
            yield f"its JSON Schema does not say {bound}={value}"
    yield from _bounds(item)
    common = COMMON_KINDS.get(item.name)
    if common is not None and item.kind is not common:
        yield f"it is a {common.value} everywhere: annotate it as {common.name}"


def _said(schema: Any, keywords: tuple[str, ...]) -> list[Any]:
    """All values that a schema has for some keywords, wherever in it."""
    if isinstance(schema, Mapping):
        found = [schema[keyword] for keyword in keywords if keyword in schema]
        return found + [value for each in schema.values() for value in _said(each, keywords)]
    if isinstance(schema, list):
        return [value for each in schema for value in _said(each, keywords)]
    return []


def _bounds(item: Parameter) -> Iterator[str]:
    """What is at a bound is taken, what is just outside is refused, and something lies between."""
    numbers = {
        name: value
        for name, value in item.bounds.items()
        if name in ("ge", "gt", "le", "lt") and isinstance(value, int | float)
    }
    least = max((numbers[name] for name in ("ge", "gt") if name in numbers), default=-math.inf)
    most = min((numbers[name] for name in ("le", "lt") if name in numbers), default=math.inf)
    if least > most or (least == most and {"gt", "lt"} & numbers.keys()):
        yield f"no value lies between its bounds, {item.expected}"
        return
    if "multiple_of" in item.bounds:
        return  # what is at the other bounds may be no multiple
    for name, value in numbers.items():
        outside = value - 1 if name in ("ge", "gt") else value + 1
        if item.check(outside) is None:
            yield f"it takes {outside}, which is outside {name}={value}"
        if name in ("ge", "le") and (complaint := item.check(value)) is not None:
            yield f"{name}={value} is a bound that it refuses itself: {complaint}"
