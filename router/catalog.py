"""Models and targets by their names."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec
from msgspec import Struct

from router.errors import ConfigError, ModelNotFound
from router.foreign import translate
from router.parameters import Parameters, close_matches
from router.plugins import PluginHost, Registered
from router.refresh import ModelCache
from router.types import Model, Target


class _Known(Struct):
    """A provider's models by id and alias, and what it takes for those that lack something."""

    registered: Registered
    models: dict[str, Model]
    parameters: dict[str, Parameters] = {}


class Catalog:
    """What the providers of a host serve, and what a name means.

    Args:
        host: The plugins.
        order: Names of providers, best first: which of several that serve a bare name is meant.
        cache: Where what providers said when they were asked is kept, beyond this router.
    """

    def __init__(
        self, host: PluginHost, order: Sequence[str] = (), cache: ModelCache | None = None
    ) -> None:
        self._host = host
        self._cache = cache
        self._known: dict[str, _Known] = {}
        self._said: dict[str, tuple[Model, ...]] = {}
        self._order = {name: rank for rank, name in enumerate(order)}
        if unknown := {name for name in self._order if not host.knows(name)}:
            raise ConfigError(f"order names unknown providers: {', '.join(sorted(unknown))}")

    def models(self, provider: str | None = None) -> list[Model]:
        """The models of one provider, or of all, each with its provider's name.

        Raises:
            ModelNotFound: There is no such provider.
            PluginError: Its plugin is broken or blocked.
        """
        found = self._host.all() if provider is None else [self.provider(provider)]
        return [
            msgspec.structs.replace(model, provider=registered.name)
            for registered in found
            for name, model in self._models(registered).items()
            if name == model.id
        ]

    def provider(self, name: str) -> Registered:
        """The provider of a name.

        Raises:
            ModelNotFound: There is none; names the close ones.
            PluginError: Its plugin is broken or blocked.
        """
        registered = self._host.get(name)
        if registered is None:
            plugins = [info for info in self._host.infos if info.name == name]
            brought = [f"{name}/..." for info in plugins for name in info.providers]
            hint = _hint(name, self._host.names() - {name})
            if plugins:
                hint = f": the plugin of that name brings {', '.join(brought) or 'none'}"
            raise ModelNotFound(f"no provider is called {name!r}{hint}")
        return registered

    def check_names(self, names: Iterable[str]) -> None:
        """Check the names of a constraint: one that means nothing protects nobody.

        Raises:
            ConfigError: There is no such provider; names the close ones.
        """
        for name in names:
            head = name.partition("/")[0]
            if not self._host.knows(head):
                hint = _hint(head, self._host.names())
                raise ConfigError(f"a constraint names no provider: {name!r}{hint}")

    def resolve(self, name: str) -> Target:
        """The target that a name means: `provider/model`, or a model that one provider serves.

        Raises:
            ModelNotFound: Nothing has the name, or several providers and no order ranks them.
            PluginError: The plugin that it names is broken or blocked.
        """
        head, slash, tail = name.partition("/")
        if slash and self._host.knows(head):
            registered = self.provider(head)
            return Target(head, self.find(registered, tail).id)
        found = self._host.all()
        # What a provider advertises counts before what a catalogue says of it: a model's maker
        # before those who serve it as well.
        serving = [r for r in found if _advertised(r, name) is not None]
        serving = serving or [r for r in found if name in self._models(r)]
        if not serving:
            known = self._known_names()
            if slash:  # what is misspelt may be who serves a model that nobody lists
                takers = [each.name for each in found if each.provider.open_models]
                known += [f"{each}/{tail}" for each in close_matches(head, takers)]
            raise ModelNotFound(f"no provider serves {name!r}{_hint(name, known)}")
        return self._choose(name, serving)

    def find(self, registered: Registered, name: str) -> Model:
        """A provider's model by id or alias; an unlisted one where the provider takes any.

        Raises:
            ModelNotFound: The provider serves no such model; names the close ones.
        """
        model = self._models(registered).get(name)
        if model is not None:
            return model
        if registered.provider.open_models and name:
            return Model(id=name)
        known = [each for model in registered.models for each in (model.id, *model.aliases)]
        serves = f" (it serves {', '.join(known[:8])})" if known else ""
        raise ModelNotFound(
            f"{registered.name} serves no {name!r}{_hint(name, known) or serves}",
            provider=registered.name,
        )

    def parameters(self, registered: Registered, model: Model | None) -> Parameters:
        """What a provider takes, less what the model lacks, by the model's names for it."""
        if model is None or not (model.without or model.renames):
            return registered.parameters
        fitted = self._know(registered).parameters
        if model.id not in fitted:
            fitted[model.id] = registered.parameters.without(model.without, model.renames)
        return fitted[model.id]

    def learn(self, provider: str, models: tuple[Model, ...]) -> None:
        """Take note of what a provider said that it serves."""
        self._said[provider] = models
        if self._cache is not None:
            self._cache.keep(provider, models)
        self._known.pop(provider, None)

    def _models(self, registered: Registered) -> dict[str, Model]:
        """All that is known of a provider's models, by id and alias."""
        return self._know(registered).models

    def _know(self, registered: Registered) -> _Known:
        """What is known of a provider; asked for once.

        Raises:
            RouterError: The provider fails to say its models.
        """
        kept = self._known.get(registered.name)
        if kept is not None and kept.registered is registered:
            return kept
        try:
            models = _read_models(registered)
        except Exception as error:  # a plugin may raise anything
            raise translate(error) from error
        said = self._said.get(registered.name)
        if said is None and self._cache is not None:
            said = self._cache.read(registered.name)
        for model in said or ():
            models[model.id] = _completed(models.get(model.id, model), model)
        known = self._known[registered.name] = _Known(registered, models)
        return known

    def _choose(self, name: str, serving: list[Registered]) -> Target:
        ranked = [registered for registered in serving if registered.name in self._order]
        if len(serving) > 1 and not ranked:
            names = [f"{registered.name}/{name}" for registered in serving]
            raise ModelNotFound(
                f"{len(serving)} providers serve {name!r}: name one of {', '.join(names)}, "
                f"or rank them with Router(order=[...])",
                code="ambiguous",
            )
        chosen = serving[0]
        if len(serving) > 1:
            chosen = min(ranked, key=lambda registered: self._order[registered.name])
        return Target(chosen.name, self.find(chosen, name).id)

    def _known_names(self) -> list[str]:
        models = self.models()
        return [
            known
            for model in models
            for each in (model.id, *model.aliases)
            for known in (each, f"{model.provider}/{each}")
        ]


_FILLED = (
    "context_window",
    "output_limit",
    "inputs",
    "tools",
    "structured_output",
    "reasoning",
    "prices",
)
"""What a catalogue may say of a model where its provider does not."""


def _read_models(registered: Registered) -> dict[str, Model]:
    known = registered.provider.known_models()
    models = {model.id: _completed(model, known.get(model.id)) for model in registered.models}
    models.update({name: model for name, model in known.items() if name not in models})
    for model in list(models.values()):
        for alias in model.aliases:
            models.setdefault(alias, model)
    return models


def _completed(model: Model, known: Model | None) -> Model:
    """A model as its provider advertises it, its gaps filled."""
    if known is None:
        return model
    gaps = {name: getattr(known, name) for name in _FILLED if getattr(model, name) is None}
    return msgspec.structs.replace(model, **gaps)


def _advertised(registered: Registered, name: str) -> Model | None:
    for model in registered.models:
        if name == model.id or name in model.aliases:
            return model
    return None


def _hint(name: str, known: Iterable[str]) -> str:
    close = close_matches(name, known)
    return f": did you mean {' or '.join(close)}?" if close else ""
