"""The frames of a chunked body (RFC 9112, section 7.1), taken off. No I/O."""

from __future__ import annotations

import re

from router.errors import ProtocolError

MAX_LINE_BYTES = 65536
"""The longest line between two chunks, and the most of trailers: what `http.client` allows."""

_HEAD = re.compile(rb"\r\n([0-9A-Fa-f]{1,16})[ \t]*(?:;[^\r\n]*)?\r\n")
_END = b"\r\n\r\n"


class Chunked:
    """Takes the frames off a body's bytes, however they were split.

    `http.client` hands over one chunk at a time, which for a stream of small events costs more
    than decoding them; this takes all that a read has brought.

    Attributes:
        done: Whether the last chunk has come, trailers included.
    """

    def __init__(self) -> None:
        self._rest = b"\r\n"  # before each head but the first stands the end of a chunk
        self._left = 0
        self.done = False

    def feed(self, data: bytes) -> bytes:
        """The content that comes with `data`; empty when that holds frames alone.

        Raises:
            ProtocolError: The frames are broken.
        """
        data = self._rest + data
        pieces = [data[: self._left]]
        at = len(pieces[0])
        self._left -= at
        while not self._left and (head := _HEAD.match(data, at)):
            size = int(head[1], 16)
            if not size:
                self.done = data.find(_END, head.end() - 2) >= 0
                break
            at = head.end() + size
            pieces.append(data[head.end() : at])
            self._left = max(0, at - len(data))
        self._rest = data[at:]
        if not self.done:
            self._check()
        return b"".join(pieces)

    def _check(self) -> None:
        """What is left over is the beginning of a head, or of the trailers behind the last."""
        rest = self._rest
        ended = rest.find(b"\n", 2) > 0
        if (
            len(rest) > MAX_LINE_BYTES
            or not _END.startswith(rest[:2])
            or (ended and not _HEAD.match(rest))
        ):
            raise ProtocolError("the frames of the chunked answer are broken")
