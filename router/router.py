"""The sync router: calls are driven in the caller's thread."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, Literal, Self, overload

from router.arguments import checked
from router.base import BaseRouter, Messages, ModelArgument, PolicyArgument
from router.cleanup import Cleanups
from router.driver.base import Piece
from router.driver.blocking import Drive
from router.errors import Cancelled
from router.refresh import Refreshed, ask
from router.shared import SharedStore
from router.stream import BaseStream
from router.types import Chunk, Completion, Restart

if TYPE_CHECKING:
    from router.chat import Chat
    from router.transport.blocking import BlockingTransport as Transport


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
        drive = Drive(self, prepared)
        if stream:
            return Stream(drive)
        for _ in drive.pieces():
            continue
        assert drive.completion is not None
        return drive.completion

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

    @checked
    def refresh_models(self, provider: str | None = None) -> list[Refreshed]:
        """Ask the providers, or one of them, which models they serve now.

        What they answer joins `models()`, and is kept in the `model_cache`, if there is one. One
        that cannot be asked is told in its `Refreshed.error`, not raised.

        Raises:
            ConfigError: The name is no str.
            ModelNotFound: There is no such provider.
            PluginError: Its plugin is broken or blocked.
        """
        asked = self._host.all() if provider is None else [self._catalog.provider(provider)]
        able = [each for each in asked if provider or each.provider.list_models is not None]
        found = [ask(each, self.transport, self.time) for each in able]
        for each in found:
            if each.error is None:
                self._catalog.learn(each.provider, each.models)
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


class Stream(BaseStream):
    """An answer that is still coming.

    Iterating gives its text, piece by piece; `chunks()` gives the typed pieces. Also a context
    manager. Leaving it, closing it, or dropping it ends the request.
    """

    _drive: Drive

    def __init__(self, drive: Drive) -> None:
        self._drive = drive
        self._closed = False
        self._pieces = drive.pieces()
        self._first: list[Piece] = []
        for piece in self._pieces:
            self._first.append(piece)
            break

    def __iter__(self) -> Self:
        return self  # and no generator: who leaves a loop may come back for the rest

    def __next__(self) -> str:
        while True:
            piece = self._next()
            if type(piece) is str:
                return piece
            if type(piece) is Chunk and piece.text and piece.index == 0:
                return piece.text

    def chunks(self, *, restarts: bool = True) -> Iterator[Chunk | Restart]:
        """The pieces with all that they hold: text, reasoning, tool calls, usage.

        Args:
            restarts: Whether the caller heeds a `Restart`, where the policy allows one.
        """
        self._drive.typed = restarts
        while True:
            try:
                piece = self._next()
            except StopIteration:
                return
            yield Chunk(text=piece) if isinstance(piece, str) else piece

    def close(self) -> None:
        """End the request and free its connection; from any thread. Does nothing at the end.

        A thread that waits for the next piece is given `Cancelled`.
        """
        self._closed = True
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
            piece = next(self._pieces)
        except StopIteration:
            self._check_whole()
            raise
        except ValueError:  # another thread is in the generator, closing it
            if not self._closed:
                raise
            raise Cancelled("closed by the caller") from None
        if (
            self._closed
        ):  # by a thread that found this one in the generator, and left the rest to it
            self.close()
            raise Cancelled("closed by the caller")
        return piece
