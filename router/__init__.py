"""Route completion calls over many model providers, with fallback; the public face."""

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
from router.messages import Audio, File, Image, Message, Part, Text
from router.parameters import FEATURE, TUNING, Kind, Parameter, Parameters
from router.provider import (
    Call,
    Cleanup,
    Exchange,
    HttpRequest,
    HttpResponse,
    Provider,
    Shared,
    WireProvider,
    decode_json,
    provider,
)
from router.policy import Policy
from router.router import Router, Stream
from router.routes import Route
from router.secret import Bearer, Secret
from router.sse import COMMENT, SSE, Event, JSONLines
from router.types import (
    Attempt,
    Choice,
    Chunk,
    Completion,
    Model,
    PassedOver,
    Restart,
    Target,
    ToolCall,
    ToolCallDelta,
    Trace,
    Usage,
)
