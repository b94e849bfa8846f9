"""Routes: a name for an ordered or weighted list of targets, and a policy."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any

from msgspec import Struct, field

from router.arguments import check_fields
from router.catalog import Catalog
from router.errors import ConfigError, PluginError
from router.plugins import PluginHost
from router.policy import Policy
from router.types import Target


class Route(Struct, frozen=True, kw_only=True):
    """Where the calls of a name go.

    Attributes:
        targets: In the order of fallback.
        weights: A positive number for each target, or empty. With weights, each call draws its
            order: the first with a probability proportional to its weight, and so on.
        policy: Changes to the router's policy, by field.
    """

    targets: tuple[str | Target, ...]
    weights: tuple[float, ...] = ()
    policy: Mapping[str, Any] = field(default_factory=dict)

    def ordered(self, draw: Callable[[], float]) -> list[str | Target]:
        """The targets in the order of one call; `draw` gives a number in [0, 1)."""
        if not self.weights:
            return list(self.targets)
        # Efraimidis and Spirakis: sorting by u**(1/w) draws without replacement by weight.
        keys = [draw() ** (1 / weight) for weight in self.weights]
        ranked = sorted(zip(keys, self.targets, strict=True), key=lambda pair: -pair[0])
        return [target for _, target in ranked]


def check_routes(
    routes: Mapping[str, Route | Sequence[str | Target]], catalog: Catalog, host: PluginHost
) -> dict[str, Route]:
    """The routes of a router.

    Raises:
        ConfigError: A name holds a slash or is taken by a provider or a model, a list of targets
            is empty, the weights do not fit it, the policy is wrong, or a field is of a wrong type.
        ModelNotFound: A target does not exist.
    """
    checked: dict[str, Route] = {}
    if not routes:
        return checked
    taken = {name for model in catalog.models() for name in (model.id, *model.aliases)}
    for name, given in routes.items():
        route = given if isinstance(given, Route) else Route(targets=tuple(given))
        check_fields(route)
        if "/" in name or not name:
            raise ConfigError(f"route {name!r}: a route's name holds no slash")
        if name in taken or name in host.names():
            raise ConfigError(f"route {name!r}: a provider or a model has that name")
        if not route.targets:
            raise ConfigError(f"route {name!r} has no targets")
        if route.weights and len(route.weights) != len(route.targets):
            raise ConfigError(f"route {name!r}: as many weights as targets, or none")
        if any(not weight > 0 for weight in route.weights):
            raise ConfigError(f"route {name!r}: a weight is a positive number")
        catalog.check_names(Policy().with_changes(route.policy).constrained)
        for target in route.targets:
            _check_target(target, catalog)
        checked[name] = route
    return checked


def _check_target(target: str | Target, catalog: Catalog) -> None:
    """A broken plugin is no reason to refuse a route: calls pass its targets over."""
    with suppress(PluginError):
        if isinstance(target, Target):
            check_fields(target)
            catalog.find(catalog.provider(target.provider), target.model)
        else:
            catalog.resolve(target)
