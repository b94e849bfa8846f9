"""An H2o exchange run over requests, by itself: for those who have no router."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from router import Chunk, Cleanup, Exchange, HttpRequest, HttpResponse
from router.secret import header_value

if TYPE_CHECKING:
    import requests

TIMEOUT = (5.0, 60.0)
"""Seconds for a connection, and for each read: the router's own defaults."""


class Wire:
    """Runs one exchange over requests, which raises its own exceptions."""

    def __init__(self) -> None:
        import requests

        self.response: requests.Response | None = None
        self._session = requests.Session()
        self._session.trust_env = False
        self._body: Iterator[bytes] = iter(())
        self._cleanups: list[Callable[[], HttpRequest | None]] = []

    def run(self, exchange: Exchange) -> Iterator[str]:
        from requests.exceptions import ChunkedEncodingError

        finished = False
        result: Any = None
        while True:
            try:
                step = exchange.send(result)
            except StopIteration:
                break
            result = None
            match step:
                case str():
                    yield step
                case Chunk():
                    finished = finished or step.finish_reason is not None
                case Cleanup():
                    self._cleanups.append(step.function)
                case HttpRequest():
                    result = self._send(step)
                case HttpResponse():
                    result = next(self._body, b"")
        if not finished:
            raise ChunkedEncodingError("the answer ended before its last event")

    def close(self) -> None:
        """Delete what is to be deleted, as well as possible, and let go of the connections."""
        from requests.exceptions import RequestException

        with self._session:
            if self.response is not None:
                self.response.close()
            for function in self._cleanups:
                request = function()
                with suppress(RequestException):
                    if request is not None:
                        self._send(request)

    def _send(self, request: HttpRequest) -> HttpResponse:
        response = self._session.request(
            request.method,
            request.url,
            headers={name: header_value(value) for name, value in request.headers.items()},
            json=request.json,
            data=request.form,
            stream=True,
            timeout=TIMEOUT,
            allow_redirects=False,
        )
        self.response = response
        # requests joins the values of one name by commas, which cookies hold as well.
        raw: Any = response.raw.headers
        headers = {name.lower(): "\n".join(raw.getlist(name)) for name in raw}
        if not request.stream or response.status_code >= 400:
            return HttpResponse(response.status_code, headers, response.content)
        # A read of another size than a chunk's waits until it is full.
        self._body = response.iter_content(None if response.raw.chunked else 1)
        return HttpResponse(response.status_code, headers, streamed=True)
