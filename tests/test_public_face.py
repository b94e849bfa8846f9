"""What `router` offers: all of it, sorted, documented, and nothing that came by accident."""

import inspect
import pkgutil
import types

import pytest

import router

# A name that is added here is a promise; one that goes breaks somebody's program.
FACE = [
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

DEFINED = [
    getattr(router, name)
    for name in router.__all__
    if inspect.isclass(getattr(router, name)) or inspect.isfunction(getattr(router, name))
]


def test_face_is_pinned_and_sorted():
    assert router.__all__ == FACE


def test_face_is_complete():
    """What is imported into the package without being offered would be used all the same."""
    public = {
        name
        for name, value in vars(router).items()
        if not name.startswith("_") and not isinstance(value, types.ModuleType)
    }
    assert public | {"AsyncRouter", "AsyncStream"} == set(router.__all__)


def test_face_has_no_name_of_a_module():
    """`import router.provider` left the module where the decorator `router.provider` had been."""
    modules = {each.name for each in pkgutil.iter_modules(router.__path__)}
    assert modules & set(FACE) == set()


def test_face_can_be_imported_by_a_star():
    space: dict[str, object] = {}
    exec("from router import *", space)
    assert set(FACE) == space.keys() - {"__builtins__"}


@pytest.mark.parametrize("thing", DEFINED, ids=lambda thing: thing.__name__)
def test_face_is_documented_in_a_first_line(thing):
    first, *rest = (inspect.getdoc(thing) or "").splitlines()
    assert first.endswith((".", ":"))
    assert not rest or not rest[0]
    assert thing.__module__.partition(".")[0] == "router"


def test_errors_are_all_in_the_face():
    from router import errors

    missing = {
        name
        for name, value in vars(errors).items()
        if inspect.isclass(value) and issubclass(value, router.RouterError)
    } - set(FACE)
    assert missing == set()


def test_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="module 'router' has no attribute 'nosuch'"):
        router.nosuch  # noqa: B018
