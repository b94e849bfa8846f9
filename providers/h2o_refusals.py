"""What an H2o server says in place of an answer: TGI's word for it, chat-ui's messages, pages."""

from __future__ import annotations

import re
from contextlib import suppress

from msgspec import Struct

from providers.h2o_stream import TGI_ERRORS
from router import (
    HttpResponse,
    ModelNotFound,
    PermissionDenied,
    ProtocolError,
    RouterError,
    UpstreamError,
    error_for_status,
)

WELCOME = "You need to accept the welcome modal first"
NOT_FOUND = "Conversation not found"
SESSION_LOST = "session_lost"
TERMS = "terms"


class Nested(Struct):
    """The inner part of a SvelteKit form action's refusal."""

    message: str = ""


class Refusal(Struct):
    """The body of a refusal, in any of its shapes."""

    message: str = ""
    error: str | Nested = ""
    error_type: str | None = None


def check(response: HttpResponse, hint: str = "") -> None:
    """Raise for a response that is no answer.

    Args:
        response: What a request brought.
        hint: What an internal error most likely means: chat-ui says nothing of what it refuses.

    Raises:
        RouterError: By TGI's own word where there is one, else by status and chat-ui's message.
    """
    if response.status >= 300:
        raise _refusal(response, hint)
    if response.content_type == "text/html":
        raise ProtocolError(
            "a page came in place of the answer: a proxy blocks the way, or wants a login",
            possibly_billed=False,
        )


def _refusal(response: HttpResponse, hint: str) -> RouterError:
    status = response.status
    said, kind = _complaint(response)
    if kind is not None:
        return TGI_ERRORS.get(kind, UpstreamError)(said, status=status, code=kind)
    match status, said:
        case 405, _ if said == WELCOME:
            message = "the terms were not accepted: set accept_terms, or cookie_name if it differs"
            return PermissionDenied(message, status=status, code=TERMS)
        case 404, _ if said == NOT_FOUND:
            message = "the server has lost the session or the conversation"
            return UpstreamError(message, status=status, code=SESSION_LOST)
        case 403, _ if "referer" in said:
            message = f"{said}: set referer to a page of the server's own address"
            return PermissionDenied(message, status=status, code="referer")
        case ((404 | 405), _):
            message = f"{said}: base_url is not that of such a server"
            return ProtocolError(message, status=status, possibly_billed=False)
        case 410, _:
            return ModelNotFound(said, status=status)
        case 500, _:
            said = f"{said} {hint}".rstrip()
    return error_for_status(status, said)


def _complaint(response: HttpResponse) -> tuple[str, str | None]:
    """What a refusal says, in any of its shapes, and TGI's word for it if there is one."""
    said, kind = "", None
    if response.streamed:  # as a redirect is
        return f"the server answered {response.status}", None
    if response.content_type == "text/html":
        title = re.search(r"<title>([^<]*)", response.body.decode("utf-8", "replace"))
        said = title[1].strip() if title else ""
        return f"a page: {said}" if said else "a page", None
    with suppress(ProtocolError):
        refusal: Refusal = response.json(Refusal)
        nested = refusal.error.message if isinstance(refusal.error, Nested) else refusal.error
        said, kind = refusal.message or nested, refusal.error_type
    return said or response.excerpt or f"the server answered {response.status}", kind
