"""The sync router: calls are driven in the caller's thread."""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Literal, Protocol, Self, TypeAlias, overload

from router.answer import Answer
from router.base import BaseRouter, Messages, ModelArgument, PolicyArgument, Prepared
from router.cleanup import Cleanups
from router.clock import Clock
from router.commands import Announce, Begin, Command, Deliver, Event, Outcome, Queue, Sleep
from router.contract import Call, HttpRequest, HttpResponse, Shared, Wait
from router.errors import Cancelled, ConfigError, RouterError
from router.exchange import ASKING, PING, Action, Notes, run
from router.flow import route
from router.job import State
from router.limit import Limit
from router.messages import Message, copied
from router.refresh import Refreshed, ask
from router.shared import SharedStore
from router.types import Chunk, Completion, Restart, Trace

if TYPE_CHECKING:
    from router.chat import Chat
    from router.transport.blocking import BlockingTransport as Transport

Piece: TypeAlias = str | Chunk | Restart


class Router(BaseRouter):
    """Routes completion calls over the installed providers.

    Thread-safe. Also a context manager; `close()` releases connections and providers.

    Args:
        plugins: Plugins, providers and decorated functions to register beside the installed.
        settings: Provider settings by name: `{"h2o": {"base_url": "..."}}`.
        routes: Names for lists of targets: `{"chat": ["openai/gpt-4o-mini", "local/smollm2"]}`.
        order: Provider names, best first, for models that several serve under one bare name.
        policy: Changes to the default `Policy`, or another one in its place.
        allow, block: Names of plugins or distributions that alone may, or must not, be imported.
            Also from `ROUTER_PLUGINS_ALLOW` and `ROUTER_PLUGINS_BLOCK`.
        strict: Whether a broken plugin raises when the router is made.
        trust_env: Whether proxies and certificate bundles are taken from the environment.
        proxies: URL scheme to proxy URL.
        verify: Whether certificates are verified, or the file or folder of those to trust.
        rules: Rows in place of those of the fault table, `router.rules.RULES`.
        tags: Tags by the name of a provider or target, beside a target's own, for `Policy.require`.
        model_cache: Where the answers of `refresh_models` are kept, and read from.
        clock, draw, new_id, environ: Where time, random numbers in [0, 1), request ids and the
            environment come from.

    Raises:
        ConfigError: A setting, route or policy is wrong.
        PluginLoadError: A plugin is broken, and `strict`.
    """

    def _begin(self) -> None:
        super()._begin()
        self._lock = threading.Lock()
        self._transport: Transport | None = None
        self.cleanups = Cleanups(lambda: self.transport, self._log)
        self.shared = SharedStore(self.clock)

    @overload
    def create_completion(
        self,
        model: ModelArgument,
        messages: Messages,
        stream: Literal[False] = False,
        *,
        policy: PolicyArgument = None,
        extra_body: Mapping[str, Any] | None = None,
        extra_headers: Mapping[str, str] | None = None,
        **parameters: Any,
    ) -> Completion: ...

    @overload
    def create_completion(
        self,
        model: ModelArgument,
        messages: Messages,
        stream: Literal[True],
        *,
        policy: PolicyArgument = None,
        extra_body: Mapping[str, Any] | None = None,
        extra_headers: Mapping[str, str] | None = None,
        **parameters: Any,
    ) -> Stream: ...

    @overload
    def create_completion(
        self,
        model: ModelArgument,
        messages: Messages,
        stream: bool,
        *,
        policy: PolicyArgument = None,
        extra_body: Mapping[str, Any] | None = None,
        extra_headers: Mapping[str, str] | None = None,
        **parameters: Any,
    ) -> Completion | Stream: ...

    def create_completion(
        self,
        model: ModelArgument,
        messages: Messages,
        stream: bool = False,
        *,
        policy: PolicyArgument = None,
        extra_body: Mapping[str, Any] | None = None,
        extra_headers: Mapping[str, str] | None = None,
        **parameters: Any,
    ) -> Completion | Stream:
        """Get a completion from the first of the targets that answers.

        Args:
            model: A target (`"h2o/falcon-7b"`, a `Target`), a bare model name that one provider
                serves, or a list of these: the order of fallback. Or the name of a route, alone.
            messages: Dicts as in the OpenAI API, or `Message` objects.
            stream: Whether to get a `Stream` of pieces, once the first of them has come.
            policy: Changes to the router's policy for this call, or another one in its place.
            extra_body: Laid over the JSON of the request, past all checks.
            extra_headers: Added to the request.
            parameters: What the targets take: see `parameters()`. `None` counts as not given.

        Raises:
            BadRequest: A message or argument is wrong; says which.
            UnsupportedParameter: No target takes a parameter or its value.
            ModelNotFound: A name means nothing; the message has the close ones.
            AllTargetsFailed: Several targets were tried and all failed.
            RouterError: Any other: the error of the one target that was tried.
        """
        try:
            prepared = self._prepare(
                model, messages, stream, policy, extra_body, extra_headers, parameters
            )
        finally:
            del messages, extra_body, extra_headers, parameters  # as `forgetful` says
        drive = _Drive(self, prepared)
        if stream:
            return Stream(drive)
        return drive.whole()

    def close(self) -> None:
        """Wait for what is sent in the background, then release connections and providers."""
        self._enter_process()
        self._closed = True
        self.cleanups.flush()
        self._close_providers()
        if self._transport is not None:
            self._transport.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def refresh_models(self, provider: str | None = None) -> list[Refreshed]:
        """Ask the providers, or one of them, which models they serve now.

        What they answer joins `models()`, and is kept in the `model_cache`, if there is one. One
        that cannot be asked is told in its `Refreshed.error`, not raised.

        Raises:
            ModelNotFound: There is no such provider.
            PluginError: Its plugin is broken or blocked.
        """
        asked = self._host.all() if provider is None else [self._catalog.provider(provider)]
        able = [each for each in asked if provider or each.provider.list_models is not None]
        found = [ask(each, self.transport, self.time) for each in able]
        for each in found:
            if each.error is None and self._model_cache is not None:
                self._model_cache.keep(each.provider, each.models)
        self._catalog.forget()
        return found

    @property
    def chat(self) -> Chat:
        """The face of the openai client: `router.chat.completions.create(...)`."""
        from router.chat import Chat

        return Chat(self)

    @property
    def transport(self) -> Transport:
        """The transport, made on first use: requests is the most expensive import of all."""
        if self._transport is None:
            from router.transport.blocking import BlockingTransport

            with self._lock:
                if self._transport is None:
                    self._transport = BlockingTransport(self._transport_settings)
        return self._transport


class Host(Protocol):
    """What a run needs of its router."""

    clock: Callable[[], float]
    time: Clock
    state: State
    cleanups: Cleanups
    shared: SharedStore

    @property
    def transport(self) -> Transport: ...


class Run:
    """An attempt under way: an exchange's actions, carried out."""

    def __init__(self, router: Host, prepared: Prepared, begin: Begin) -> None:
        self.answer = Answer(begin.choices)
        self.notes = Notes()
        self._router = router
        self._begin = begin
        self._candidate = begin.candidate
        self._prepared = prepared
        stream = prepared.job.stream
        self.limit = Limit(
            prepared.job.policy,
            router.clock(),
            prepared.deadline,
            first_token=stream and not begin.patient,
            idle=stream,
        )
        if begin.continues is not None:
            self.answer.resume(begin.continues)
        self.transport_exchange: Any = None
        self.pieces = self._pieces()

    def cancel(self) -> None:
        """End it from another thread."""
        self.limit.cancel()
        if self.transport_exchange is not None:
            self.transport_exchange.cancel()

    def _pieces(self) -> Generator[str | Chunk, None, None]:
        """The pieces of the answer, as they come.

        Raises:
            RouterError: The exchange failed; the error knows where.
        """
        provider = self._candidate.registered.provider
        actions = run(
            provider,
            lambda: provider.create_completion(**arguments_of(self._begin, self._prepared)),
            self.answer,
            self.notes,
            self._prepared.extras,
        )
        try:
            if self.limit.cancelled:
                raise self.limit.error(self._router.clock())
            yield from self._carry_out(actions, does_io=provider.does_io)
        except RouterError as error:
            self.notes.locate(error, self._candidate.registered.name, str(self._candidate.target))
            raise self.notes.complete(error, self._router.time.epoch()) from error.__cause__
        finally:
            actions.close()
            self._release()

    def _carry_out(
        self, actions: Generator[Action, Any, None], *, does_io: bool
    ) -> Generator[str | Chunk, None, None]:
        clock, limit, answer = self._router.clock, self.limit, self.answer
        try:
            action = next(actions)
            while True:
                if does_io and clock() >= limit.until:
                    raise limit.error(clock())
                if action is PING:
                    limit.ping(clock())
                    action = actions.send(None)
                    continue
                if isinstance(action, str) or not isinstance(action, ASKING):
                    yield action
                    now = clock()
                    if answer.finished:
                        limit.finish(now)
                    elif answer.has_content:
                        limit.alive(now)
                    action = actions.send(None)
                    continue
                try:
                    result = self._perform(action)
                except (Exception, SystemExit) as error:  # noqa: BLE001  # a plugin's function may raise anything
                    action = actions.throw(error)
                else:
                    action = actions.send(result)
        except StopIteration:
            return

    def _perform(self, action: Any) -> Any:
        if isinstance(action, HttpResponse):
            return self._router.transport.read(action, self.transport_exchange)
        if isinstance(action, HttpRequest):
            return self._send(action)
        if isinstance(action, Call):
            return action.function()
        if isinstance(action, Wait):
            return self._wait(action.seconds)
        assert isinstance(action, Shared)
        provider = self._candidate.registered.name
        return self._router.shared.get(provider, action, self._drive_shared, self.limit)

    def _wait(self, seconds: float) -> None:
        now, until = self._router.clock(), self.limit.until
        self._router.time.sleep(max(0.0, min(seconds, until - now)))
        if now + seconds >= until:
            raise self.limit.error(until)

    def _drive_shared(self, steps: Generator[Any, Any, Any]) -> Any:
        """Run a sub-exchange to its end; what it returns."""
        try:
            step = next(steps)
            while True:
                if isinstance(step, HttpRequest):
                    self.notes.hide(step)
                try:
                    result = self._perform(step)
                except (Exception, SystemExit) as error:  # noqa: BLE001  # a plugin's function may raise anything
                    step = steps.throw(error)
                else:
                    step = steps.send(result)
        except StopIteration as stop:
            return stop.value

    def _send(self, request: HttpRequest) -> HttpResponse:
        from router.transport.sockets import Exchange

        self.transport_exchange = Exchange(self.limit)
        response: HttpResponse = self._router.transport.send(request, self.transport_exchange)
        return response

    def _release(self) -> None:
        if not self._prepared.is_ours:
            return
        for response in self.notes.responses:
            self._router.transport.finish(
                response, self.transport_exchange, drain=self.answer.finished
            )
        self.notes.responses = []
        if self._candidate.max_concurrency is not None:
            self._router.state.slots.release(str(self._candidate.target))
        self._router.cleanups.add(self.notes.cleanups)
        self.notes.cleanups = []


def arguments_of(begin: Begin, prepared: Prepared) -> dict[str, Any]:
    """What the provider's function is called with, made anew for each attempt."""
    candidate, messages = begin.candidate, begin.candidate.messages
    if begin.continues is not None:
        messages = (*messages, Message(role="assistant", content=begin.continues.text))
    typed = candidate.registered.parameters.typed_messages
    return {
        "model": candidate.model.id,
        "messages": list(messages) if typed else [message.to_dict() for message in messages],
        "stream": prepared.job.stream,
        **copied(candidate.binding.arguments),
    }


class _Drive:
    """Carries out what the flow of one call says, and hands over what comes."""

    def __init__(self, router: Router, prepared: Prepared) -> None:
        self.prepared = prepared
        self._router = router
        self._run: Run | None = None
        self._cancelled = False
        self._held: list[str | Chunk] = []
        self.typed = False

    def cancel(self) -> None:
        """End the call from another thread, while this one waits."""
        self._cancelled = True
        if self._run is not None:
            self._run.cancel()

    def whole(self) -> Completion:
        """Drive a call that is not streamed to its end."""
        pieces = self.pieces()
        try:
            while True:
                next(pieces)
        except StopIteration as stop:
            completion: Completion = stop.value
            return completion

    def pieces(self) -> Generator[Piece, None, Completion]:
        """The pieces to deliver; returns the completion.

        Raises:
            RouterError: What the flow raises.
        """
        prepared, clock = self.prepared, self._router.clock
        flow = route(prepared.job, prepared.journal, self._router.state, prepared.started)
        try:
            command = next(flow)
            while True:
                if isinstance(command, Deliver):
                    event = yield from self._deliver()
                elif isinstance(command, Announce):
                    yield command.restart
                    event = Event(Outcome.WOKE, clock())
                else:
                    event = self._obey(command)
                command = flow.send(event)
        except StopIteration as stop:
            completion = prepared.finish(stop.value)
            prepared.report.succeeded(completion, 1000 * (clock() - prepared.started))
            return completion
        except BaseException as error:
            self._ended(error)
            raise
        finally:
            flow.close()
            if self._run is not None:
                self._run.pieces.close()

    def _obey(self, command: Command) -> Event:
        if isinstance(command, Sleep):
            self._router.time.sleep(max(0.0, command.until - self._router.clock()))
            return Event(Outcome.WOKE, self._router.clock())
        if isinstance(command, Queue):
            self._queue(command)
            return Event(Outcome.WOKE, self._router.clock())
        assert isinstance(command, Begin)
        self._run = run = Run(self._router, self.prepared, command)
        if self._cancelled:
            run.cancel()
        self._held = []
        try:
            for piece in run.pieces:
                if self.prepared.job.stream:
                    self._held.append(piece)
                    if command.until == "content" and run.answer.has_content:
                        return Event(Outcome.CONTENT, self._router.clock(), run)
        except RouterError as error:
            return Event(Outcome.FAILED, self._router.clock(), run, error)
        return Event(Outcome.FINISHED, self._router.clock(), run)

    def _queue(self, command: Queue) -> None:
        woken = threading.Event()
        slots = self._router.state.slots
        if slots.wait(command.target, command.limit, woken.set):
            came = False
            try:
                came = woken.wait(max(0.0, command.until - self._router.clock()))
            finally:
                if not came:
                    slots.leave(command.target, woken.set)

    def _deliver(self) -> Generator[Piece, None, Event]:
        run = self._run
        assert run is not None
        try:
            held, self._held = self._held, []
            yield from held
            yield from run.pieces
        except RouterError as error:
            return Event(Outcome.FAILED, self._router.clock(), run, error, self.typed)
        return Event(Outcome.FINISHED, self._router.clock(), run)

    def _ended(self, error: BaseException) -> None:
        """The call ends without an answer: by an error, or because nobody wants it any more."""
        prepared, now = self.prepared, self._router.clock()
        if not prepared.is_ours:
            return
        if prepared.journal.running:
            prepared.journal.end("cancelled", now, self._run)
        if not isinstance(error, Exception):
            error = Cancelled("closed by the caller")
        prepared.report.failed(prepared.journal.trace(), error, 1000 * (now - prepared.started))


class Stream:
    """An answer that is still coming.

    Iterating gives its text, piece by piece; `chunks()` gives the typed pieces. Also a context
    manager. Leaving it, closing it, or dropping it ends the request.
    """

    def __init__(self, drive: _Drive) -> None:
        self._drive = drive
        self._completion: Completion | None = None
        self._first: list[Piece] = []
        self._pieces = drive.pieces()
        try:
            self._first.append(next(self._pieces))
        except StopIteration as stop:
            self._completion = stop.value

    def __iter__(self) -> Self:
        return self  # and no generator: who leaves a loop may come back for the rest

    def __next__(self) -> str:
        while True:
            piece = self._next()
            if type(piece) is str:
                return piece
            if type(piece) is Chunk and piece.text and piece.index == 0:
                return piece.text

    def chunks(self) -> Iterator[Chunk | Restart]:
        """The pieces with all that they hold: text, reasoning, tool calls, usage."""
        self._drive.typed = True
        while True:
            try:
                piece = self._next()
            except StopIteration:
                return
            yield Chunk(text=piece) if isinstance(piece, str) else piece

    @property
    def completion(self) -> Completion:
        """The whole answer, once the stream is at its end.

        Raises:
            ConfigError: It is not, or it broke off.
        """
        if self._completion is None:
            raise ConfigError("the completion is there when the stream has come to its end")
        return self._completion

    @property
    def trace(self) -> Trace:
        """The attempts so far."""
        return self._drive.prepared.journal.trace()

    def close(self) -> None:
        """End the request and free its connection; from any thread. Does nothing at the end."""
        try:
            self._pieces.close()
        except ValueError:  # another thread is in the generator, waiting: wake it
            self._drive.cancel()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _next(self) -> Piece:
        if self._first:
            return self._first.pop()
        try:
            return next(self._pieces)
        except StopIteration as stop:
            self._completion = stop.value or self._completion
            if self._completion is None:  # a part must not read like the whole
                raise Cancelled("the stream is over, without a whole answer") from None
            raise
