"""A call, planned: which targets can take it, with which arguments, and which are passed over."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from msgspec import Struct, structs

from router.arguments import check_fields
from router.catalog import Catalog
from router.demand import Demand
from router.errors import (
    BadRequest,
    ContextOverflow,
    PluginError,
    RouterError,
    UnsupportedParameter,
)
from router.exchange import Extras
from router.foreign import translate
from router.job import Candidate, Job
from router.messages import Message
from router.parameters import RESERVED, Binding, Kind, Parameters, bind, close_matches
from router.plugins import Registered
from router.policy import Policy
from router.secret import Unshown
from router.types import Model, PassedOver, Target, Trace


class Call(Unshown, frozen=True, kw_only=True):
    """What a caller asks for, apart from whom.

    Attributes:
        parameters: The caller's, without those that are `None`.
        answer_type: The class that the answer is parsed into.
    """

    messages: tuple[Message, ...]
    parameters: Mapping[str, Any]
    stream: bool
    policy: Policy
    extras: Extras
    answer_type: type | None = None


class _Reached(Struct, frozen=True, kw_only=True):
    """A target whose provider is there."""

    target: Target
    registered: Registered
    model: Model
    parameters: Parameters


class Planner:
    """Plans calls against a catalog; sends nothing.

    Args:
        catalog: Names and models.
        tags: The tags of providers and targets, by name, beside a target's own.
    """

    def __init__(self, catalog: Catalog, tags: Mapping[str, Sequence[str]]) -> None:
        self._catalog = catalog
        self._tags = tags

    def plan(self, targets: Sequence[Target], call: Call, request_id: str) -> Job:
        """Fit a call to its targets; the job may be left without any.

        Raises:
            UnsupportedParameter: No target knows a parameter.
            ModelNotFound: A target names a provider or a model that does not exist.
        """
        passed_over: list[PassedOver] = []
        reached = self._reach(targets, passed_over)
        # What a row or a model takes away is known all the same: a tuning is dropped there.
        known = [p for each in reached for p in (each.parameters, each.registered.parameters)]
        kinds = _kinds(known)
        _check_known(call.parameters, known, kinds)
        demand = Demand.of(call.messages, call.parameters)
        candidates = []
        for each in reached:
            binding = _bind(each, call, kinds)
            refusal = self._refusal(each, call, binding, demand)
            if refusal is None:
                messages, left_out = _readable(call.messages, each.registered)
                candidates.append(
                    Candidate(
                        target=each.target,
                        registered=each.registered,
                        model=each.model,
                        binding=binding,
                        messages=messages,
                        left_out=left_out,
                    )
                )
            else:
                reason, detail = refusal
                passed_over.append(
                    PassedOver(target=str(each.target), reason=reason, detail=detail)
                )
        return Job(
            request_id=request_id,
            candidates=tuple(candidates),
            passed_over=tuple(passed_over),
            stream=call.stream,
            policy=call.policy,
        )

    def _refusal(
        self, each: _Reached, call: Call, binding: Binding, demand: Demand
    ) -> tuple[str, str] | None:
        """Why a target is passed over, in a word and in a sentence; constraints come first."""
        provider = each.target.provider
        names = [provider, str(each.target), *(f"{provider}/{a}" for a in each.model.aliases)]
        tags = (*each.target.tags, *(tag for name in names for tag in self._tags.get(name, ())))
        if (forbidden := call.policy.forbids(names, tags)) is not None:
            return "constraint", forbidden
        if binding.refusal is not None:
            return binding.reason or "parameter", binding.refusal
        if each.registered.provider.does_io and (call.extras.body or call.extras.headers):
            return "parameter", "takes no extra_body or extra_headers"
        limit, arguments = call.policy.max_cost, binding.arguments
        if limit is not None and (dear := demand.overspends(each.model, arguments, limit)):
            return "cost", dear
        return demand.exceeds(each.model)

    def _reach(self, targets: Sequence[Target], passed_over: list[PassedOver]) -> list[_Reached]:
        """The targets whose providers are there; one with a broken plugin is passed over."""
        reached = []
        for target in targets:
            try:
                registered = self._catalog.provider(target.provider)
                model = self._catalog.find(registered, target.model)
            except PluginError as error:
                passed_over.append(
                    PassedOver(target=str(target), reason="plugin", detail=error.message)
                )
                continue
            parameters = self._catalog.parameters(registered, model)
            reached.append(
                _Reached(target=target, registered=registered, model=model, parameters=parameters)
            )
        return reached


def targets_of(model: str | Target | Sequence[str | Target], catalog: Catalog) -> list[Target]:
    """The targets that a caller named, in order, each once; with other parameters it is another.

    Raises:
        BadRequest: There is none, or something that is no name and no target.
        ConfigError: A field of a target is of a wrong type.
        ModelNotFound: A name means nothing, or several things.
    """
    given = [model] if isinstance(model, (str, Target)) else model
    if not isinstance(given, Sequence) or not given:
        raise BadRequest(
            "model is a name, a Target, or a list of these that is not empty, not "
            f"{repr(given) if isinstance(given, list | tuple) else type(given).__name__}"
        )
    targets: list[Target] = []
    for each in given:
        if not isinstance(each, (str, Target)):
            raise BadRequest(f"model holds a {type(each).__name__}, which is no name and no Target")
        if isinstance(each, Target):
            check_fields(each)
        target = _by_id(each, catalog) if isinstance(each, Target) else _resolve(each, catalog)
        if target not in targets:
            targets.append(target)
    return targets


def _resolve(name: str, catalog: Catalog) -> Target:
    """A broken plugin is found out later, where its target can be passed over."""
    try:
        return catalog.resolve(name)
    except PluginError:
        head, slash, tail = name.partition("/")
        if not slash:
            raise
        return Target(head, tail)


def _by_id(target: Target, catalog: Catalog) -> Target:
    """By the model's id, whatever alias it was given: constraints and health go by that."""
    try:
        model = catalog.find(catalog.provider(target.provider), target.model)
    except PluginError:  # likewise
        return target
    return target if model.id == target.model else structs.replace(target, model=model.id)


def _with_defaults(reached: _Reached, given: Mapping[str, Any]) -> Mapping[str, Any]:
    """The target's own parameters, and over them the caller's, by whatever names."""
    if not reached.target.parameters:
        return given
    find = reached.parameters.find
    overruled = {item.argument for name in given if (item := find(name)) is not None}
    defaults = {
        name: value
        for name, value in reached.target.parameters.items()
        if value is not None and ((item := find(name)) is None or item.argument not in overruled)
    }
    return {**defaults, **given}


def _bind(reached: _Reached, call: Call, kinds: Mapping[str, Kind]) -> Binding:
    """The call's parameters, fitted to what the target takes, and to each other there."""
    drop = call.policy.drop_tunings
    binding = bind(reached.parameters, _with_defaults(reached, call.parameters), kinds, drop=drop)
    if binding.refusal is not None:
        return binding
    unfit = reached.registered.provider.unfit
    try:
        gone = unfit(reached.target.model, call.messages, binding.arguments)
        return binding.without(gone, kinds, drop=drop)
    except Exception as error:  # noqa: BLE001  # a plugin may raise anything
        return Binding.refused("plugin", translate(error).message)


def _readable(
    messages: tuple[Message, ...], registered: Registered
) -> tuple[tuple[Message, ...], tuple[str, ...]]:
    """The messages without what only another provider can read, and what that was."""
    reader = registered.provider.origin or registered.name
    foreign = [
        index
        for index, message in enumerate(messages)
        if message.origin not in (None, reader) and message.has_seals
    ]
    if not foreign:
        return messages, ()
    kept = tuple(
        message.without_seals() if index in foreign else message
        for index, message in enumerate(messages)
    )
    return kept, tuple(f"reasoning of messages[{index}]" for index in foreign)


def _kinds(known: Sequence[Parameters]) -> dict[str, Kind]:
    """Feature or tuning, for each name that a target knows; feature if any says so."""
    kinds: dict[str, Kind] = {}
    for parameters in known:
        kinds |= parameters.kinds
    for parameters in known:
        kinds |= parameters.features
    return kinds


def _check_known(
    given: Mapping[str, Any], reached: Sequence[Parameters], kinds: dict[str, Kind]
) -> None:
    """Every name must be taken by one target at least; a synonym is of its parameter's kind."""
    if not reached:
        return
    for name in given:
        found = [item for parameters in reached if (item := parameters.find(name)) is not None]
        if found:
            feature = any(item.kind is Kind.FEATURE for item in found)
            kinds[name] = Kind.FEATURE if feature else Kind.TUNING
        if found or any(parameters.open for parameters in reached):
            continue
        close = close_matches(name, [*kinds, *RESERVED])
        hint = f"did you mean {' or '.join(close)}? " if close else ""
        raise UnsupportedParameter(
            f"no target of this call takes {name!r}: {hint}they take {', '.join(sorted(kinds))}; "
            "what is too new for that goes into extra_body"
        )


_NOBODY: dict[str, type[RouterError]] = {
    "plugin": PluginError,
    "constraint": BadRequest,
    "context": ContextOverflow,
}
"""What it is called when every target was passed over for one and the same reason."""


def nobody(job: Job) -> RouterError:
    """The error of a call whose targets were all passed over."""
    details = [f"{skipped.target}: {skipped.detail}" for skipped in job.passed_over]
    if len(details) > 1:
        details = ["\n  ".join(["no target takes this call:", *details])]
    reasons = {skipped.reason for skipped in job.passed_over}
    kind = _NOBODY.get(reasons.pop(), UnsupportedParameter) if len(reasons) == 1 else None
    error = (kind or UnsupportedParameter)(details[0])
    error.trace = Trace(request_id=job.request_id, passed_over=job.passed_over)
    return error
