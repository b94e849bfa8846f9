"""What every wire asks of a service: where it is, its key, and what its refusals say."""

from __future__ import annotations

import os
from collections.abc import Callable, Generator, Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

from msgspec import Struct, field

from providers.catalogue import known_models
from router import (
    AuthError,
    Bearer,
    ConfigError,
    Exchange,
    HttpRequest,
    HttpResponse,
    Message,
    Model,
    ProtocolError,
    RouterError,
    Secret,
    WireProvider,
    decode_json,
    error_for_status,
)

from .bodies import shown


def check_url(url: str, source: str) -> str:
    """The URL, without a slash at its end.

    Args:
        url: Where a service is.
        source: The setting or variable that says so, for the error.

    Raises:
        ConfigError: It is no HTTP URL, or holds a user or a password. The message does not hold it.
    """
    try:
        parts = urlsplit(url)
    except ValueError:
        parts = urlsplit("")
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ConfigError(f"{source} is a URL that begins with http:// or https://")
    if "@" in parts.netloc:
        raise ConfigError(f"{source} holds a user or a password: use a key, or a header")
    return url.rstrip("/")


class Service(Struct, frozen=True, kw_only=True):
    """A service, as data.

    Attributes:
        name: What targets call it: `name/model`.
        base_url: Where it is, unless the settings or `url_variable` say otherwise.
        url_variable: The environment variable that says otherwise.
        key_variables: The environment variables that may hold its key, the first that does counts.
        needs_key: Whether a call without a key is refused here, before anything is sent.
        key_header: The header that the key goes into, where that is not `Authorization`.
        only: Parameters that it does as one value says, and has no word for: that one is taken,
            and not sent.
    """

    name: str
    base_url: str
    url_variable: str
    key_variables: tuple[str, ...]
    needs_key: bool = True
    key_header: str | None = None
    only: Mapping[str, Any] = field(default_factory=dict)

    @property
    def key_names(self) -> str:
        """Where a key can be set, for a message."""
        return " or ".join([*self.key_variables, "the setting key"])

    @property
    def key_refused(self) -> str:
        """What is said of a key that the service does not take."""
        if self.needs_key:
            return f"the key was refused: check {self.key_names}"
        return f"no key, or one that was refused: set {self.key_names}"

    def hidden(self, key: str | Secret, source: str) -> Secret:
        """A key as its header carries it.

        Raises:
            ConfigError: No header can; the message names the source, and does not hold the key.
        """
        value = key.reveal() if isinstance(key, Secret) else key
        return Bearer(value, source) if self.key_header is None else Secret(value, source)


class ServiceProvider(WireProvider):
    """A provider that speaks its wire with a service, or with another server that does.

    The environment is read when a call starts: listing needs no key, and a key that is set later
    counts.

    Args:
        base_url: Where the service is, in place of the environment's.
        key: Its key, in place of the environment's.
        headers: Sent with every request.

    Attributes:
        service: What it speaks with.

    Raises:
        ConfigError: The URL or the key is malformed; the message holds neither.
    """

    service: Service
    open_models = True

    def __init__(
        self,
        base_url: str | None = None,
        key: str | Secret | None = None,
        headers: Mapping[str, str | Secret] | None = None,
    ) -> None:
        service = self.service
        self._base_url = None if base_url is None else check_url(base_url, "base_url")
        self._key = None if key is None else service.hidden(key, f"the key of {service.name}")
        self._headers = dict(headers or {})

    @property
    def base_url(self) -> str:
        """Where it answers, without a slash at the end: settings, environment, the service's own.

        Raises:
            ConfigError: The environment's is malformed, or there is none.
        """
        if self._base_url is not None:
            return self._base_url
        variable = self.service.url_variable
        if not (url := os.environ.get(variable) or self.service.base_url):
            raise ConfigError(f"no address: set {variable} or the setting base_url")
        return check_url(url, variable)

    def known_models(self) -> Mapping[str, Model]:
        """What the shipped catalogue says of this service's models."""
        return known_models(self.service.name)

    def unfit(
        self, model: str, messages: Sequence[Message], arguments: Mapping[str, Any]
    ) -> Mapping[str, str]:
        """What the service does in one way alone, where another is asked for."""
        return {
            name: f"but {value!r}"
            for name, value in self.service.only.items()
            if arguments.get(name, value) != value
        }

    def missing(self) -> str | None:
        try:
            self._authorization()
            _ = self.base_url
        except RouterError as error:
            return error.message
        return None

    def _wire_headers(self) -> dict[str, str | Secret]:
        """Those of every request: the settings', and the key.

        Raises:
            AuthError: There is no key, and the service wants one (`code="missing_key"`).
            ConfigError: The environment's is malformed.
        """
        return {**self._headers, **self._authorization()}

    def _authorization(self) -> dict[str, Secret]:
        service = self.service
        header = service.key_header or "Authorization"
        if self._key is not None:
            return {header: self._key}
        for variable in service.key_variables:
            if value := os.environ.get(variable):
                return {header: service.hidden(value, variable)}
        if service.needs_key:
            raise AuthError(f"no key: set {service.key_names}", code="missing_key")
        return {}

    def _answered(self, request: HttpRequest, read: Callable[[HttpResponse], Exchange]) -> Exchange:
        """The pieces of the answer to a request.

        Raises:
            RouterError: The service refused or failed, or what the reader makes of the answer.
        """
        response = yield from self._accepted(request)
        try:
            yield from read(response)
        except AuthError as error:
            raise self._in_own_words(error) from None

    def _page(self, url: str, page: Any) -> Generator[HttpRequest, HttpResponse, Any]:
        """What a page of the service's list of models says.

        Raises:
            ProtocolError: It is no such page.
            RouterError: The service refused or failed.
        """
        response = yield from self._accepted(HttpRequest("GET", url, self._wire_headers()))
        return response.json(page)

    def _accepted(self, request: HttpRequest) -> Generator[HttpRequest, HttpResponse, HttpResponse]:
        response = yield request
        if not 200 <= response.status < 300:
            raise self._in_own_words(self._refusal(response)) from None
        return response

    def _refusal(self, response: HttpResponse) -> RouterError:
        """The error of a status that is no success: by its body, or else by the status."""
        try:
            body = decode_json(response.body) if response.status >= 400 else None
        except ProtocolError:
            body = None
        return self._explained(body, response) or self._unexplained(response)

    def _explained(self, body: Any, response: HttpResponse) -> RouterError | None:
        """The error that a refusal's body stands for; `None` where it is none of the wire's.

        Args:
            body: From JSON; `None` where it is no JSON, or the status is no error's.
            response: The refusal.
        """
        raise NotImplementedError

    def _unexplained(self, response: HttpResponse) -> RouterError:
        status = response.status
        if status == 404:
            return ProtocolError(
                f"no such API at {self.base_url}: check {self.service.url_variable} or the "
                "setting base_url",
                status=status,
                possibly_billed=False,
            )
        return error_for_status(status, f"status {status} with {shown(response)}")

    def _in_own_words(self, error: RouterError) -> RouterError:
        """The error without what a service says of a key: it repeats it, or a part of it."""
        if not isinstance(error, AuthError):
            return error
        return AuthError(
            self.service.key_refused,
            code=error.code,
            status=error.status,
            request_id=error.request_id,
        )
