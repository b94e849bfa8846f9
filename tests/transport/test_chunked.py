"""Frames of a chunked body, by RFC 9112; http.client reads the same bytes as the oracle."""

import http.client
import io
import itertools

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from router import ProtocolError
from router.transport.chunked import MAX_LINE_BYTES, Chunked

SIZES = st.sampled_from(["{:x}", "{:X}", "{:04x}", "{:x};name=value", '{:x} ; quoted="a b"'])
CHUNKS = st.lists(st.tuples(SIZES, st.binary(min_size=1, max_size=40)), max_size=6)
TRAILERS = st.lists(st.sampled_from([b"Expires: never\r\n", b"X-Checksum: 00\r\n"]), max_size=2)


def framed(chunks, trailers=()):
    frames = [
        b"%b\r\n%b\r\n" % (size.format(len(content)).encode(), content) for size, content in chunks
    ]
    return b"".join([*frames, b"0\r\n", *trailers, b"\r\n"])


def read_by_the_standard_library(body):
    class Socket(io.BytesIO):
        def makefile(self, mode):
            return self

    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    response = http.client.HTTPResponse(Socket(head + body), method="POST")
    response.begin()
    return response.read()


@st.composite
def split(draw):
    """A chunked body, in pieces."""
    body = framed(draw(CHUNKS), draw(TRAILERS))
    cuts = draw(st.lists(st.integers(0, len(body)), max_size=8))
    if draw(st.booleans()):
        cuts = range(len(body) + 1)
    edges = [0, *sorted(cuts), len(body)]
    return [body[a:b] for a, b in itertools.pairwise(edges)]


@given(split())
@example([framed([("{:x}", b"\r\n0\r\n\r\n")])])
def test_chunked_content_does_not_depend_on_how_bytes_are_split(pieces):
    frames = Chunked()
    content = []
    for piece in pieces:
        assert not frames.done or not piece
        content.append(frames.feed(piece))
    assert frames.done
    assert b"".join(content) == read_by_the_standard_library(b"".join(pieces))


@given(split())
def test_chunked_is_not_done_before_its_last_byte(pieces):
    frames = Chunked()
    frames.feed(b"".join(pieces)[:-1])
    assert not frames.done


def test_chunked_takes_all_chunks_of_a_read_at_once():
    frames = Chunked()
    assert frames.feed(b"3\r\none\r\n3\r\ntwo\r\n5\r\nth") == b"onetwoth"
    assert frames.feed(b"ree\r\n") == b"ree"
    assert frames.feed(b"0\r\n\r\n") == b""
    assert frames.done


@pytest.mark.parametrize(
    "body",
    [
        b"x\r\n",
        b"\r\n",
        b"-3\r\none",
        b"0x3\r\none",
        b"+3\r\none",
        b"3\none",
        b"3\r\nonetwo\r\n",
        b"3\r\none3\r\ntwo\r\n",
        b"fffffffffffffffff\r\n",
        b"3" * (MAX_LINE_BYTES + 1),
        b"3;" + b"x" * MAX_LINE_BYTES,
        b"0\r\nX: " + b"x" * MAX_LINE_BYTES,
    ],
)
def test_chunked_refuses_broken_frames(body):
    with pytest.raises(ProtocolError):
        Chunked().feed(body)
