"""The fault matrix over real sockets: what each fault is called, and what follows from it.

A row says what a server does and what a caller, the router's next step and its health are to make
of it. Each is shown to both routers, streamed and whole where both make sense, twice: with a
healthy target behind the broken one, and alone.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

import pytest
from calling import Result
from emitted import check_trace
from msgspec import Struct
from routed import Kind, Routed, Sending, service

from providers.gemini import Gemini
from router import (
    AuthError,
    BadRequest,
    ConnectFailed,
    ConnectionLost,
    ContentFiltered,
    ContextOverflow,
    ModelNotFound,
    Overloaded,
    PayloadTooLarge,
    PermissionDenied,
    ProtocolError,
    QuotaExhausted,
    RateLimited,
    Restart,
    RouterError,
    StreamInterrupted,
    Timeout,
    TLSFailed,
    UnsupportedParameter,
    UpstreamError,
    Usage,
)
from router.rules import LONG, Scope
from router.testing import Case, Fault, FaultServer, ScriptedProvider

TEXT = "The sea is 🌊 and deep."
MIB = 2**20

LIMIT = 0.1
"""Seconds of the limit that a fault runs into."""

SLACK = 5.0
"""Seconds later that it may be on a machine that stalls; every other limit is further away. What is
promised is a tenth: see test_a_limit_that_is_missed_cuts_within_100_ms."""

POLICY: dict[str, Any] = {
    "connect": 10.0,
    "first_token": 10.0,
    "idle": 10.0,
    "total": 10.0,
    "deadline": 30.0,
    "longest_wait": 0.3,  # so that a Retry-After of a second is a reason to fail
    "retries": 1,
}

Mode = Literal["stream", "whole"]


class Row(Struct, frozen=True, kw_only=True):
    """A fault, and what is to come of it.

    Attributes:
        matrix: The row of the matrix, by its first cell.
        fault: What the server does.
        error: The class of the error; `None` where the answer is good.
        modes: How it is asked for.
        interrupted: Whether it strikes after content that has been delivered.
        elsewhere: Whether the next target is asked.
        again: How often the same target is asked again when no other is left.
        cools: What is remembered of the failure.
        seconds: For how long the target is to stay away; `None` where the failure is counted.
        limit: The limit that cuts it, which is also the phase of the Timeout.
        billed, status, code, retry_after: As the error has them.
        counted: Whether it counts as a failure even though the target is told to stay away.
        gives: What the completion has.
    """

    matrix: str
    fault: Fault | Case
    error: type[RouterError] | None = None
    modes: tuple[Mode, ...] = ("whole", "stream")
    interrupted: bool = False
    elsewhere: bool = True
    again: int = 0
    cools: Scope = "nothing"
    seconds: float | None = None
    limit: str | None = None
    billed: bool = False
    status: int | None = None
    code: str | None = None
    retry_after: float | None = None
    counted: bool = False
    gives: dict[str, Any] = {}


def good(matrix: str, *faults: Fault | Case, **fields: Any) -> list[Row]:
    """Rows of what is no failure."""
    gives = {"text": TEXT, "finish_reason": "stop", **fields.pop("gives", {})}
    return [Row(matrix=matrix, fault=fault, gives=gives, **fields) for fault in faults]


def bad(matrix: str, error: type[RouterError], *faults: Fault | Case, **fields: Any) -> list[Row]:
    """Rows of one error."""
    return [Row(matrix=matrix, fault=fault, error=error, **fields) for fault in faults]


STREAM: tuple[Mode, ...] = ("stream",)
WHOLE: tuple[Mode, ...] = ("whole",)
CUT: dict[str, Any] = {"again": 1, "cools": "host", "billed": True}
STRANGE: dict[str, Any] = {"cools": "target", "billed": True}
STOP: dict[str, Any] = {"elsewhere": False}
SLOW_START: dict[str, Any] = {"limit": "first_token", "cools": "host", "billed": True}
SLOW: dict[str, Any] = {"limit": "total", "cools": "host", "billed": True}

NETWORK = [
    *bad("DNS failure", ConnectFailed, Fault.NO_SUCH_HOST, code="dns", again=1, cools="host"),
    *bad("connect refused", ConnectFailed, Fault.REFUSED, again=1, cools="host"),
    *bad("connect timeout (blackhole)", Timeout, Fault.UNREACHABLE, limit="connect", cools="host"),
    *bad(
        "TLS: bad cert/expired/hostname",
        TLSFailed,
        *(Fault.TLS_UNTRUSTED, Fault.TLS_WRONG_HOST, Fault.TLS_EXPIRED, Fault.TLS_PLAIN),
        cools="host",
    ),
    *bad("TLS handshake hang", Timeout, Fault.TLS_HANG, limit="connect", cools="host"),
    *bad("reset/EOF before any response byte", ConnectionLost, Fault.RESET, Fault.EOF, **CUT),
    *bad(
        "reset mid-body, non-stream",
        ConnectionLost,
        *(Fault.CUT_RESET, Fault.CUT_CHUNKED, Fault.CUT_LENGTH),
        modes=WHOLE,
        **CUT,
    ),
    # HTTP cannot tell that it was cut; its JSON can.
    *bad(
        "reset mid-body, non-stream",
        ProtocolError,
        Fault.CUT_CLOSED,
        modes=WHOLE,
        code="malformed_json",
        **STRANGE,
    ),
    *bad(
        "cut mid-stream, nothing delivered",
        ConnectionLost,
        *(Fault.CUT_RESET(chunks=0), Fault.CUT_CHUNKED(chunks=0), Fault.CUT_LENGTH(chunks=0)),
        modes=STREAM,
        **CUT,
    ),
    *bad(
        "cut mid-stream, nothing delivered",
        ConnectionLost,
        Fault.CUT_CLOSED(chunks=0),
        modes=STREAM,
        code="truncated",
        **CUT,
    ),
    *bad(
        "cut mid-stream, content delivered",
        ConnectionLost,
        *(Fault.CUT_RESET, Fault.CUT_CHUNKED, Fault.CUT_LENGTH),
        modes=STREAM,
        interrupted=True,
        **CUT,
    ),
    *bad(
        "cut mid-stream, content delivered",
        ConnectionLost,
        Fault.CUT_CLOSED,
        modes=STREAM,
        interrupted=True,
        code="truncated",
        **CUT,
    ),
    *bad("slowloris trickle headers", Timeout, Fault.TRICKLED_HEADERS, modes=STREAM, **SLOW_START),
    *bad("slowloris trickle headers", Timeout, Fault.TRICKLED_HEADERS, modes=WHOLE, **SLOW),
    *bad(
        "trickle body / silence after token",
        Timeout,
        *(Fault.TRICKLED_BODY, Fault.STALL),
        modes=WHOLE,
        **SLOW,
    ),
    *bad(
        "trickle body / silence after token",
        Timeout,
        *(Fault.TRICKLED_BODY, Fault.STALL(chunks=0)),
        modes=STREAM,
        **SLOW_START,
    ),
    *bad("half-open (no FIN, no data)", Timeout, Fault.HALF_OPEN, modes=WHOLE, **SLOW),
    *bad(
        "half-open (no FIN, no data)",
        Timeout,
        Fault.HALF_OPEN,
        modes=STREAM,
        interrupted=True,
        **{**SLOW, "limit": "idle"},
    ),
]

RETRY_AFTER: dict[str, Any] = {"status": 429, "cools": "target", "code": "rate_limit_exceeded"}

HTTP = [
    *bad("400 generic / 422", BadRequest, Fault.HTTP_400, status=400, **STOP),
    *bad("400 generic / 422", BadRequest, Fault.HTTP_422, status=422, **STOP),
    *bad(
        "400 generic / 422",
        UnsupportedParameter,
        Fault.UNSUPPORTED_PARAMETER,
        status=400,
        code="unsupported_parameter",
    ),
    *bad(
        '400 context_length_exceeded / "prompt is too long"',
        ContextOverflow,
        Fault.CONTEXT_LENGTH,
        status=400,
        code="context_length_exceeded",
        **STOP,
    ),
    *bad(
        '400 context_length_exceeded / "prompt is too long"',
        ContextOverflow,
        Fault.PROMPT_TOO_LONG,
        status=400,
        code="invalid_request_error",
        **STOP,
    ),
    *bad(
        "400/200 content filter, refusal",
        ContentFiltered,
        Fault.CONTENT_FILTER,
        status=400,
        code="content_filter",
        **STOP,
    ),
    *bad(
        "401",
        AuthError,
        Fault.HTTP_401,
        status=401,
        code="invalid_api_key",
        cools="key",
        seconds=LONG,
    ),
    *bad(
        "402, 429-quota",
        QuotaExhausted,
        Fault.HTTP_402,
        status=402,
        code="billing_error",
        cools="key",
        seconds=LONG,
    ),
    *bad(
        "402, 429-quota",
        QuotaExhausted,
        Fault.INSUFFICIENT_QUOTA,
        status=429,
        code="insufficient_quota",
        cools="key",
        seconds=LONG,
    ),
    *bad(
        "403",
        PermissionDenied,
        Fault.HTTP_403,
        status=403,
        code="permission_denied",
        cools="target",
        seconds=LONG,
    ),
    *bad(
        "404 model",
        ModelNotFound,
        Fault.HTTP_404,
        status=404,
        code="model_not_found",
        cools="target",
        seconds=LONG,
    ),
    *bad("404 HTML / wrong path", ProtocolError, Fault.HTML_404, status=404, cools="target"),
    *bad("408", Timeout, Fault.HTTP_408, status=408, code="server_error", **CUT),
    *bad("409", UpstreamError, Fault.HTTP_409, status=409, code="conflict_error", again=1),
    *bad("413", PayloadTooLarge, Fault.HTTP_413, status=413, code="request_too_large", **STOP),
    *bad("429 rate", RateLimited, Fault.HTTP_429, seconds=1.0, **RETRY_AFTER),
    # One that fits is waited for, and the target asked again.
    *bad(
        "429 rate",
        RateLimited,
        Fault.RETRY_AFTER(seconds=0.05),
        Fault.RETRY_AFTER_MS(seconds=0.05),
        Fault.RATELIMIT_RESET(seconds=0.05),
        again=1,
        seconds=0.05,
        retry_after=0.05,
        **RETRY_AFTER,
    ),
    *(
        Row(
            matrix="Retry-After forms",
            fault=fault,
            error=RateLimited,
            seconds=seconds,
            retry_after=seconds,
            **RETRY_AFTER,
        )
        for fault, seconds in (
            (Fault.RETRY_AFTER, 1.0),
            (Fault.RETRY_AFTER_DATE, 2.0),
            (Fault.RETRY_AFTER_MS, 0.5),
            (Fault.RATELIMIT_RESET, 1.0),
            (Fault.RETRY_AFTER_HUGE, 86_400.0),
        )
    ),
    *bad(
        "Retry-After forms",
        RateLimited,
        *(Fault.RETRY_AFTER_GARBAGE, Fault.RETRY_AFTER_NEGATIVE, Fault.RETRY_AFTER_NAN),
        seconds=1.0,
        **RETRY_AFTER,
    ),
    *bad(
        "Retry-After forms",
        Overloaded,
        Fault.HTTP_503(seconds=1),
        status=503,
        retry_after=1.0,
        cools="host",
        seconds=1.0,
        counted=True,
    ),
    *bad("500 / 502 / 503 / 504", UpstreamError, Fault.HTTP_500, status=500, again=1, cools="host"),
    *bad("500 / 502 / 503 / 504", UpstreamError, Fault.HTTP_502, Fault.HTML_502, status=502, **CUT),
    *bad("500 / 502 / 503 / 504", Timeout, Fault.HTTP_504, status=504, **CUT),
    *bad("500 / 502 / 503 / 504", Overloaded, Fault.HTTP_503, status=503, again=1, cools="host"),
    *bad(
        "529, `slow_down`, server_is_overloaded",
        Overloaded,
        Fault.HTTP_529,
        status=529,
        code="overloaded_error",
        again=1,
        cools="target",
    ),
    *(
        Row(
            matrix="529, `slow_down`, server_is_overloaded",
            fault=fault(code=code),
            error=Overloaded,
            status=status,
            code=code,
            again=1,
            cools="target",
        )
        for fault, status, code in (
            (Fault.HTTP_429, 429, "slow_down"),
            (Fault.HTTP_503, 503, "slow_down"),
            (Fault.HTTP_500, 500, "server_is_overloaded"),
        )
    ),
    *bad("x-should-retry true/false", BadRequest, Fault.SHOULD_RETRY, status=400, again=1, **STOP),
    *bad(
        "x-should-retry true/false", UpstreamError, Fault.SHOULD_NOT_RETRY, status=500, cools="host"
    ),
    *(
        Row(
            matrix="3xx anywhere",
            fault=fault,
            error=ProtocolError,
            status=status,
            code="redirect",
            elsewhere=False,
        )
        for fault, status in (
            (Fault.REDIRECT_301, 301),
            (Fault.REDIRECT_307, 307),
            (Fault.REDIRECT_308, 308),
        )
    ),
    *bad("200 + HTML / text", ProtocolError, Fault.HTML_200, Fault.TEXT, **STRANGE),
    *good("200 + JSON when SSE asked", Fault.JSON_FOR_STREAM),
    *bad("200 + JSON when SSE asked", ProtocolError, Fault.STREAM_FOR_JSON, modes=WHOLE, **STRANGE),
    *bad(
        '200 + `{"error":…}`',
        UpstreamError,
        Fault.ERROR_BODY,
        code="server_error",
        again=1,
        cools="host",
    ),
    *bad(
        '200 + `{"error":…}`',
        UpstreamError,
        Fault.ERROR_EVENT,
        modes=WHOLE,
        code="server_error",
        again=1,
        cools="host",
    ),
    *bad(
        '200 + `{"error":…}`',
        QuotaExhausted,
        Fault.ERROR_BODY(code="insufficient_quota"),
        code="insufficient_quota",
        cools="key",
        seconds=LONG,
    ),
    *bad("empty 200 body", ProtocolError, Fault.EMPTY, **STRANGE),
    *bad(
        "truncated JSON, NaN, duplicate keys, wrong types",
        ProtocolError,
        *(Fault.TRUNCATED_JSON, Fault.NAN, Fault.WRONG_TYPES, Fault.DEEP_JSON),
        modes=WHOLE,
        **STRANGE,
    ),
    *bad(
        "truncated JSON, NaN, duplicate keys, wrong types",
        ProtocolError,
        Fault.DUPLICATE_KEYS,
        modes=WHOLE,
        **STRANGE,
    ),
    # The last of them counts: to look at every event costs more than to decode it.
    *good("truncated JSON, NaN, duplicate keys, wrong types", Fault.DUPLICATE_KEYS, modes=STREAM),
    *bad(
        "body > limit (default 64 MiB non-stream)",
        ProtocolError,
        *(Fault.OVERSIZED, Fault.ENDLESS_BODY(size=80 * MIB)),
        modes=WHOLE,
        code="too_large",
        billed=True,
        **STOP,
    ),
    # Of comments, in a stream: no time is without a byte, and none brings content.
    *bad(
        "body > limit (default 64 MiB non-stream)",
        Timeout,
        Fault.ENDLESS_BODY,
        modes=STREAM,
        **SLOW_START,
    ),
    *bad(
        "gzip bomb (ratio/size)",
        ProtocolError,
        Fault.GZIP_BOMB(size=66 * MIB),
        modes=WHOLE,
        code="too_large",
        billed=True,
        **STOP,
    ),
    *good(
        "100/103 informational, lower-case/duplicate headers, header > 64 KiB",
        *(Fault.INFORMATIONAL, Fault.LOWERCASE_HEADERS, Fault.DUPLICATE_HEADERS, Fault.GZIP),
    ),
    *bad(
        "100/103 informational, lower-case/duplicate headers, header > 64 KiB",
        ProtocolError,
        Fault.HUGE_HEADER,
        **STRANGE,
    ),
    *bad("204, unknown 2xx/4xx", ProtocolError, Fault.NO_CONTENT, Fault.UNKNOWN_SUCCESS, **STRANGE),
    *bad("204, unknown 2xx/4xx", BadRequest, Fault.HTTP_418, status=418, **STOP),
]

INTERRUPTED: dict[str, Any] = {"modes": STREAM, "interrupted": True}

STREAMS = [
    *good(
        "split UTF-8 / split CRLF / 1-byte chunks",
        *(Fault.OK, Fault.SPLIT_UTF8, Fault.ONE_BYTE),
    ),
    *good(
        "split UTF-8 / split CRLF / 1-byte chunks",
        *(Fault.SPLIT_CRLF, Fault.ODD_EVENTS, Fault.EMPTY_CHUNKS),
        modes=STREAM,
    ),
    *bad("invalid UTF-8", ProtocolError, Fault.INVALID_UTF8, **STRANGE),
    *bad("invalid UTF-8", ProtocolError, Fault.INVALID_UTF8(chunks=2), **INTERRUPTED, **STRANGE),
    *bad("comments / ping only", Timeout, Fault.COMMENTS_ONLY, modes=STREAM, **SLOW_START),
    *good("comments / ping only", Fault.PINGS, modes=STREAM),
    *good("finish_reason but no `[DONE]`", Fault.NO_DONE, modes=STREAM),
    *bad(
        "`[DONE]` but no finish_reason",
        ProtocolError,
        Fault.DONE_NO_FINISH(chunks=0),
        modes=STREAM,
        code="no_finish_reason",
        **STRANGE,
    ),
    *bad(
        "`[DONE]` but no finish_reason",
        ProtocolError,
        Fault.DONE_NO_FINISH,
        code="no_finish_reason",
        **INTERRUPTED,
        **STRANGE,
    ),
    *bad(
        "clean EOF, neither",
        ConnectionLost,
        Fault.NEITHER(chunks=0),
        modes=STREAM,
        code="truncated",
        **CUT,
    ),
    *bad(
        "clean EOF, neither", ConnectionLost, Fault.NEITHER, code="truncated", **INTERRUPTED, **CUT
    ),
    *good(
        "duplicate finish / data after finish / second `[DONE]`",
        *(Fault.DUPLICATE_FINISH, Fault.DATA_AFTER_FINISH, Fault.SECOND_DONE),
        modes=STREAM,
        gives={"usage": Usage(input_tokens=5, output_tokens=7)},
    ),
    *bad(
        "error event first",
        UpstreamError,
        Fault.ERROR_FIRST,
        modes=STREAM,
        code="server_error",
        again=1,
        cools="host",
    ),
    *(
        Row(
            matrix="error event first",
            fault=Fault.ERROR_FIRST(code=code),
            error=error,
            modes=STREAM,
            code=code,
            **fields,
        )
        for code, error, fields in (
            ("rate_limit_exceeded", RateLimited, {"cools": "target", "seconds": 1.0}),
            ("server_is_overloaded", Overloaded, {"cools": "target", "again": 1}),
            ("insufficient_quota", QuotaExhausted, {"cools": "key", "seconds": LONG}),
            ("invalid_api_key", AuthError, {"cools": "key", "seconds": LONG}),
            ("model_not_found", ModelNotFound, {"cools": "target", "seconds": LONG}),
            ("context_length_exceeded", ContextOverflow, STOP),
            ("content_filter", ContentFiltered, STOP),
            ("invalid_request_error", BadRequest, STOP),
        )
    ),
    *bad(
        "error event after content",
        UpstreamError,
        Fault.ERROR_EVENT,
        code="server_error",
        cools="host",
        **INTERRUPTED,
    ),
    *bad(
        "error event after content",
        Overloaded,
        Fault.ERROR_EVENT(code="server_is_overloaded"),
        code="server_is_overloaded",
        cools="target",
        **INTERRUPTED,
    ),
    *bad("malformed JSON event", ProtocolError, Fault.TRUNCATED_JSON, modes=STREAM, **STRANGE),
    *bad(
        "malformed JSON event",
        ProtocolError,
        *(Fault.TRUNCATED_JSON(chunks=2), Fault.WRONG_TYPES(chunks=2)),
        **INTERRUPTED,
        **STRANGE,
    ),
    *bad(
        "malformed JSON event",
        ProtocolError,
        *(Fault.WRONG_TYPES, Fault.DEEP_JSON),
        modes=STREAM,
        **STRANGE,
    ),
    *bad("NaN/Infinity", ProtocolError, Fault.NAN, modes=STREAM, **STRANGE),
    *bad("NaN/Infinity", ProtocolError, Fault.NAN(chunks=2), **INTERRUPTED, **STRANGE),
    *bad(
        "10 MB line / endless line",
        ProtocolError,
        *(Fault.LONG_LINE(chunks=0), Fault.ENDLESS_LINE(chunks=0)),
        modes=STREAM,
        **STRANGE,
    ),
    *bad(
        "10 MB line / endless line",
        ProtocolError,
        *(Fault.LONG_LINE, Fault.ENDLESS_LINE),
        **INTERRUPTED,
        **STRANGE,
    ),
    *bad(
        "silence before first token",
        Timeout,
        *(Fault.SILENCE, Fault.SILENCE_AFTER_HEADERS),
        modes=STREAM,
        **SLOW_START,
    ),
    *bad(
        "silence before first token",
        Timeout,
        *(Fault.SILENCE, Fault.SILENCE_AFTER_HEADERS),
        modes=WHOLE,
        **SLOW,
    ),
    *bad("silence after", Timeout, Fault.STALL, **INTERRUPTED, **{**SLOW, "limit": "idle"}),
    *good(
        "interleaved choice/tool indexes, tool args split, index gaps", Fault.INTERLEAVED_CHOICES
    ),
    *good(
        "interleaved choice/tool indexes, tool args split, index gaps",
        Fault.INTERLEAVED_TOOLS,
        gives={"text": "", "finish_reason": "tool_calls"},
    ),
    *bad(
        "role-only chunk then error",
        UpstreamError,
        Fault.ERROR_EVENT(chunks=0),
        modes=STREAM,
        code="server_error",
        again=1,
        cools="host",
    ),
    *good("usage missing", Fault.USAGE_MISSING, gives={"usage": None}),
]

SEMANTIC = [
    *good("Empty completion", Fault.EMPTY_COMPLETION, gives={"text": "", "empty": True}),
    *good("`length`", Fault.FINISH_LENGTH, gives={"finish_reason": "length"}),
    *good(
        "Invalid tool JSON", Fault.BAD_TOOL_JSON, gives={"text": "", "finish_reason": "tool_calls"}
    ),
    *good(
        "Unknown tool name", Fault.UNKNOWN_TOOL, gives={"text": "", "finish_reason": "tool_calls"}
    ),
    *good(
        "content_filter/refusal finish mid-stream",
        Fault.FINISH_CONTENT_FILTER,
        gives={"text": "The sea", "finish_reason": "content_filter"},
    ),
    *good("content_filter/refusal finish mid-stream", Fault.REFUSAL, gives={"text": ""}),
    *good("Model name in reply differs", Fault.OTHER_MODEL, gives={"model": "another-model"}),
]

ROWS = [*NETWORK, *HTTP, *STREAMS, *SEMANTIC]


CASES = [
    pytest.param(row, mode, id=f"{row.fault.text}-{mode}") for row in ROWS for mode in row.modes
]


@pytest.fixture(scope="module")
def server() -> Iterator[FaultServer]:
    with FaultServer() as server:
        yield server


@pytest.fixture(scope="module")
def healthy() -> Iterator[FaultServer]:
    with FaultServer() as server:
        yield server


@pytest.mark.parametrize("kind", ["sync", "async"])
@pytest.mark.parametrize(("row", "mode"), CASES)
def test_each_fault_is_what_the_matrix_says(
    server: FaultServer, healthy: FaultServer, row: Row, mode: Mode, kind: Kind
) -> None:
    url = server.url_for(row.fault)
    # The limit holds for every attempt: a server may miss it on a busy machine, healthy as it is.
    two = (
        ScriptedProvider("two", [TEXT], models=["m"]) if row.limit else service("two", healthy.url)
    )
    providers = [service("one", url, "sk-one"), two]
    policy = {**POLICY, **({row.limit: LIMIT} if row.limit else {})}
    settings = {"policy": policy, "verify": str(server.authority), "draw": lambda: 0.0}
    with Routed(kind, providers, **settings) as routed:
        began = time.monotonic()
        result = routed.call(["one/m", "two/m"], stream=mode == "stream")
        elapsed = time.monotonic() - began
        check_trace(result.trace)
        health = [(each, url) for each in routed.router.health()]
        if row.error is None:
            assert_good(row, mode, result)
            assert health == []
            return
        assert_failed(row, result)
        assert_remembered(row, health, time.monotonic() - began)
        if row.limit:
            assert LIMIT <= elapsed <= LIMIT + SLACK
        elif row.elsewhere and not row.interrupted:
            routed.router.reset_health()
            assert_asked_again(row, routed.call("one/m", stream=mode == "stream"))
    assert not server.followed


def assert_good(row: Row, mode: Mode, result: Result) -> None:
    assert result.error is None
    assert result.completion is not None
    assert result.outcomes == [("one/m", "succeeded")]
    found = {name: getattr(result.completion, name) for name in row.gives}
    assert found == row.gives
    if mode == "stream":
        pieces = [each for each in result.pieces if not isinstance(each, Restart)]
        text = "".join(each.text for each in pieces if each.index == 0)
        assert text == result.completion.text


def assert_failed(row: Row, result: Result) -> None:
    """The first attempt's error, and who was asked after it."""
    assert result.trace is not None
    first, *others = result.trace.attempts
    error: Any = first.error
    assert type(error) is row.error
    assert (error.target, error.provider) == ("one/m", "one")
    assert (error.status, error.code) == (row.status, row.code or error.code)
    assert error.possibly_billed == first.possibly_billed == row.billed
    assert error.retry_after == (None if row.retry_after is None else about(row.retry_after))
    if row.limit:
        assert error.phase == row.limit
    if row.interrupted:
        assert isinstance(result.error, StreamInterrupted)
        assert result.error.cause is error
        assert result.error.partial.text == result.text == "The sea"
        assert result.error.partial.finish_reason is None
        assert result.outcomes == [("one/m", "interrupted")]
    elif row.elsewhere:
        assert result.error is None
        assert result.completion is not None
        assert result.completion.text == TEXT
        assert result.outcomes == [("one/m", "failed"), ("two/m", "succeeded")]
    else:
        assert result.error is not None
        assert type(result.error) is row.error
        assert [attempt.target for attempt in others] == ["one/m"] * row.again


def about(seconds: float) -> Any:
    """A date is in whole seconds, so up to one of them is missing."""
    return (
        pytest.approx(seconds - 0.5, abs=0.5 + 1e-9) if seconds == 2.0 else pytest.approx(seconds)
    )


def assert_remembered(row: Row, health: Sequence[tuple[Any, str]], elapsed: float) -> None:
    """What is kept of a failure no more than `elapsed` seconds ago."""
    if row.cools == "nothing":
        assert health == []
        return
    [(found, url)] = health
    assert found.scope == row.cools
    assert (
        found.name
        == {
            "target": "one/m",
            "host": url.split("/")[2],
            "key": f"one:{service('one', url, 'sk-one')._key!r}",
        }[row.cools]
    )
    assert found.reason == row.error.__name__  # type: ignore[union-attr]  # there is one
    assert found.state == "closed"
    assert found.consecutive_failures == int(row.seconds is None or row.counted)
    assert found.commanded == (found.cooling_s > 0.0)  # what was commanded may be over by now
    told = row.seconds or 0.0
    passed = elapsed + float(row.retry_after == 2.0)  # a date, which is in whole seconds
    assert max(0.0, told - passed) <= found.cooling_s <= told


def assert_asked_again(row: Row, result: Result) -> None:
    """Alone, the target is asked as often as it may be; the error is its own."""
    assert result.trace is not None
    attempts = result.trace.attempts
    assert [type(attempt.error) for attempt in attempts] == [row.error] * (1 + row.again)
    assert type(result.error) is row.error
    if row.again and row.retry_after is not None:
        first, second = attempts
        waited = second.started_ms - first.started_ms - (first.latency_ms or 0.0)
        assert row.retry_after <= waited / 1000 + 1e-3 <= row.retry_after + SLACK


# -- what takes more than one request, or another setting


@pytest.mark.parametrize("kind", ["sync", "async"])
@pytest.mark.parametrize("fault", [Fault.RESET_REUSED, Fault.EOF_REUSED, Fault.STALE])
def test_a_kept_connection_that_turns_out_closed_is_replaced_at_once(
    server: FaultServer, healthy: FaultServer, fault: Fault, kind: Kind
) -> None:
    providers = [service("one", server.url_for(fault)), service("two", healthy.url)]
    with Routed(kind, providers, policy=POLICY) as routed:
        for mode in (False, False, True, True):
            result = routed.call(["one/m", "two/m"], stream=mode)
            assert result.completion is not None
            assert result.completion.target == "one/m"
            *failed, succeeded = result.trace.attempts  # type: ignore[union-attr]  # it is there
            assert succeeded.outcome == "succeeded"
            assert all(attempt.error.stale for attempt in failed)
            assert len(failed) <= 1
        assert routed.router.health() == []


@pytest.mark.parametrize("kind", ["sync", "async"])
@pytest.mark.parametrize(
    ("fault", "limit"),
    [
        (Fault.UNREACHABLE, "connect"),
        (Fault.SILENCE, "total"),
        (Fault.TRICKLED_HEADERS, "total"),
        (Fault.TRICKLED_BODY, "total"),
        (Fault.STALL, "idle"),
    ],
    ids=lambda each: each.text if isinstance(each, Fault) else each,
)
def test_a_limit_that_is_missed_cuts_within_100_ms(
    server: FaultServer, fault: Fault, limit: str, kind: Kind
) -> None:
    """A busy machine delays some of five cuts, and what the code itself takes all of them."""
    policy = {**POLICY, limit: LIMIT, "retries": 0}
    with Routed(kind, [service("one", server.url_for(fault))], policy=policy) as routed:

        def late() -> float:
            routed.router.reset_health()
            began = time.monotonic()
            assert routed.call("one/m", stream=limit == "idle").error is not None
            return time.monotonic() - began - LIMIT

        assert any(0.0 <= late() <= 0.1 for _ in range(5))


@pytest.mark.parametrize("kind", ["sync", "async"])
def test_a_request_that_is_not_taken_is_cut_at_the_limit(server: FaultServer, kind: Kind) -> None:
    """Its bytes fit no buffer between here and there."""
    sending = Sending("one", server.url_for(Fault.UNREAD))
    limit = 5 * LIMIT  # within which it is connected on a busy machine
    policy = {**POLICY, "total": LIMIT, "retries": 0}
    with Routed(kind, [sending], policy=policy) as routed:
        routed.call("one/m")  # what is read or made but once is there
        sending.content = bytes(20 * MIB)
        began = time.monotonic()
        error = routed.call("one/m", policy={"total": limit}).error
        elapsed = time.monotonic() - began
    assert isinstance(error, Timeout)
    assert (error.phase, error.possibly_billed) == ("total", True)
    assert limit <= elapsed <= limit + SLACK


@pytest.mark.parametrize("kind", ["sync", "async"])
@pytest.mark.parametrize("name", ["HTTP_PROXY", "all_proxy"])
def test_a_proxy_of_the_environment_is_not_used_unasked(
    server: FaultServer, kind: Kind, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, server.url_for(Fault.REFUSED))
    for trusted in (False, True):
        with Routed(
            kind, [service("one", server.url)], policy=POLICY, trust_env=trusted, verify=False
        ) as routed:
            result = routed.call("one/m")
        assert (result.completion is None) == trusted


@pytest.mark.parametrize("kind", ["sync", "async"])
def test_the_retry_info_of_googles_wire_is_obeyed(server: FaultServer, kind: Kind) -> None:
    url = server.url_for(Fault.RETRY_INFO(seconds=0.05))
    with Routed(kind, [Gemini(base_url=url, key="k")], policy=POLICY) as routed:
        error = routed.call("gemini/m").error
    assert isinstance(error, RateLimited)
    assert error.retry_after == 0.05
    first, second = error.attempts
    assert second.started_ms - first.started_ms >= 50


@pytest.mark.parametrize("kind", ["sync", "async"])
def test_the_tool_calls_and_choices_of_an_answer_are_put_together(
    server: FaultServer, kind: Kind
) -> None:
    tools, choices = Fault.INTERLEAVED_TOOLS, Fault.INTERLEAVED_CHOICES
    providers = [service("one", server.url_for(tools)), service("two", server.url_for(choices))]
    with Routed(kind, providers) as routed:
        for stream in (False, True):
            called = routed.call("one/m", stream=stream).completion
            assert called is not None
            found = [(each.id, each.name, each.arguments) for each in called.tool_calls]
            assert found == [("call_0", "first", '{"x": 1}'), ("call_2", "second", '{"y": 2}')]
            chosen = routed.call("two/m", stream=stream).completion
            assert chosen is not None
            assert [each.text for each in chosen.choices] == [TEXT, TEXT.upper()]


@pytest.mark.parametrize("kind", ["sync", "async"])
def test_a_tool_call_that_is_no_json_is_returned_as_it_is(server: FaultServer, kind: Kind) -> None:
    with Routed(kind, [service("one", server.url_for(Fault.BAD_TOOL_JSON))]) as routed:
        for stream in (False, True):
            called = routed.call("one/m", stream=stream).completion
            assert called is not None
            [tool] = called.tool_calls
            assert tool.arguments == '{"x": 1'
            assert tool.parse_error is not None


# -- nothing is left out

SHOWN_ELSEWHERE = {
    Fault.RESET_REUSED: "two requests: test_a_kept_connection_that_turns_out_closed_...",
    Fault.EOF_REUSED: "likewise",
    Fault.STALE: "likewise",
    Fault.RETRY_INFO: "another wire's: test_the_retry_info_of_googles_wire_is_obeyed",
    Fault.UNREAD: "a long request: test_a_request_that_is_not_taken_is_cut_at_the_limit",
}

NO_FAULT_OF_A_SERVER = {
    "proxy env set unexpectedly": "test_a_proxy_of_the_environment_is_not_used_unasked",
    "Structured-output violation": "a validator's: tests/test_structured.py",
}


def test_every_fault_of_the_server_has_a_row() -> None:
    shown = {row.fault if isinstance(row.fault, Fault) else row.fault.fault for row in ROWS}
    assert shown | SHOWN_ELSEWHERE.keys() == set(Fault)
    assert not shown & SHOWN_ELSEWHERE.keys()


def test_every_row_of_the_matrix_is_shown(shared: Path) -> None:
    page = (shared / "reliability.md").read_text()
    matrix = page.partition("### Network")[2].partition("### Process")[0]
    tables, _, semantic = matrix.partition("### Semantic")
    first_cells = re.findall(r"^\| (.+?) \|", tables, re.MULTILINE)
    named = {cell for cell in first_cells if cell != "Fault"}
    known = {row.matrix for row in ROWS} | NO_FAULT_OF_A_SERVER.keys()
    assert named <= known, "rows of the matrix that no test shows"
    in_words = known - named
    assert all(each in semantic for each in in_words), "rows that the matrix does not have"
    assert len(in_words) == semantic.count("→")
