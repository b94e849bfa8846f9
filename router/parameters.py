"""What a provider's `create_completion` takes, read from its signature.

A parameter says in its annotation whether it is a feature or a tuning, and its bounds:

    temperature: Annotated[float, TUNING, Meta(ge=0, le=2, description="...")] = 1.0

One that does not say is a feature. A default of `None` means that it is not sent.
"""

from __future__ import annotations

import contextlib
import difflib
import enum
import inspect
import types
import typing
from collections.abc import Callable, Iterable, Mapping
from functools import cached_property
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

import msgspec
from msgspec import Struct

from router.errors import PluginError
from router.messages import Message
from router.values import unsendable

LEADING = ("model", "messages", "stream")
RESERVED = ("policy", "extra_body", "extra_headers")
"""Names of the call itself, which no provider may have as a parameter."""

SYNONYMS: tuple[frozenset[str], ...] = (
    frozenset(
        {
            "max_tokens",
            "max_completion_tokens",
            "max_new_tokens",
            "max_output_tokens",
            "num_predict",
        }
    ),
    frozenset({"stop", "stop_sequences"}),
    frozenset({"repetition_penalty", "repeat_penalty"}),
    frozenset({"seed", "random_seed"}),
)
"""Names that providers have for the same thing; any of a set is translated to the target's own."""


class Kind(enum.Enum):
    """What leaving a parameter out changes: what is asked (feature), or how (tuning)."""

    FEATURE = "feature"
    TUNING = "tuning"


FEATURE = Kind.FEATURE
TUNING = Kind.TUNING


class Parameter(Struct, frozen=True, kw_only=True):
    """One parameter of a target.

    Attributes:
        name: What this target calls it.
        argument: What the provider's signature calls it; differs when a row or a model renames.
        type: The Python type, with its bounds in `Annotated`.
        default: Its default, or `inspect.Parameter.empty` when it is required. `None` means
            that nothing is sent.
        kind: Feature or tuning.
        bounds: `ge`, `gt`, `le`, `lt`, `multiple_of`, `pattern`, `min_length`, `max_length`.
        description: One line, from `msgspec.Meta`.
    """

    name: str
    argument: str
    type: Any
    default: Any
    kind: Kind
    bounds: Mapping[str, Any]
    description: str | None

    @property
    def required(self) -> bool:
        return self.default is inspect.Parameter.empty

    @property
    def type_name(self) -> str:
        """The type as a reader says it: `float`, `list`, `str | list`."""
        return _type_name(self.type)

    def check(self, value: Any) -> str | None:
        """Why this parameter refuses the value, or `None` when it takes it.

        The reason names the value's type and what was expected, never the value.
        """
        try:
            fault = unsendable(value)
        except RecursionError:
            return f"{self.name} is nested too deeply"
        return self.misfit(value) if fault is None else f"{self.name} holds {fault}"

    def misfit(self, value: Any) -> str | None:
        """Likewise, of what goes over no wire: why its type or its bounds refuse the value."""
        try:
            msgspec.convert(value, self.type)
        except msgspec.ValidationError as error:
            # msgspec shows the value where it expects one of several, and nowhere else.
            told, _, place = str(error).partition(" - at `")
            why = "" if told.startswith("Invalid enum value") else f" ({told})"
            if place:
                inside = place.replace("`", "").replace("$", self.name)
                return f"{self.name} is wrong inside, at {inside}{why}"
            return f"{self.name} expects {self.expected}, not {type(value).__name__}{why}"
        except (TypeError, NotImplementedError):
            return self._check_class(value)
        except RecursionError:
            return f"{self.name} is nested too deeply"
        return None

    def _check_class(self, value: Any) -> str | None:
        """Types that msgspec does not know are classes of the plugin's own."""
        classes = [kind for kind in _alternatives(self.type) if isinstance(kind, type)]
        if classes and not isinstance(value, tuple(classes)):
            return f"{self.name} expects {self.expected}, not {type(value).__name__}"
        return None

    @property
    def expected(self) -> str:
        """The type with its bounds: `float (ge=0, le=2)`, `str (one of low, high)`."""
        limits = [f"{name}={value}" for name, value in self.bounds.items()]
        if choices := _choices(self.type):
            limits.append(f"one of {', '.join(choices)}")
        return f"{self.type_name} ({', '.join(limits)})" if limits else self.type_name

    def json_schema(self) -> dict[str, Any]:
        """This parameter as JSON Schema, which allows everything where JSON cannot say the type."""
        try:
            schema = msgspec.json.schema(self.type)
        except TypeError:
            schema = {}
        if self.description is not None:
            schema["description"] = self.description
        if not self.required and self.default is not None:
            with contextlib.suppress(TypeError):  # a default that JSON has no form for
                schema["default"] = msgspec.to_builtins(self.default)
        schema["x-kind"] = self.kind.value
        return schema


class Parameters(Struct, frozen=True, kw_only=True, dict=True):
    """All that a provider, or one of its models, takes; a sequence of `Parameter`.

    Attributes:
        owner: What the line of `str()` names: the provider's module, `providers.h2o`.
        items: The parameters, without `model`, `messages` and `stream`.
        open: Whether unknown names are passed on unchecked (`**kwargs`).
        typed_messages: Whether the function wants `Message` objects, not dicts.
        lacking: Names of the signature that a row or a model took away: known, and not taken.
    """

    owner: str
    items: tuple[Parameter, ...]
    open: bool
    typed_messages: bool
    lacking: frozenset[str] = frozenset()

    def __iter__(self) -> typing.Iterator[Parameter]:
        return iter(self.items)

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, name: str) -> Parameter:
        for item in self.items:
            if item.name == name:
                return item
        raise KeyError(name)

    def __contains__(self, name: object) -> bool:
        return any(item.name == name for item in self.items)

    def __str__(self) -> str:
        names = ["model: str", "messages: list", "stream: bool"]
        names += [f"{item.name}: {item.type_name}" for item in self.items]
        if self.open:
            names.append("**")
        return f"{self.owner} supports: ({', '.join(names)})"

    def find(self, name: str) -> Parameter | None:
        """The parameter that a caller means by a name: its own, the signature's, a synonym."""
        return self._by_name.get(name)

    @cached_property
    def _by_name(self) -> Mapping[str, Parameter]:
        found: dict[str, Parameter] = {}
        for group in SYNONYMS:
            item = next((item for item in self.items if item.name in group), None)
            if item is not None:
                found |= dict.fromkeys(group, item)
        found |= {item.argument: item for item in self.items}
        return found | {item.name: item for item in self.items}

    @cached_property
    def kinds(self) -> Mapping[str, Kind]:
        """Feature or tuning, by a parameter's own name and the signature's."""
        return {name: item.kind for item in self.items for name in (item.argument, item.name)}

    @cached_property
    def features(self) -> Mapping[str, Kind]:
        """Those of them that are features."""
        return {name: kind for name, kind in self.kinds.items() if kind is Kind.FEATURE}

    @cached_property
    def required(self) -> tuple[Parameter, ...]:
        """Those that have no default."""
        return tuple(item for item in self.items if item.required)

    def json_schema(self) -> dict[str, Any]:
        """The parameters as one JSON Schema object."""
        properties = {item.name: item.json_schema() for item in self.items}
        definitions: dict[str, Any] = {}
        for schema in properties.values():
            definitions |= schema.pop("$defs", {})
        return {
            "type": "object",
            "properties": properties,
            "required": [item.name for item in self.required],
            "additionalProperties": self.open,
            **({"$defs": definitions} if definitions else {}),
        }

    def without(self, names: Iterable[str], renames: Mapping[str, str]) -> Parameters:
        """What is left when a row or a model takes parameters away, or names them otherwise.

        Raises:
            PluginError: It names a parameter that the signature does not have, or gives two one
                name.
        """
        gone = frozenset(names)
        known = {item.argument for item in self.items}
        if unknown := (gone | renames.keys()) - known:
            raise PluginError(
                f"{self.owner} takes away or renames {', '.join(sorted(unknown))}, "
                "which its create_completion does not have"
            )
        items = tuple(
            msgspec.structs.replace(item, name=renames.get(item.argument, item.name))
            for item in self.items
            if item.argument not in gone
        )
        if len({item.name for item in items}) < len(items):
            raise PluginError(f"{self.owner} renames a parameter to the name of another one")
        return msgspec.structs.replace(self, items=items, lacking=self.lacking | gone)


def read_signature(function: Callable[..., Any], owner: str) -> Parameters:
    """The parameters of a provider's function.

    Raises:
        PluginError: It does not begin with `model`, `messages`, `stream`, has positional-only
            parameters, or one with a reserved name, an annotation that cannot be resolved, bounds
            that its type cannot have, or it is `async`.
    """
    if inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function):
        raise PluginError(f"{owner}: create_completion is async; create_completion_async may be")
    signature = inspect.signature(function)
    try:
        hints = get_type_hints(function, include_extras=True)
    except (NameError, TypeError, AttributeError) as error:
        raise PluginError(f"{owner}: an annotation cannot be resolved: {error}") from error
    given = list(signature.parameters.values())
    if tuple(parameter.name for parameter in given[:3]) != LEADING:
        raise PluginError(f"{owner}: create_completion begins with (model, messages, stream)")
    items = []
    for parameter in given[3:]:
        if parameter.kind is parameter.VAR_KEYWORD:
            continue
        _check_parameter(parameter, owner)
        items.append(read_parameter(parameter, hints.get(parameter.name, Any)))
    return Parameters(
        owner=owner,
        items=tuple(items),
        open=any(parameter.kind is parameter.VAR_KEYWORD for parameter in given),
        typed_messages=Message in get_args(hints.get("messages")),
    )


def _check_parameter(parameter: inspect.Parameter, owner: str) -> None:
    if parameter.name in RESERVED:
        raise PluginError(f"{owner}: {parameter.name} is a name of the router's own")
    if parameter.kind in (parameter.POSITIONAL_ONLY, parameter.VAR_POSITIONAL):
        raise PluginError(f"{owner}: {parameter.name} cannot be passed by name")


def read_parameter(parameter: inspect.Parameter, hint: Any) -> Parameter:
    """One parameter of a signature, with the type hint that was resolved for it."""
    kind = Kind.FEATURE
    bounds: dict[str, Any] = {}
    description = None
    type_ = _without_none(hint)
    if get_origin(type_) is Annotated:
        for mark in type_.__metadata__:
            if isinstance(mark, Kind):
                kind = mark
            elif isinstance(mark, msgspec.Meta):
                bounds.update(_bounds(mark))
                description = mark.description or description
    if bounds:
        _check_bounds(parameter.name, type_)
    return Parameter(
        name=parameter.name,
        argument=parameter.name,
        type=type_,
        default=parameter.default,
        kind=kind,
        bounds=bounds,
        description=description,
    )


def _check_bounds(name: str, hint: Any) -> None:
    """Bounds that do not fit their type would never be looked at."""
    try:
        msgspec.inspect.type_info(hint)
    except TypeError as error:
        raise PluginError(f"the bounds of {name} do not fit its type: {error}") from None


def _without_none(hint: Any) -> Any:
    """The type of a value that is given: `None` is none, and msgspec bounds no union with it."""
    if get_origin(hint) is Annotated:
        return Annotated[(_without_none(hint.__origin__), *hint.__metadata__)]
    if get_origin(hint) in (Union, types.UnionType):
        return Union[tuple(part for part in get_args(hint) if part is not type(None))]  # noqa: UP007  # of a tuple
    return hint


_BOUNDS = ("gt", "ge", "lt", "le", "multiple_of", "pattern", "min_length", "max_length")


def _bounds(meta: msgspec.Meta) -> dict[str, Any]:
    values = {name: getattr(meta, name) for name in _BOUNDS}
    return {name: value for name, value in values.items() if value is not None}


def _alternatives(hint: Any) -> list[Any]:
    """The types that a hint allows, unwrapped from `Annotated`, `None` left out."""
    if get_origin(hint) is Annotated:
        return _alternatives(hint.__origin__)
    if get_origin(hint) is Literal:
        return list(dict.fromkeys(type(value) for value in get_args(hint)))
    if get_origin(hint) in (Union, types.UnionType):
        found = [each for part in get_args(hint) for each in _alternatives(part)]
        return [each for each in found if each is not type(None)]
    return [get_origin(hint) or hint]


def _choices(hint: Any) -> list[str]:
    """The values of a `Literal`, or of those in a union, as text."""
    if get_origin(hint) is Literal:
        return [str(value) for value in get_args(hint)]
    if get_origin(hint) is Annotated:
        return _choices(hint.__origin__)
    if get_origin(hint) in (Union, types.UnionType):
        return [choice for part in get_args(hint) for choice in _choices(part)]
    return []


def _type_name(hint: Any) -> str:
    names = [getattr(each, "__name__", str(each)) for each in _alternatives(hint)]
    return " | ".join(dict.fromkeys(names))


class Binding(Struct, frozen=True, kw_only=True):
    """A call's parameters, fitted to one target.

    `refusal` says why the target is passed over (`reason` in one word), or is `None`.
    """

    arguments: Mapping[str, Any]
    renamed: Mapping[str, str]
    dropped: tuple[str, ...]
    unchecked: tuple[str, ...]
    reason: str | None = None
    refusal: str | None = None

    @classmethod
    def refused(cls, reason: str, refusal: str) -> Binding:
        """That of a target that is passed over."""
        return cls(
            arguments={}, renamed={}, dropped=(), unchecked=(), reason=reason, refusal=refusal
        )

    def without(
        self, unfit: Mapping[str, str], kinds: Mapping[str, Kind], *, drop: bool
    ) -> Binding:
        """The same without what does not go with the rest: a feature refuses, as in `bind`.

        Args:
            unfit: Names of arguments, each with the reason.
            kinds: As for `bind`.
            drop: Likewise.
        """
        gone = [name for name in unfit if name in self.arguments]
        for name in gone:
            if not drop or kinds.get(name) is not Kind.TUNING:
                return Binding.refused("parameter", f"takes no {name} {unfit[name]}")
        if not gone:
            return self
        kept = {name: value for name, value in self.arguments.items() if name not in gone}
        return msgspec.structs.replace(self, arguments=kept, dropped=(*self.dropped, *gone))


def bind(
    parameters: Parameters,
    given: Mapping[str, Any],
    kinds: Mapping[str, Kind],
    *,
    drop: bool = True,
) -> Binding:
    """Fit what a caller gave to what a target takes; nothing is sent for a refusal.

    Args:
        parameters: What the target takes.
        given: The caller's names and values, without those that are `None` (not given).
        kinds: Feature or tuning, for each name that any target of the call knows.
        drop: Whether a tuning that the target lacks is dropped, or refused.
    """
    arguments: dict[str, Any] = {}
    renamed: dict[str, str] = {}
    dropped: list[str] = []
    unchecked: list[str] = []
    for name, value in given.items():
        parameter = parameters.find(name)
        if parameter is None:
            if parameters.open and name not in {*parameters.lacking, *LEADING, *RESERVED}:
                unchecked.append(name)
                arguments[name] = value
            elif drop and kinds.get(name) is Kind.TUNING:
                dropped.append(name)
            else:
                return Binding.refused("parameter", f"takes no {name}")
            continue
        if parameter.argument in arguments:
            return Binding.refused("parameter", f"{name} is given twice, under two names")
        if (complaint := parameter.check(value)) is not None:
            return Binding.refused("value", complaint)
        if parameter.name != name:
            renamed[name] = parameter.name
        arguments[parameter.argument] = value
    if missing := [p.name for p in parameters.required if p.argument not in arguments]:
        return Binding.refused("parameter", f"needs {', '.join(missing)}")
    return Binding(
        arguments=arguments,
        renamed=renamed,
        dropped=tuple(dropped),
        unchecked=tuple(unchecked),
    )


def close_matches(name: str, known: Iterable[str]) -> list[str]:
    """Known names like this one, best first."""
    return difflib.get_close_matches(name, sorted(set(known)), n=3, cutoff=0.5)
