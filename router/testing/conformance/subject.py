"""The provider under examination, accepted by the router's own rules and ready to be played."""

from __future__ import annotations

import inspect
import itertools
from collections.abc import Iterable, Mapping
from typing import Any

from router.contract import Provider, is_generator
from router.discovery import Selection, discover
from router.errors import ConfigError, PluginError, PluginLoadError, RouterError
from router.events import Log
from router.messages import check_messages
from router.parameters import Parameters, bind
from router.plugins import PluginHost, Registered
from router.types import Model

from .guard import Guard
from .play import Outcome, Pieces, Play
from .samples import Reply, Sample, check_samples

KEY = "sk-conformance-6b1f0c2d9e"
"""The key that providers are made with: one that is told from all other text."""

KEY_SETTINGS = frozenset({"key", "api_key", "token", "access_token"})
"""The names of settings that are given `KEY`, where the application gives nothing."""

SELF = "provider"


class Subject:
    """A provider, with its samples.

    Args:
        plugin: A provider, or what makes one: as `Router(plugins=[...])` takes it.
        samples: What its server would answer.
        settings: Those that it is made with; a setting for a key is `KEY` without them.

    Attributes:
        provider: The provider; `None` where it breaks the contract.
        broken: How it breaks the contract, in words, or `None`.
        samples: The samples.

    Raises:
        ConfigError: A sample cannot be used, or the settings are wrong.
    """

    def __init__(
        self,
        plugin: Any,
        samples: Iterable[Sample] = (),
        settings: Mapping[str, Any] | None = None,
    ) -> None:
        self.samples = check_samples(samples)
        self.broken: str | None = None
        self._registered: Registered | None = None
        try:
            self._registered = _accept(plugin, settings or {})
        except PluginError as error:
            self.broken = error.message
        else:
            self.broken = self._no_generator() if self.is_wire else None

    @property
    def registered(self) -> Registered:
        """The provider as the router has accepted it."""
        assert self._registered is not None, "only the contract is looked at without it"
        return self._registered

    @property
    def provider(self) -> Provider:
        return self.registered.provider

    @property
    def parameters(self) -> Parameters:
        return self.registered.parameters

    @property
    def models(self) -> tuple[Model, ...]:
        return self.registered.models

    @property
    def is_wire(self) -> bool:
        """Whether its exchanges can be played without a server."""
        return not self.provider.does_io

    @property
    def answers(self) -> tuple[Sample, ...]:
        """The samples of answers."""
        return tuple(sample for sample in self.samples if sample.error is None)

    @property
    def exchanges(self) -> tuple[Sample, ...]:
        """All samples, or where there are none, two questions that nobody has answered."""
        return self.samples or _questions()

    @property
    def questions(self) -> tuple[Sample, ...]:
        """The samples of answers, or where there are none, the same two questions."""
        return self.answers or _questions()

    def play(
        self,
        sample: Sample,
        *,
        replies: Iterable[Reply] | None = None,
        pieces: Pieces | None = None,
        guard: Guard | None = None,
    ) -> Play:
        """An exchange that has not begun.

        Raises:
            ConfigError: The provider does not take the sample's parameters.
        """
        self._arguments(sample)
        return Play(
            self.provider,
            lambda: self.start(sample),
            sample.replies if replies is None else replies,
            pieces=pieces,
            guard=guard,
        )

    def start(self, sample: Sample) -> Any:
        """What `create_completion` returns for a sample."""
        return self.provider.create_completion(**self._arguments(sample))

    def outcome(self, sample: Sample, **how: Any) -> Outcome:
        """How an exchange ends; `how` is that of `play`."""
        return self.play(sample, **how).run()

    def unavailable(self) -> str | None:
        """Why no exchange can be played without a sample, or `None`."""
        refused = Reply(status=503)
        try:
            for sample in self.exchanges:
                play = self.play(sample, replies=itertools.repeat(refused))
                error = play.run().error
                if not play.requests and isinstance(error, RouterError):
                    return f"it sends nothing: {error.message}"
        except ConfigError as error:
            return error.message
        return None

    def _no_generator(self) -> str | None:
        """Why a wire provider's function cannot be driven step by step, or `None`."""
        try:
            steps = self.start(self.exchanges[0])
        except ConfigError:
            return None  # of a parameter that it needs, and the sample does not have
        except Exception as error:  # noqa: BLE001  # whatever a plugin raises
            return f"create_completion raises {type(error).__name__} before its first step"
        if not is_generator(steps):
            return "create_completion of a wire provider is a generator function: this has no yield"
        steps.close()
        return None

    def _arguments(self, sample: Sample) -> dict[str, Any]:
        binding = bind(self.parameters, sample.parameters, {})
        if binding.refusal is not None:
            raise ConfigError(f"the sample {sample.label}: {self.provider.name} {binding.refusal}")
        messages = check_messages(sample.messages)
        typed = self.parameters.typed_messages
        model = sample.model or (self.models[0].id if self.models else "model")
        return {
            "model": model,
            "messages": list(messages) if typed else [each.to_dict() for each in messages],
            "stream": sample.stream,
            **binding.arguments,
        }


def _questions() -> tuple[Sample, ...]:
    return tuple(Sample(name="no sample", stream=stream) for stream in (True, False))


def _accept(plugin: Any, settings: Mapping[str, Any]) -> Registered:
    """The provider that a plugin brings.

    Raises:
        PluginError: It breaks the contract.
        ConfigError: The settings are wrong.
    """
    given = {**_keys(plugin), **settings}
    host = PluginHost(
        Selection.make((), None, {}), {SELF: given} if given else {}, strict=False, log=Log()
    )
    info = host.register(plugin, SELF)
    found = [host.get(name) for name in info.providers]
    if len(found) != 1 or found[0] is None:
        raise PluginLoadError(f"it brings {len(found)} providers: examine them one by one")
    return found[0]


def _keys(plugin: Any) -> dict[str, str]:
    """The settings of what makes a provider that are for a key."""
    if isinstance(plugin, Provider) or not callable(plugin):
        return {}
    try:
        known = inspect.signature(plugin).parameters
    except (TypeError, ValueError):
        return {}
    return {name: KEY for name in known if name in KEY_SETTINGS}


def installed(name: str, environ: Mapping[str, str]) -> Any:
    """The plugin of an entry point's name, imported; no other is.

    Args:
        name: The entry point's, which is the provider's.
        environ: The environment, whose list of what is blocked holds here too.

    Raises:
        ConfigError: None that is installed has the name.
        PluginError: It is blocked, or cannot be imported.
    """
    selection = Selection.make([name], None, environ)
    for found in discover(selection):
        if found.info.name != name or found.entry_point is None:
            continue
        if found.info.status != "available":
            raise PluginError(f"{found.info.origin} is {found.info.status}: {found.info.reason}")
        try:
            return found.entry_point.load()
        except (Exception, SystemExit) as error:
            reason = f"{type(error).__name__}: {error}"
            raise PluginError(f"{found.info.origin}: {reason}") from error
    raise ConfigError(f"no plugin that is installed is called {name!r}: see `router plugins`")
