"""A call, planned: which targets can take it, with which arguments, and which are passed over."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from router.catalog import Catalog
from router.errors import BadRequest, PluginError, RouterError, UnsupportedParameter
from router.exchange import Extras
from router.flow import Candidate, Job
from router.parameters import RESERVED, Kind, Parameters, bind, close_matches
from router.plugins import Registered
from router.policy import Policy
from router.types import Model, PassedOver, Target, Trace


class Planner:
    """Plans calls against a catalog; sends nothing."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog

    def plan(
        self,
        targets: Sequence[Target],
        given: Mapping[str, Any],
        *,
        request_id: str,
        stream: bool,
        policy: Policy,
        extras: Extras,
    ) -> Job:
        """Fit a call to its targets.

        Raises:
            UnsupportedParameter: No target knows a parameter, or none is left that takes them all.
            ModelNotFound: A target names a provider or a model that does not exist.
            PluginError: No target is left, because its plugin is broken.
        """
        given = {name: value for name, value in given.items() if value is not None}
        passed_over: list[PassedOver] = []
        reached = self._reach(targets, passed_over)
        kinds = _kinds([parameters for *_, parameters in reached])
        _check_known(given, [parameters for *_, parameters in reached], kinds)
        candidates = []
        for target, registered, model, parameters in reached:
            wanted = {**target.parameters, **given}
            binding = bind(parameters, wanted, kinds, drop=policy.drop_tunings)
            if binding.refusal is None and registered.provider.does_io and _any(extras):
                reason, detail = "parameter", "takes no extra_body or extra_headers"
            elif binding.refusal is not None:
                reason, detail = binding.reason or "parameter", binding.refusal
            else:
                candidates.append(
                    Candidate(target=target, registered=registered, model=model, binding=binding)
                )
                continue
            passed_over.append(PassedOver(target=str(target), reason=reason, detail=detail))
        job = Job(
            request_id=request_id,
            candidates=tuple(candidates),
            passed_over=tuple(passed_over),
            stream=stream,
            policy=policy,
        )
        if not candidates:
            raise _nobody(job)
        return job

    def _reach(
        self, targets: Sequence[Target], passed_over: list[PassedOver]
    ) -> list[tuple[Target, Registered, Model, Parameters]]:
        """The targets whose providers are there; one with a broken plugin is passed over."""
        reached = []
        for target in targets:
            try:
                registered = self._catalog.provider(target.provider)
            except PluginError as error:
                passed_over.append(
                    PassedOver(target=str(target), reason="plugin", detail=error.message)
                )
                continue
            model = self._catalog.find(registered, target.model)
            reached.append((target, registered, model, self._catalog.parameters(registered, model)))
        return reached


def targets_of(model: str | Target | Sequence[str | Target], catalog: Catalog) -> list[Target]:
    """The targets that a caller named, in order, each once.

    Raises:
        BadRequest: There is none, or something that is no name and no target.
        ModelNotFound: A name means nothing, or several things.
    """
    given = [model] if isinstance(model, str | Target) else model
    if not isinstance(given, Sequence) or not given:
        raise BadRequest("model is a name, a Target, or a list of these that is not empty")
    targets: dict[str, Target] = {}
    for each in given:
        if not isinstance(each, str | Target):
            raise BadRequest(f"model holds a {type(each).__name__}, which is no name and no Target")
        target = each if isinstance(each, Target) else _resolve(each, catalog)
        targets.setdefault(str(target), target)
    return list(targets.values())


def _resolve(name: str, catalog: Catalog) -> Target:
    """A broken plugin is found out later, where its target can be passed over."""
    try:
        return catalog.resolve(name)
    except PluginError:
        head, slash, tail = name.partition("/")
        if not slash:
            raise
        return Target(head, tail)


def _kinds(known: Sequence[Parameters]) -> dict[str, Kind]:
    """Feature or tuning, for each name that a target knows; feature if any says so."""
    kinds: dict[str, Kind] = {}
    for parameters in known:
        for item in parameters:
            for name in (item.name, item.argument):
                if kinds.get(name) is not Kind.FEATURE:
                    kinds[name] = item.kind
    return kinds


def _check_known(
    given: Mapping[str, Any], reached: Sequence[Parameters], kinds: dict[str, Kind]
) -> None:
    """Every name must be known to one target at least; a synonym is of its parameter's kind."""
    if not reached or any(parameters.open for parameters in reached):
        return
    for name in given:
        found = [item for parameters in reached if (item := parameters.find(name)) is not None]
        if found:
            feature = any(item.kind is Kind.FEATURE for item in found)
            kinds[name] = Kind.FEATURE if feature else Kind.TUNING
            continue
        close = close_matches(name, [*kinds, *RESERVED])
        hint = f"did you mean {' or '.join(close)}? " if close else ""
        raise UnsupportedParameter(
            f"no target of this call takes {name!r}: {hint}they take {', '.join(sorted(kinds))}; "
            "what is too new for that goes into extra_body"
        )


def _any(extras: Extras) -> bool:
    return bool(extras.body or extras.headers)


def _nobody(job: Job) -> RouterError:
    """Every target was passed over: what the caller is told."""
    details = [f"{skipped.target}: {skipped.detail}" for skipped in job.passed_over]
    message = (
        details[0] if len(details) == 1 else "\n  ".join(["no target takes this call:", *details])
    )
    broken = all(skipped.reason == "plugin" for skipped in job.passed_over)
    error = PluginError(message) if broken else UnsupportedParameter(message)
    error.trace = Trace(request_id=job.request_id, passed_over=job.passed_over)
    return error
