"""Route completion calls over many model providers, with fallback; the public face."""

import typing

from router.clock import Clock
from router.contract import (
    Call,
    Cleanup,
    Exchange,
    HttpRequest,
    HttpResponse,
    Provider,
    Shared,
    Wait,
    WireProvider,
    decode_json,
    provider,
)
from router.discovery import PluginInfo
from router.errors import (
    AllTargetsFailed,
    AuthError,
    BadRequest,
    Cancelled,
    ConfigError,
    ConnectFailed,
    ConnectionLost,
    ContentFiltered,
    ContextOverflow,
    DeadlineExceeded,
    ModelNotFound,
    Overloaded,
    PayloadTooLarge,
    PermissionDenied,
    PluginError,
    PluginLoadError,
    ProtocolError,
    QuotaExhausted,
    RateLimited,
    RouterError,
    StreamInterrupted,
    Timeout,
    TLSFailed,
    TransportError,
    UnsupportedParameter,
    UpstreamError,
    error_for_status,
)
from router.health import HealthRow
from router.hookspecs import CallSummary, PluginContext, hookimpl
from router.messages import Message
from router.parameters import FEATURE, TUNING, Kind, Parameter, Parameters
from router.parts import Audio, File, Image, Part, Text, Video
from router.policy import Policy
from router.router import Router, Stream
from router.routes import Route
from router.rules import Rule
from router.secret import Bearer, Secret
from router.sse import COMMENT, SSE, Event, JSONLines
from router.types import (
    Attempt,
    Choice,
    Chunk,
    Citation,
    Completion,
    FinishReason,
    Model,
    PassedOver,
    Prices,
    Reasoning,
    Restart,
    Target,
    Tier,
    ToolCall,
    ToolCallDelta,
    Trace,
    Usage,
)


def __getattr__(name: str) -> typing.Any:
    """What is read or imported when it is asked for: the version, and asyncio's share."""
    if name == "__version__":
        from importlib.metadata import version

        return version("pluggable-router")
    if name in ("AsyncRouter", "AsyncStream"):
        from router import client

        return getattr(client, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


if typing.TYPE_CHECKING:
    from router.client import AsyncRouter, AsyncStream

__all__ = [
    "COMMENT",
    "FEATURE",
    "SSE",
    "TUNING",
    "AllTargetsFailed",
    "AsyncRouter",
    "AsyncStream",
    "Attempt",
    "Audio",
    "AuthError",
    "BadRequest",
    "Bearer",
    "Call",
    "CallSummary",
    "Cancelled",
    "Choice",
    "Chunk",
    "Citation",
    "Cleanup",
    "Clock",
    "Completion",
    "ConfigError",
    "ConnectFailed",
    "ConnectionLost",
    "ContentFiltered",
    "ContextOverflow",
    "DeadlineExceeded",
    "Event",
    "Exchange",
    "File",
    "FinishReason",
    "HealthRow",
    "HttpRequest",
    "HttpResponse",
    "Image",
    "JSONLines",
    "Kind",
    "Message",
    "Model",
    "ModelNotFound",
    "Overloaded",
    "Parameter",
    "Parameters",
    "Part",
    "PassedOver",
    "PayloadTooLarge",
    "PermissionDenied",
    "PluginContext",
    "PluginError",
    "PluginInfo",
    "PluginLoadError",
    "Policy",
    "Prices",
    "ProtocolError",
    "Provider",
    "QuotaExhausted",
    "RateLimited",
    "Reasoning",
    "Restart",
    "Route",
    "Router",
    "RouterError",
    "Rule",
    "Secret",
    "Shared",
    "Stream",
    "StreamInterrupted",
    "TLSFailed",
    "Target",
    "Text",
    "Tier",
    "Timeout",
    "ToolCall",
    "ToolCallDelta",
    "Trace",
    "TransportError",
    "UnsupportedParameter",
    "UpstreamError",
    "Usage",
    "Video",
    "Wait",
    "WireProvider",
    "decode_json",
    "error_for_status",
    "hookimpl",
    "provider",
]
