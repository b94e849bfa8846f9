"""The faults by name, each with its parameters. No I/O."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any

from router.testing import plays
from router.testing.plays import MIB, End, Play
from router.testing.wire import DONE, head


@dataclass(frozen=True, slots=True)
class Row:
    """A row of the catalog: a fault. A parameter that is `None` is not taken.

    Attributes:
        about: What the client sees.
        play: What the server does; `None` where the fault is in connecting.
    """

    about: str
    play: Play | None
    seconds: float | None = None
    chunks: int | None = None
    size: int | None = None
    code: str | None = None


def status(
    status: int, code: str, about: str, *headers: tuple[str, str], kind: str = "server_error"
) -> Row:
    """A row for an error response; its `seconds`, where not 0, are sent as Retry-After."""
    message = about.capitalize() + "."
    return Row(about, plays.refused(status, kind, message, *headers), seconds=0.0, code=code)


def limited(about: str, *headers: tuple[str, str]) -> Row:
    """A row for a 429 with fixed headers."""
    return Row(about, plays.limited(lambda seconds: headers))


@dataclass(frozen=True, slots=True)
class Case:
    """A fault with its parameters, made by calling it: `Fault.STALL(chunks=1)`.

    A parameter that the fault does not take is zero or empty.

    Raises:
        ValueError: A number is negative or none, or a code has unusual characters.
    """

    fault: Fault
    seconds: float = 0.0
    chunks: int = 0
    size: int = 0
    code: str = ""

    def __post_init__(self) -> None:
        for name in ("seconds", "chunks", "size"):
            value = getattr(self, name)
            if not value >= 0:
                raise ValueError(f"{self.fault.text}: {name} is {value}, which is not >= 0")
        if not re.fullmatch(r"[\w.-]*", self.code, re.ASCII):
            raise ValueError(f"{self.fault.text}: a code is of letters, digits, '_', '.' and '-'")

    @property
    def text(self) -> str:
        """The case in a URL or as a model: its name, and where it differs from the fault's own."""
        own = self.fault.parameters
        given = [
            f";{name}={getattr(self, name)}" for name in own if getattr(self, name) != own[name]
        ]
        return self.fault.text + "".join(given)

    @classmethod
    def parse(cls, text: str) -> Case | None:
        """The case of that text; `None` where it does not begin with a fault's name.

        Raises:
            TypeError: The fault takes no such parameter.
            ValueError: The parameter has no such value.
        """
        name, *pairs = text.split(";")
        fault = Fault.__members__.get(name.upper().replace("-", "_"))
        if fault is None:
            return None
        given = {name: value for name, _, value in (pair.partition("=") for pair in pairs)}
        readers: dict[str, type[float | int | str]] = {"seconds": float, "chunks": int, "size": int}
        return fault.case({name: readers.get(name, str)(given[name]) for name in given})


class Fault(Enum):
    """What the server can show.

    Every fault of a request works for streams and for whole answers, as asked, but where its words
    say "stream". `chunks` counts chunks with content before the fault strikes: with `chunks=0` it
    strikes after the chunk that has only the role. In a whole answer it strikes in the middle.
    """

    # Good answers: a careful client gives them back as they are.
    OK = Row("the good answer; with `seconds`, so long before each chunk", plays.good, seconds=0.0)
    USAGE_MISSING = Row("usage is not told", plays.changed(usage=False))
    OTHER_MODEL = Row("another model says it answered", plays.changed(model="another-model"))
    EMPTY_COMPLETION = Row(
        "no content, and finished", plays.changed(deltas=(), messages=({"content": ""},))
    )
    FINISH_LENGTH = Row("finish reason `length`", plays.changed(finish="length"))
    FINISH_CONTENT_FILTER = Row(
        "finish reason `content_filter` after some content",
        plays.answered(plays.filtered),
        chunks=2,
    )
    REFUSAL = Row(
        "a refusal in place of content",
        plays.changed(
            deltas=((0, {"refusal": "I cannot help with that."}),),
            messages=({"content": None, "refusal": "I cannot help with that."},),
        ),
    )
    INTERLEAVED_CHOICES = Row("two choices, in turn", plays.answered(plays.doubled))
    INTERLEAVED_TOOLS = Row(
        "two tool calls, the pieces of their arguments in turn, with a gap in the indexes",
        plays.calling((0, "first", ['{"x":', " 1}"]), (2, "second", ['{"y":', " 2}"])),
    )
    BAD_TOOL_JSON = Row(
        "a tool call whose arguments are cut JSON", plays.calling((0, "first", ['{"x":', " 1"]))
    )
    UNKNOWN_TOOL = Row(
        "a call of a tool that nobody has", plays.calling((0, "no_such_tool", ["{}"]))
    )
    GZIP = Row("compressed", plays.gzipped)
    INFORMATIONAL = Row("100 and 103 before the answer", plays.informed)
    LOWERCASE_HEADERS = Row("header names in lower case", plays.lower_case)
    DUPLICATE_HEADERS = Row(
        "headers that come twice, with other values",
        plays.with_headers("x-request-id: req-other", "Set-Cookie: a=1", "Set-Cookie: b=2"),
    )
    ONE_BYTE = Row(
        "every byte a chunk of its own", plays.in_pieces(plays.single_bytes), seconds=0.0
    )
    SPLIT_UTF8 = Row(
        "split inside every character that has more than one byte",
        plays.in_pieces(plays.inside_characters),
        seconds=0.002,
    )
    SPLIT_CRLF = Row(
        "a stream whose lines end in CRLF, split between the two",
        plays.streamed(plays.in_pieces(plays.inside_line_ends)),
        seconds=0.002,
    )
    ODD_EVENTS = Row(
        "a stream with a byte order mark, CR, comments, several data lines and unknown fields",
        plays.stream(plays.odd),
    )
    PINGS = Row(
        "a stream with a comment before each event", plays.streamed(plays.pinged), seconds=0.0
    )
    EMPTY_CHUNKS = Row(
        "a stream with chunks that have no choices",
        plays.stream(plays.with_empty_chunks),
    )
    NO_DONE = Row(
        "a stream that finishes without [DONE]",
        plays.stream(lambda s: s.answer.events[:-1]),
    )
    DUPLICATE_FINISH = Row(
        "a stream that finishes twice, with other reasons",
        plays.stream(plays.finished_again),
    )
    DATA_AFTER_FINISH = Row(
        "a stream with content after its finish",
        plays.stream(plays.going_on),
    )
    SECOND_DONE = Row(
        "a stream with content and [DONE] after [DONE]",
        plays.stream(lambda s: [*s.answer.events, *s.answer.contents, DONE]),
    )

    # Connecting: by `FaultServer.url_for` alone.
    NO_SUCH_HOST = Row("a name that does not resolve", None)
    REFUSED = Row("nobody listens", None)
    UNREACHABLE = Row("connecting is never answered: the listener's queue is full", None)
    UNREAD = Row("connected, but nothing is ever read: large requests get stuck", None)
    TLS_UNTRUSTED = Row("a certificate signed by nobody the client knows", None)
    TLS_WRONG_HOST = Row("a certificate for another host", None)
    TLS_EXPIRED = Row("a certificate that was valid until yesterday", None)
    TLS_HANG = Row("a handshake that is never answered", None)
    TLS_PLAIN = Row("plain text where TLS is expected", None)

    # The connection, after the request was read.
    RESET = Row("a reset before any byte", plays.steps(End.RESET))
    EOF = Row("a close before any byte", plays.steps(End.CLOSE))
    RESET_REUSED = Row(
        "a reset in answer to the second request of a connection", plays.on_reuse(End.RESET)
    )
    EOF_REUSED = Row(
        "a close in answer to the second request of a connection", plays.on_reuse(End.CLOSE)
    )
    STALE = Row("a good answer, after which the kept connection is closed", plays.stale)
    SILENCE = Row("no byte for `seconds`, then the good answer", plays.silence, seconds=math.inf)
    TRICKLED_HEADERS = Row(
        "a byte of the headers every `seconds`", plays.trickled_headers, seconds=0.05
    )
    SILENCE_AFTER_HEADERS = Row(
        "headers, no body for `seconds`", plays.silence_after_headers, seconds=math.inf
    )
    TRICKLED_BODY = Row("a byte of the body every `seconds`", plays.trickled_body, seconds=0.05)
    STALL = Row(
        "silent for `seconds` in the middle of the body", plays.stall, chunks=2, seconds=math.inf
    )
    HALF_OPEN = Row(
        "silent for ever in the middle of the body, and blind to the client's close",
        plays.cut(End.FREEZE),
        chunks=2,
    )
    CUT_RESET = Row("a reset in the middle of the body", plays.cut(End.RESET), chunks=2)
    CUT_CHUNKED = Row("a close without the last chunk", plays.cut(End.CLOSE), chunks=2)
    CUT_LENGTH = Row("a close before the length that was told", plays.cut_short, chunks=2)
    CUT_CLOSED = Row("a close in a body that only the close ends", plays.cut_unseen, chunks=2)

    # Responses that are no answer.
    HTML_200 = Row("a web page as a success", plays.html(200))
    HTML_404 = Row("a web page: not found", plays.html(404))
    HTML_502 = Row("a web page: bad gateway", plays.html(502))
    TEXT = Row("plain text as a success", plays.page(200, "text/plain", "ok"))
    EMPTY = Row("no body", plays.page(200, "application/json", ""))
    NO_CONTENT = Row("204", plays.steps(head(204)))
    UNKNOWN_SUCCESS = Row("299", plays.page(299, "application/json", "{}"))
    REDIRECT_301 = Row("moved to another host", plays.redirect(301))
    REDIRECT_307 = Row("for now at another host", plays.redirect(307))
    REDIRECT_308 = Row("moved to another host, and the body as well", plays.redirect(308))
    JSON_FOR_STREAM = Row("a whole answer, even where a stream was asked for", plays.always_whole)
    STREAM_FOR_JSON = Row("a stream, even where a whole answer was asked for", plays.always_stream)
    HUGE_HEADER = Row("a header of `size` bytes", plays.huge_header, size=70_000)
    OVERSIZED = Row("`size` bytes too much, told in its length", plays.oversized, size=65 * MIB)
    ENDLESS_BODY = Row(
        "a body that does not end before `size`", plays.endless_body, size=1024 * MIB
    )
    GZIP_BOMB = Row("a small body that unpacks to `size` bytes", plays.gzip_bomb, size=256 * MIB)

    # Errors in the body's words; `seconds`, where not 0, are sent as Retry-After.
    HTTP_400 = status(400, "", "the request is wrong", kind="invalid_request_error")
    CONTEXT_LENGTH = status(
        400, "context_length_exceeded", "the prompt is too long", kind="invalid_request_error"
    )
    PROMPT_TOO_LONG = status(
        400,
        "",
        "prompt is too long: 9001 tokens > 4096 maximum",  # without a code, as Anthropic says it
        kind="invalid_request_error",
    )
    CONTENT_FILTER = status(
        400, "content_filter", "the content is refused", kind="invalid_request_error"
    )
    UNSUPPORTED_PARAMETER = status(
        400, "unsupported_parameter", "a parameter is not known", kind="invalid_request_error"
    )
    HTTP_401 = status(401, "invalid_api_key", "the key is wrong", kind="invalid_request_error")
    HTTP_402 = status(402, "billing_error", "there is no money left", kind="billing_error")
    HTTP_403 = status(403, "permission_denied", "the key may not do this", kind="permission_error")
    HTTP_404 = status(
        404, "model_not_found", "there is no such model", kind="invalid_request_error"
    )
    HTTP_408 = status(408, "", "the request took too long to come")
    HTTP_409 = status(409, "", "there was a conflict", kind="conflict_error")
    HTTP_413 = status(413, "", "the request is too large", kind="request_too_large")
    HTTP_418 = status(418, "", "the server is a teapot", kind="invalid_request_error")
    HTTP_422 = status(422, "", "the request makes no sense", kind="invalid_request_error")
    HTTP_429 = status(429, "rate_limit_exceeded", "there were too many requests", kind="requests")
    INSUFFICIENT_QUOTA = status(
        429, "insufficient_quota", "the allowance is used up", kind="insufficient_quota"
    )
    HTTP_500 = status(500, "", "the server failed")
    HTTP_502 = status(502, "", "the server behind the gateway failed")
    HTTP_503 = status(503, "", "the server cannot answer now")
    HTTP_504 = status(504, "", "the server behind the gateway was too slow")
    HTTP_529 = status(529, "", "the server is overloaded", kind="overloaded_error")
    SHOULD_RETRY = status(400, "", "try again, says x-should-retry", ("x-should-retry", "true"))
    SHOULD_NOT_RETRY = status(500, "", "do not, says x-should-retry", ("x-should-retry", "false"))
    ERROR_BODY = Row(
        "an error as the JSON body of a 200, even where a stream was asked for",
        plays.refused(200, "server_error", "The server failed."),
        code="server_error",
    )

    # 429 in each form of saying when to come back: in `seconds`, where they are a parameter.
    RETRY_AFTER = Row("Retry-After in seconds", plays.limited(plays.retry_after), seconds=1.0)
    RETRY_AFTER_DATE = Row(
        "Retry-After as a date, in whole seconds", plays.limited(plays.retry_date), seconds=2.0
    )
    RETRY_AFTER_MS = Row("retry-after-ms", plays.limited(plays.retry_ms), seconds=0.5)
    RATELIMIT_RESET = Row("x-ratelimit-reset-*", plays.limited(plays.resets), seconds=1.0)
    RETRY_INFO = Row("Google's RetryInfo in the body", plays.retry_info, seconds=1.0)
    RETRY_AFTER_GARBAGE = limited("a Retry-After that is no number", ("Retry-After", "soon"))
    RETRY_AFTER_NEGATIVE = limited("a Retry-After below zero", ("Retry-After", "-5"))
    RETRY_AFTER_NAN = limited("a Retry-After of NaN", ("Retry-After", "nan"))
    RETRY_AFTER_HUGE = limited("a Retry-After of 31 years", ("Retry-After", "1000000000"))

    # The JSON of a whole answer or, in a stream, of the first chunk after `chunks` with content.
    TRUNCATED_JSON = Row(
        "JSON that ends in the middle",
        plays.spoiled(lambda good, size: good[: len(good) // 2]),
        chunks=0,
    )
    NAN = Row("a NaN", plays.spoiled(lambda good, size: good[:-1] + b',"padding":NaN}'), chunks=0)
    DUPLICATE_KEYS = Row(
        "the same key twice",
        plays.spoiled(lambda good, size: b'{"choices":[],' + good[1:]),
        chunks=0,
    )
    WRONG_TYPES = Row(
        "values of other types",
        plays.spoiled(lambda good, size: b'{"id":7,"object":[],"choices":"none","usage":"none"}'),
        chunks=0,
    )
    INVALID_UTF8 = Row(
        "bytes that are no UTF-8",
        plays.spoiled(lambda good, size: good.replace(b'"content":"', b'"content":"\xff', 1)),
        chunks=0,
    )
    DEEP_JSON = Row(
        "a value nested `size` deep", plays.spoiled(plays.deepened), chunks=0, size=100_000
    )

    # Event streams that break their promise.
    COMMENTS_ONLY = Row(
        "a stream of a comment every `seconds`", plays.streamed(plays.comments), seconds=0.05
    )
    DONE_NO_FINISH = Row(
        "a stream with [DONE] after `chunks`, without a finish",
        plays.stream(lambda s: [s.begun, DONE]),
        chunks=2,
    )
    NEITHER = Row(
        "a stream ended in good order after `chunks`, with neither finish nor [DONE]",
        plays.stream(lambda s: [s.begun]),
        chunks=2,
    )
    ERROR_FIRST = Row(
        "a stream with an error as its only event",
        plays.stream(plays.failed_at_once),
        code="server_error",
    )
    ERROR_EVENT = Row(
        "an error event after `chunks`, or an error as the body of a 200",
        plays.failed,
        chunks=2,
        code="server_error",
    )
    LONG_LINE = Row(
        "a stream with an event of `size` bytes",
        plays.stream(plays.long_line),
        chunks=2,
        size=10_000_000,
    )
    ENDLESS_LINE = Row(
        "a stream with an event that does not end before `size`",
        plays.streamed(plays.endless_line),
        chunks=2,
        size=1024 * MIB,
    )

    def __call__(
        self,
        *,
        seconds: float | None = None,
        chunks: int | None = None,
        size: int | None = None,
        code: str | None = None,
    ) -> Case:
        """The fault with other parameters than its own.

        Args:
            seconds: How long it is silent; of an error, the Retry-After.
            chunks: How many chunks with content come before it.
            size: Of a body, event or header, in bytes; of `DEEP_JSON`, the depth.
            code: The code of an error.

        Raises:
            TypeError: The fault takes no such parameter.
            ValueError: A number is negative or none, or a code has unusual characters.
        """
        given = {"seconds": seconds, "chunks": chunks, "size": size, "code": code}
        return self.case({name: value for name, value in given.items() if value is not None})

    def case(self, given: Mapping[str, Any]) -> Case:
        """Like calling it, with the parameters in a mapping."""
        own = self.parameters
        for name in given:
            if name not in own:
                known = ", ".join(own) or "none"
                raise TypeError(f"{self.text} takes no {name!r}; its parameters: {known}")
        return Case(self, **{**own, **given})

    @property
    def text(self) -> str:
        """The name in a URL or as a model: `cut-reset`."""
        return self.name.lower().replace("_", "-")

    @property
    def about(self) -> str:
        """What the client sees."""
        return self.value.about

    @property
    def play(self) -> Play | None:
        """What the server does; `None` where the fault is in connecting."""
        return self.value.play

    @property
    def parameters(self) -> dict[str, Any]:
        """The parameters that it takes, with their values where the caller says nothing."""
        names = ("seconds", "chunks", "size", "code")
        values = {name: getattr(self.value, name) for name in names}
        return {name: value for name, value in values.items() if value is not None}
