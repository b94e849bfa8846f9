"""What a plugin may implement: few hooks, each called behind a guard of its own.

    from router.hookspecs import hookimpl

    @hookimpl
    def attempt_finished(attempt):
        meter.record(attempt.target, attempt.latency_ms)

An implementation may leave out arguments that it does not need. The one that was registered last
is called first (`tryfirst` and `trylast` change that); there are no wrappers. One that raises never
breaks a call: the error is logged as `hook_failed`, counted on the plugin, and the next is called.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import pluggy
from msgspec import Struct

from router.contract import Provider
from router.secret import Unshown
from router.types import Attempt, Trace

PROJECT = "router"

hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)


class PluginContext(Unshown, frozen=True, kw_only=True):
    """What the host tells a plugin that registers providers.

    Attributes:
        name: The plugin's own name, as its entry point says it.
        settings: The settings that the application gave for that name, and no others.
    """

    name: str
    settings: Mapping[str, Any]


class CallSummary(Struct, frozen=True, kw_only=True):
    """How a call ended, for `completion_finished`.

    Attributes:
        trace: Its attempts, and the targets that were passed over.
        target: The target that answered, or `None` when none did.
        error: What the caller is given instead of an answer.
        latency_ms: From the call to its end, in milliseconds.
    """

    trace: Trace
    target: str | None
    error: BaseException | None
    latency_ms: float


@hookspec
def register_providers(context: PluginContext) -> Iterable[Provider]:
    """Bring the plugin's providers.

    Called once, when the plugin is loaded: on the first call to a target of its name, or when
    all plugins are needed. All results of all plugins are used. A provider of another plugin's
    name makes this one fail; one that others bring as well is nobody's. When it raises, the
    plugin counts as failed and none of its providers exists.
    """
    raise NotImplementedError


@hookspec
def attempt_started(attempt: Attempt) -> None:
    """Called before an attempt is sent, in the thread of the call: do not block.

    When it raises, the attempt goes on.
    """


@hookspec
def attempt_finished(attempt: Attempt) -> None:
    """Called when an attempt has ended, well or not (`attempt.outcome` and `.error` say how).

    In the thread of the call: do not block. When it raises, the call goes on.
    """


@hookspec
def completion_finished(summary: CallSummary) -> None:
    """Called once a call, when it has ended: answered, failed, refused, or closed by its caller.

    In the thread of the call: do not block. When it raises, the call's end stays what it was.
    """


HOOKS = ("register_providers", "attempt_started", "attempt_finished", "completion_finished")
"""Every hook's name."""
