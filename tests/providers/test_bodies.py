"""What the wires share: the reading of bodies."""

from collections.abc import Iterator

import pytest

from providers.bodies import MAX_BODY_BYTES, rest
from router import HttpResponse, ProtocolError

PIECE = b" " * (1024 * 1024)


def read(*pieces: bytes) -> bytes:
    """What `rest` makes of a body that comes in these pieces."""
    response = HttpResponse(200, {}, streamed=True)
    coming: Iterator[bytes] = iter(pieces)
    steps = rest(response, next(coming))
    try:
        next(steps)
        while True:
            steps.send(next(coming, b""))
    except StopIteration as ended:
        body: bytes = ended.value
        return body


def test_rest_is_the_whole_body_to_the_last_byte_that_is_allowed():
    body = read(b"{", *[PIECE] * 63, PIECE[:-1])
    assert len(body) == MAX_BODY_BYTES
    assert body.strip() == b"{"


def test_rest_that_is_too_large_has_the_code_of_any_such_body():
    """It had none, so that the call was tried elsewhere, and billed there as well."""
    with pytest.raises(ProtocolError, match="larger than 67108864 bytes") as caught:
        read(b"{", *[PIECE] * 64)
    assert caught.value.code == "too_large"
