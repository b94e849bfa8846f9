"""Bytes to events: server-sent events and JSON lines, fed piece by piece. No I/O.

The rules are those of the WHATWG event stream: UTF-8, lines ended by LF, CRLF or CR, a byte order
mark dropped, comments, several data lines joined by LF, unknown fields ignored. Two are stricter,
because a wrong answer is worse than none: invalid UTF-8 and endless lines are errors.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from msgspec import Struct

from router.contract import decode_json
from router.errors import ProtocolError

MAX_EVENT_BYTES = 8 * 1024 * 1024
"""The largest event: a picture in base64 fits, an endless line does not fill the memory."""

_BOM = b"\xef\xbb\xbf"


class Event(Struct, frozen=True):
    """One event: its type (`message` unless the stream names one) and its data, as bytes.

    `data` is `None` for a comment: a keep-alive, which is no event but a sign of life.
    """

    type: str
    data: bytes | None

    def json(self, type: Any = Any) -> Any:
        """The data decoded from JSON.

        Raises:
            ProtocolError: It is no JSON, or not of the wanted `type`.
        """
        return decode_json(self.data or b"", type)


COMMENT = Event("comment", None)


class Lines:
    """Bytes to lines, however they were split. A line that never ends is an error.

    Args:
        universal: Whether CR and CRLF end a line too (in event streams), or LF alone: to JSON a CR
            is white space.
    """

    def __init__(self, *, universal: bool) -> None:
        self._universal = universal
        self._parts: list[bytes] = []
        self._size = 0
        self._after_cr = False
        self._at_start = True

    def feed(self, data: bytes) -> list[bytes]:
        """The lines that are complete with `data`, without their ends.

        Raises:
            ProtocolError: A line is longer than `MAX_EVENT_BYTES`.
        """
        if self._after_cr and data:
            self._after_cr = False
            if data[0] == 10:
                data = data[1:]
        if not (self._at_start or b"\n" in data or (self._universal and b"\r" in data)):
            self._keep(data)
            return []
        data = self.rest + data
        self._parts, self._size = [], 0
        if self._at_start:
            if len(data) < 3 and _BOM.startswith(data):
                self._keep(data)
                return []
            self._at_start = False
            data = data.removeprefix(_BOM)
        if self._universal and b"\r" in data:
            self._after_cr = data.endswith(b"\r")
            data = data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        lines = data.split(b"\n")
        if len(data) > MAX_EVENT_BYTES and any(len(line) > MAX_EVENT_BYTES for line in lines):
            raise ProtocolError(f"a line of more than {MAX_EVENT_BYTES} bytes")
        self._keep(lines.pop())
        return lines

    @property
    def rest(self) -> bytes:
        """What came after the last end of a line."""
        return b"".join(self._parts)

    def _keep(self, data: bytes) -> None:
        """Put the beginning of a line by; joined once, when its end has come."""
        if not data:
            return
        self._parts.append(data)
        self._size += len(data)
        if self._size > MAX_EVENT_BYTES:
            raise ProtocolError(f"a line of more than {MAX_EVENT_BYTES} bytes")


class SSE:
    """Server-sent events, fed bytes as they come."""

    def __init__(self) -> None:
        self._lines = Lines(universal=True)
        self._data: list[bytes] = []
        self._size = 0
        self._type = b""

    def feed(self, data: bytes) -> Iterator[Event]:
        """The events that are complete with `data`; `COMMENT` for each comment line.

        Raises:
            ProtocolError: Invalid UTF-8, or an event of more than `MAX_EVENT_BYTES`.
        """
        for line in self._lines.feed(data):
            if line.startswith(b"data: "):
                self._add(line[6:])
            elif not line:
                if self._data:
                    yield self._event()
                self._type = b""
            elif line.startswith(b"data:"):
                self._add(line[5:])
            elif line[0] == 58:
                yield COMMENT
            else:
                self._field(line)

    def end(self) -> Iterator[Event]:
        """The event that the end of the bytes cut before its blank line, if it has data.

        The standard drops it; some servers do not send that last blank line, and whether an
        answer is whole is told by its finish reason, not by this.
        """
        yield from self.feed(b"\n\n")

    def _add(self, value: bytes) -> None:
        self._size += len(value) + 1
        if self._size > MAX_EVENT_BYTES:
            raise ProtocolError(f"an event of more than {MAX_EVENT_BYTES} bytes")
        self._data.append(value)

    def _field(self, line: bytes) -> None:
        name, _, value = line.partition(b":")
        if name == b"data":
            self._add(b"")
        elif name == b"event":
            self._type = value.removeprefix(b" ")

    def _event(self) -> Event:
        data = b"\n".join(self._data)
        try:
            if not data.isascii():
                str(data, "utf-8")
            kind = self._type.decode() if self._type else "message"
        except UnicodeDecodeError as error:
            raise ProtocolError(f"an event that is not UTF-8: {error.reason}") from None
        self._data = []
        self._size = 0
        return Event(kind, data)


class JSONLines:
    """Newline-delimited JSON, fed bytes as they come; blank lines are skipped."""

    def __init__(self) -> None:
        self._lines = Lines(universal=False)

    def feed(self, data: bytes, type: Any = Any) -> Iterator[Any]:
        """The values whose lines are complete with `data`.

        Raises:
            ProtocolError: A line is no JSON, or longer than `MAX_EVENT_BYTES`.
        """
        for line in self._lines.feed(data):
            if line.strip():
                yield decode_json(line, type)

    def end(self, type: Any = Any) -> Iterator[Any]:
        """The value of a last line that has no end.

        Raises:
            ProtocolError: It is no JSON: the body was cut.
        """
        if self._lines.rest.strip():
            yield decode_json(self._lines.rest, type)
