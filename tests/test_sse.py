"""Bytes to events. The rules are the WHATWG's; a slow reading of them stands here as the oracle."""

import itertools
import tracemalloc

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from router import COMMENT, SSE, Event, JSONLines, ProtocolError, sse

LINES = st.sampled_from(
    [
        b"",
        b"data: one",
        b"data:two",
        b"data:  three",
        b"data",
        b"data:",
        "data: größer → 🌊".encode(),
        b'data: {"data: [DONE]": 1}',
        b"event: error",
        b"event",
        b": a comment",
        b":",
        b"id: 7",
        b"retry: 10",
        b"nonsense",
        b" data: not a field",
    ]
)
ENDS = st.sampled_from([b"\n", b"\r", b"\r\n"])
STREAMS = st.builds(
    lambda bom, lines, last: bom + b"".join(line + end for line, end in lines) + last,
    st.sampled_from([b"", b"\xef\xbb\xbf"]),
    st.lists(st.tuples(LINES, ENDS), max_size=12),
    LINES,
)


@st.composite
def split(draw, streams=STREAMS):
    """A stream, and the same stream in pieces."""
    stream = draw(streams)
    cuts = draw(st.lists(st.integers(0, len(stream)), max_size=8))
    if draw(st.booleans()):
        cuts = range(len(stream) + 1)
    edges = [0, *sorted(cuts), len(stream)]
    return stream, [stream[a:b] for a, b in itertools.pairwise(edges)]


def events(pieces):
    decoder = SSE()
    return [event for piece in pieces for event in decoder.feed(piece)]


def as_the_standard_says(stream):
    """The events of a stream, read by the standard's own steps, all at once."""
    text = stream.decode().removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n")
    found, data, kind = [], [], ""
    for line in text.split("\n")[:-1]:
        if not line:
            if data:
                found.append(Event(kind or "message", "\n".join(data).encode()))
            data, kind = [], ""
            continue
        if line.startswith(":"):
            found.append(COMMENT)
            continue
        field, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if field == "data":
            data.append(value)
        elif field == "event":
            kind = value
    return found


@given(split())
@example(
    (b"data: a\r\n\r\ndata: b\r\n\r\n", [b"data: a\r", b"\n\r", b"\n", b"data: b\r\n\r", b"\n"])
)
def test_sse_gives_the_standards_events_however_the_bytes_are_split(case):
    stream, pieces = case
    assert events(pieces) == as_the_standard_says(stream)


@given(split(st.binary(max_size=60)))
def test_sse_fails_for_the_same_bytes_however_they_are_split(case):
    stream, pieces = case

    def outcome(pieces):
        decoder, found = SSE(), []
        try:
            for piece in pieces:
                found += decoder.feed(piece)
        except ProtocolError as error:
            found.append(error.message)
        return found

    assert outcome(pieces) == outcome([stream])


@pytest.mark.parametrize(
    ("stream", "expected"),
    [
        (b"data: a\n\n", [Event("message", b"a")]),
        (b"data: a\ndata: b\n\n", [Event("message", b"a\nb")]),
        (b"event: ping\ndata: {}\n\n", [Event("ping", b"{}")]),
        (b"event: ping\n\ndata: {}\n\n", [Event("message", b"{}")]),
        (b"data\n\n", [Event("message", b"")]),
        (b"\xef\xbb\xbfdata: a\n\n", [Event("message", b"a")]),
        (b"data: \xef\xbb\xbfa\n\n", [Event("message", b"\xef\xbb\xbfa")]),
        (b": ping\n\n", [COMMENT]),
        (b"data: a\n: ping\ndata: b\n\n", [COMMENT, Event("message", b"a\nb")]),
        (b"data: a\r\rdata: b\r\r", [Event("message", b"a"), Event("message", b"b")]),
        (b"data: a\n", []),
        (b"data: a\n\n\n\n", [Event("message", b"a")]),
        (b"id: 1\nretry: 5\n\n", []),
    ],
)
def test_sse_reads(stream, expected):
    assert events([stream]) == expected


def test_sse_end_gives_the_event_whose_blank_line_never_came():
    decoder = SSE()
    assert list(decoder.feed(b"data: a\n\ndata: last")) == [Event("message", b"a")]
    assert list(decoder.end()) == [Event("message", b"last")]
    assert list(decoder.end()) == []


def test_sse_skips_a_byte_order_mark_at_the_start_alone():
    pieces = [b"\xef", b"\xbb\xbfdata: a\n\n", b"\xef\xbb\xbfdata: b\n\n", b"data: c\n\n"]
    assert [event.data for event in events(pieces)] == [b"a", b"c"]


@pytest.mark.parametrize("stream", [b"", b"data: a\n\n", b": ping\r", b"\xef\xbb"])
def test_sse_end_gives_nothing_where_nothing_is_left(stream):
    decoder = SSE()
    list(decoder.feed(stream))
    assert list(decoder.end()) == []


@pytest.mark.parametrize(
    "stream",
    [b"data: \xff\n\n", b"data: \xc3\n\n", b"data: \xed\xa0\x80\n\n", b"event: \xff\ndata: a\n\n"],
    ids=["no byte of UTF-8", "cut character", "surrogate", "type"],
)
def test_sse_never_replaces_what_is_no_utf8(stream):
    with pytest.raises(ProtocolError, match="UTF-8"):
        events([stream])


def test_sse_reads_the_json_of_an_event():
    assert Event("message", b'{"a": [1]}').json() == {"a": [1]}
    assert Event("message", b"[1]").json(list[int]) == [1]


@pytest.mark.parametrize(
    "data", [None, b"", b"{", b"NaN", b'{"a": Infinity}', b"[1] [2]", b'"\xff"']
)
def test_sse_refuses_json_that_is_none(data):
    with pytest.raises(ProtocolError) as caught:
        Event("message", data).json()
    assert caught.value.code == "malformed_json"


ENDLESS = {
    "line": b"x" * 4096,
    "data": b"data: " + b"x" * 4090,
    "data lines": (b"data: " + b"x" * 94 + b"\n") * 40,
    "empty data lines": b"data\n" * 800,
    "comment": b":" + b"x" * 4095,
}


@pytest.fixture
def limit(monkeypatch):
    """A smaller one, so that it is soon reached."""
    monkeypatch.setattr(sse, "MAX_EVENT_BYTES", 2**16)
    return 2**16


@pytest.mark.parametrize("piece", ENDLESS.values(), ids=ENDLESS.keys())
def test_sse_stops_at_an_endless_event(piece, limit):
    """Empty data lines were not counted: they filled the memory, eight bytes for each five."""
    tracemalloc.start()
    try:
        with pytest.raises(ProtocolError, match="more than"):
            events(itertools.repeat(piece, 8 * limit // len(piece)))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 16 * limit


@pytest.mark.parametrize("shape", [b"data: %s\n\n", b"data\n" * 4 + b"data: %s\n\n"])
def test_sse_takes_an_event_as_large_as_is_allowed(shape, limit):
    most = limit - shape.count(b"data") - len(b"data: ")
    assert len(events([shape % (b"x" * most)])) == 1


JSON_STREAMS = st.builds(
    lambda bom, values, last: bom + b"".join(value + end for value, end in values) + last,
    st.sampled_from([b"", b"\xef\xbb\xbf"]),
    st.lists(
        st.tuples(
            st.sampled_from([b"", b"  ", b"1", b'{"a": "\xc3\xb6"}', b'"\\r\\n"', b"[]"]),
            st.sampled_from([b"\n", b"\r\n"]),
        ),
        max_size=10,
    ),
    st.sampled_from([b"", b"2", b"[3]"]),
)


@given(split(JSON_STREAMS))
def test_json_lines_are_the_same_however_the_bytes_are_split(case):
    stream, pieces = case

    def values(pieces):
        decoder = JSONLines()
        return [v for piece in pieces for v in decoder.feed(piece)] + list(decoder.end())

    assert values(pieces) == values([stream])


def test_json_lines_are_decoded_into_a_type():
    decoder = JSONLines()
    assert list(decoder.feed(b'{"a": 1}\n\r\n{"a"', dict[str, int])) == [{"a": 1}]
    assert list(decoder.feed(b": 2}", dict[str, int])) == []
    assert list(decoder.end(dict[str, int])) == [{"a": 2}]


def test_json_lines_take_a_cr_for_white_space():
    for pieces in ([b'{"a":\r1}\r\n\r\n2\r\n'], [b'{"a":', b"\r", b"1}\r", b"\n\r\n2\r\n"]):
        decoder = JSONLines()
        assert [v for piece in pieces for v in decoder.feed(piece)] == [{"a": 1}, 2]


def test_json_lines_fail_at_a_cut_last_line():
    decoder = JSONLines()
    assert list(decoder.feed(b'1\n{"a": ')) == [1]
    with pytest.raises(ProtocolError):
        list(decoder.end())


@pytest.mark.parametrize("size", [2**20, 1000], ids=["at once", "in pieces"])
@pytest.mark.parametrize("end", [b'"\n', b'"\r\n', b""])
def test_json_lines_stop_at_a_line_that_is_too_long(size, end, limit):
    """A line that came whole was not measured."""
    line = b'1\n"' + b"x" * limit + end
    decoder = JSONLines()
    with pytest.raises(ProtocolError, match="more than"):
        [list(decoder.feed(line[at : at + size])) for at in range(0, len(line), size)]
