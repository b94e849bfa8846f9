"""What `Router` and `AsyncRouter` have in common: everything but how a call is driven."""

from __future__ import annotations

import os
import random
import threading
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Self, TypeAlias

import msgspec

from router.arguments import checked
from router.budget import Budget
from router.catalog import Catalog
from router.clock import Clock
from router.contract import Provider
from router.discovery import PluginInfo, Selection
from router.errors import BadRequest, ConfigError, RouterError
from router.events import CLOSE_FAILED, Log
from router.exchange import Extras
from router.explain import Explanation, explain
from router.headers import check_added
from router.health import Health, HealthRow
from router.job import Job, State
from router.journal import Journal
from router.messages import Message, check_messages
from router.parameters import Parameters
from router.plan import Call, Planner, nobody, targets_of
from router.plugins import PluginHost
from router.policy import Policy
from router.refresh import ModelCache
from router.report import Report
from router.routes import Route, check_routes
from router.rules import Rules, with_rows
from router.secret import Unshown, forgetful
from router.slots import Slots
from router.structured import parse, response_format_of
from router.transport.settings import TransportSettings
from router.types import Completion, Model, Target, Trace
from router.values import plain

Messages: TypeAlias = Iterable[Message | Mapping[str, Any]]
ModelArgument: TypeAlias = str | Target | Sequence[str | Target]
PolicyArgument: TypeAlias = Policy | Mapping[str, Any] | None


class Prepared(Unshown, frozen=True, kw_only=True):
    """A call, checked and planned, with all that driving it needs."""

    job: Job
    extras: Extras
    report: Report
    journal: Journal
    state: State
    started: float
    deadline: float | None
    answer_type: type | None = None

    @property
    def is_ours(self) -> bool:
        """Whether the call was made in this process, and not in the one that it is a fork of."""
        return self.state.is_ours

    def finish(self, completion: Completion) -> Completion:
        """The completion, parsed where the caller gave a class for it."""
        if self.answer_type is None:
            return completion
        if not completion.text:
            told = f"the answer has no text: its finish reason is {completion.finish_reason}"
            return msgspec.structs.replace(completion, parse_error=told)
        try:
            parsed = parse(completion.text, self.answer_type)
        except Exception as error:  # noqa: BLE001  # the class is the caller's, and the answer paid for
            return msgspec.structs.replace(completion, parse_error=str(error) or repr(error))
        return msgspec.structs.replace(completion, parsed=parsed)


class BaseRouter:
    """Plugins, names, parameters, policy; see `Router` for the arguments."""

    @forgetful
    @checked
    def __init__(
        self,
        plugins: Iterable[Any] = (),
        *,
        settings: Mapping[str, Mapping[str, Any]] | None = None,
        routes: Mapping[str, Route | Sequence[str | Target]] | None = None,
        order: Sequence[str] = (),
        policy: PolicyArgument = None,
        allow: Iterable[str] | None = None,
        block: Iterable[str] | None = None,
        strict: bool = False,
        trust_env: bool = False,
        proxies: Mapping[str, str] | None = None,
        verify: bool | str = True,
        rules: Rules | None = None,
        tags: Mapping[str, Sequence[str]] | None = None,
        model_cache: ModelCache | None = None,
        clock: Clock | None = None,
        draw: Callable[[], float] = random.random,
        new_id: Callable[[], str] = lambda: uuid.uuid4().hex,
        environ: Mapping[str, str] | None = None,
    ) -> None:
        environ = os.environ if environ is None else environ
        self.policy = Policy().with_changes(policy)
        self._log = Log()
        self.time = clock or Clock()
        self.clock = self.time.now
        self._new_id = new_id
        self._closed = False
        self._draw = draw
        self._rules = with_rows(rules or {})
        self._transport_settings = TransportSettings(
            trust_env=trust_env, proxies=dict(proxies or {}), verify=verify
        )
        self._host = PluginHost(
            Selection.make(allow, block, environ), settings or {}, strict=strict, log=self._log
        )
        self._process = os.getpid()
        self._forks: dict[int, threading.Lock] = {}
        self._begin()
        for plugin in plugins:
            self._host.register(plugin)
        self._host.configure()
        if strict:
            self._host.load_all()
        self._catalog = Catalog(self._host, order, model_cache)
        self._catalog.check_names(self.policy.constrained)
        self._planner = Planner(self._catalog, tags or {})
        self._routes = check_routes(routes or {}, self._catalog, self._host)

    @classmethod
    def from_config(cls, path: str | Path, **arguments: Any) -> Self:
        """A router as a file says, whose form docs/configuration.md describes.

        The file is read from where it is said to be, and nowhere else. `arguments` are those of
        the constructor; what is given here wins over the file.

        Raises:
            ConfigError: The file cannot be read, or something in it is wrong: all of it is
                checked, and every fault is named with file, key and what was expected.
            PluginLoadError: A plugin is broken, and `strict`.
        """
        from router.config import load

        return load(Path(path), arguments.get("environ")).build(cls, arguments)

    # -- processes

    def _begin(self) -> None:
        """Make what belongs to one process: locks, connections, threads, the memory of health."""
        self.state = State(
            health=Health(self._draw),
            budget=Budget(),
            slots=Slots(),
            rules=self._rules,
            draw=self._draw,
        )
        self._host.begin()

    def _enter_process(self) -> None:
        """Begin anew where this is a fork of the process that the router was used in.

        A lock may have been held there by a thread that is not here, attempts under way there
        end there, and its connections are its own.
        """
        process = os.getpid()
        if process == self._process:
            return
        with self._forks.setdefault(process, threading.Lock()):  # no lock of the parent's will do
            if process != self._process:
                self._begin()
                self._process = process

    # -- what there is

    @property
    def plugins(self) -> list[PluginInfo]:
        """All plugins that were found, the broken and the blocked ones with the reason."""
        return self._host.infos

    @checked
    def register(
        self, plugin: Any, name: str | None = None, *, replace: bool = False
    ) -> PluginInfo:
        """Register a plugin, a provider, or a function decorated with `@provider`.

        Args:
            plugin: What to register.
            name: Its name; a provider's own by default.
            replace: Whether it takes the place of an installed or registered one of its name.

        Raises:
            ConfigError: Its name is no str, or taken by a plugin, a provider or a route.
            PluginLoadError: It breaks the contract.
        """
        info = self._host.register(plugin, name, replace=replace)
        try:
            self._routes = check_routes(self._routes, self._catalog, self._host)
        except RouterError:
            self._host.withdraw(info)
            raise
        return info

    def providers(self) -> list[Provider]:
        """The providers of all plugins, without those whose name two of them claim."""
        return [registered.provider for registered in self._host.all()]

    @checked
    def models(self, provider: str | None = None) -> list[Model]:
        """The models of one provider, or of all of them.

        Raises:
            ConfigError: The name is no str.
            ModelNotFound: There is no such provider.
            PluginError: Its plugin is broken or blocked.
        """
        return self._catalog.models(provider)

    @checked
    def parameters(self, name: str) -> Parameters:
        """What a provider takes (`"h2o"`), or one of its models (`"h2o/falcon-7b"`).

        `str()` of it is one line; `.json_schema()` gives JSON Schema.

        Raises:
            ConfigError: The name is no str.
            ModelNotFound: There is no such provider or model.
            PluginError: The plugin is broken or blocked.
        """
        if "/" not in name and self._host.knows(name):
            return self._catalog.provider(name).parameters
        target = self._catalog.resolve(name)
        registered = self._catalog.provider(target.provider)
        return self._catalog.parameters(registered, self._catalog.find(registered, target.model))

    def health(self) -> list[HealthRow]:
        """What is remembered of targets, hosts and keys that failed; empty when all is well."""
        self._enter_process()
        return self.state.health.rows(self.clock())

    @checked
    def reset_health(self, name: str | None = None) -> None:
        """Forget it: all, or one target, host or key by the name that `health()` shows.

        Raises:
            ConfigError: The name is no str.
        """
        self._enter_process()
        self.state.health.reset(name)

    # -- calls

    @forgetful
    def explain(
        self,
        model: ModelArgument,
        messages: Messages,
        stream: bool = False,
        *,
        policy: PolicyArgument = None,
        extra_body: Mapping[str, Any] | None = None,
        extra_headers: Mapping[str, str] | None = None,
        **parameters: Any,
    ) -> Explanation:
        """Say what `create_completion` would do with these arguments, without sending anything.

        Raises:
            BadRequest, UnsupportedParameter, ModelNotFound: As the call itself; but a call that
                no target can take is explained, not raised.
        """
        job, _ = self._plan(
            self._new_id(), model, messages, stream, policy, extra_body, extra_headers, parameters
        )
        return explain(job, self.state, self.clock())

    def _plan(
        self,
        request_id: str,
        model: ModelArgument,
        messages: Messages,
        stream: bool,
        policy: PolicyArgument,
        extra_body: Mapping[str, Any] | None,
        extra_headers: Mapping[str, str] | None,
        parameters: Mapping[str, Any],
    ) -> tuple[Job, Call]:
        """Check and plan a call; nothing is sent."""
        self._enter_process()
        if self._closed:
            raise ConfigError("this router is closed")
        if not isinstance(stream, bool):
            raise BadRequest(f"stream is True or False, not {type(stream).__name__}")
        for name, extra in {"extra_body": extra_body, "extra_headers": extra_headers}.items():
            if extra is not None and not isinstance(extra, Mapping):
                raise BadRequest(f"{name} is a mapping, not {type(extra).__name__}")
        check_added(extra_headers or {})
        route = self._routes.get(model) if isinstance(model, str) else None
        given = {name: value for name, value in parameters.items() if value is not None}
        answer_type = None
        if "response_format" in given:
            wanted, answer_type = response_format_of(given["response_format"])
            given["response_format"] = wanted
        call = Call(
            messages=check_messages(messages),
            parameters=given,
            answer_type=answer_type,
            stream=stream,
            policy=self.policy.with_changes(route.policy if route else None).with_changes(policy),
            extras=Extras(
                body=None if extra_body is None else plain(extra_body, "extra_body"),
                headers=extra_headers,
            ),
        )
        self._catalog.check_names(call.policy.constrained)
        targets = targets_of(route.ordered(self.state.draw) if route else model, self._catalog)
        return self._planner.plan(targets, call, request_id), call

    @forgetful
    def _prepare(self, *arguments: Any) -> Prepared:
        """Plan a call that will be made; the arguments are those of `_plan`, but for its id.

        One that ends here is told like any other.
        """
        started, request_id = self.clock(), self._new_id()
        try:
            return self._prepared(started, *self._plan(request_id, *arguments))
        except BaseException as error:
            trace = getattr(error, "trace", None) or Trace(request_id=request_id)
            report = Report(request_id, self._log, self._host)
            report.failed(trace, error, 1000 * (self.clock() - started))
            raise

    def _prepared(self, started: float, job: Job, call: Call) -> Prepared:
        """A call that was planned, with all that driving it needs."""
        report = Report(job.request_id, self._log, self._host)
        journal = Journal(job.request_id, started, report)
        for skipped in job.passed_over:
            journal.passed_over(skipped)
        if not job.candidates:
            raise nobody(job)
        limit = job.policy.deadline
        return Prepared(
            job=job,
            extras=call.extras,
            report=report,
            journal=journal,
            state=self.state,
            started=started,
            deadline=None if limit is None else started + limit,
            answer_type=call.answer_type,
        )

    def _close_providers(self) -> None:
        for registered, error in self._host.close():
            self._log.warning(
                CLOSE_FAILED, provider=registered.name, error_type=type(error).__name__
            )
