"""What SvelteKit 1 does around chat-ui's own code: negotiation, pages, the shapes of its errors."""

import re

from emulators.loopback import Reply, Request

# With `data-` attributes, as real pages have them: a careless reader takes them for events.
_PAGE = (
    '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8"><title>{title}</title></head>'
    '<body data-sveltekit-preload-data="hover"><main>{text}</main></body></html>\n'
)


class HttpError(Exception):
    """An expected error of an endpoint; its message reaches the client."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message


class Unexpected(HttpError):
    """Anything an endpoint throws without expecting it, a refused body among it."""

    def __init__(self) -> None:
        super().__init__(500, "Internal Error")


def negotiate(accept: str, types: tuple[str, ...]) -> str | None:
    """The type that the Accept header ranks first, the earlier of two that it ranks alike."""
    ranges = []
    for place, part in enumerate(accept.split(",")):
        if match := re.search(r"([^/ \t]+)/([^; \t]+)[ \t]*(?:;[ \t]*q=([0-9.]+))?", part):
            kind, subtype, quality = match.groups(default="1")
            ranges.append((-float(quality), subtype == "*", kind == "*", place, kind, subtype))
    ranges.sort()
    best, rank = None, len(ranges)
    for offered in types:
        kind, _, subtype = offered.partition("/")
        for place, wanted in enumerate(ranges[:rank]):
            if wanted[4] in (kind, "*") and wanted[5] in (subtype, "*"):
                best, rank = offered, place
                break
    return best


def wants_page(request: Request) -> bool:
    """Whether a route that has both a page and an endpoint serves its page."""
    return negotiate(request.headers.get("Accept", "*/*"), ("*", "text/html")) == "text/html"


def page(status: int, text: str) -> Reply:
    """A rendered page, the error page included."""
    html = _PAGE.format(title="h2oGPT", text=text)
    return Reply.text(status, html, "text/html").plus(("x-sveltekit-page", "true"))


def page_without_actions() -> Reply:
    """What a POST gets that reached a page."""
    text = "POST method not allowed. No actions exist for this page"
    return page(405, text).plus(("allow", "GET"))


def redirect(status: int, location: str) -> Reply:
    """A redirection without a body."""
    return Reply(status, (("location", location),), chunked=True)


def empty() -> Reply:
    """What `new Response()` becomes."""
    return Reply(chunked=True)


def failed_endpoint(request: Request, error: HttpError) -> Reply:
    """The error of an endpoint: JSON for those who accept it, else a bare page.

    A request without an Accept header counts as a browser's.
    """
    accept = request.headers.get("Accept") or "text/html"
    if negotiate(accept, ("application/json", "text/html")) == "application/json":
        return Reply.json(error.status, {"message": error.message})
    html = _PAGE.format(title=error.message, text=error.status)
    return Reply.text(error.status, html, "text/html; charset=utf-8")


def _is_action_json(request: Request) -> bool:
    accept = request.headers.get("Accept", "*/*")
    return negotiate(accept, ("application/json", "text/html")) == "application/json"


def failed_action(request: Request, error: HttpError) -> Reply:
    """The error of a form action."""
    if _is_action_json(request):
        body = {"type": "error", "error": {"message": error.message}}
        return Reply.json(error.status, body)
    return page(error.status, error.message)


def redirected_action(request: Request, location: str) -> Reply:
    """The redirection that ends a form action: a real one for browsers, else told in JSON."""
    if _is_action_json(request):
        return Reply.json(200, {"type": "redirect", "status": 303, "location": location})
    return redirect(303, location)
