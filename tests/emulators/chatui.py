"""HuggingFace chat-ui v0.3 to v0.7 in front of text-generation-inference.

Up to v0.6 it passes the upstream's stream through; v0.7 tells its progress in lines of JSON
(`emulators.updates`). What a page shows and what `__data.json` holds is left out, and so are web
search, `summarize`, and bodies of the type multipart/form-data.
"""

import json
import re
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from email.utils import formatdate
from itertools import count
from random import Random
from typing import Any, Literal, TypeVar
from urllib.parse import urlsplit
from uuid import uuid4

from emulators import sveltekit
from emulators.loopback import Cut, Reply, Request
from emulators.script import TOKENS
from emulators.sveltekit import HttpError, Unexpected
from emulators.tgi import Generation, ScriptedServer
from emulators.updates import updates
from emulators.validation import Limits

Dialect = Literal["v0.3", "v0.4", "v0.5", "v0.6", "v0.7"]

_LEGACY = {"temperature": 0.4, "truncate": 2048, "max_new_tokens": 1024}

# Wire ids and the parameters configured for each; up to v0.6 only `truncate` and `stop` matter.
MODELS: Mapping[str, dict[str, Any]] = {
    "h2oai/h2ogpt-gm-oasst1-en-2048-falcon-7b-v3": _LEGACY | {"stop": ["<|endoftext|>"]},
    "h2oai/h2ogpt-gm-oasst1-en-2048-falcon-40b-v1": _LEGACY | {"stop": ["<|endoftext|>"]},
    "h2oai/h2ogpt-gm-oasst1-en-2048-open-llama-13b": _LEGACY | {"stop": ["</s>"]},
}

_FORMS = ("multipart/form-data", "application/x-www-form-urlencoded", "text/plain")

# As zod 3.21 has it: versions 1 to 5, and the nil UUID.
_UUID = re.compile(
    r"[a-f0-9]{8}-[a-f0-9]{4}-[1-5][a-f0-9]{3}-[a-f0-9]{4}-[a-f0-9]{12}"
    r"|00000000-0000-0000-0000-000000000000",
    re.IGNORECASE,
)

_ROUTES = (
    ("page", r"/"),
    ("settings", r"/settings"),
    ("create", r"/conversation"),
    ("conversation", r"/conversation/(?P<id>[^/]+)"),
    ("stop", r"/conversation/(?P<id>[^/]+)/stop-generating"),
    ("share", r"/conversation/(?P<id>[^/]+)/share"),
    ("shared", r"/r/(?P<id>[^/]+)"),
)

_RATE_WINDOW = 60.0  # seconds that chat-ui keeps a message event


@dataclass(slots=True)
class Message:
    """A stored message; `sender` is `user` or `assistant`."""

    sender: str
    content: str
    id: str


@dataclass(slots=True)
class Conversation:
    """A conversation as it is stored.

    Attributes:
        session: The value of the cookie that it belongs to.
        messages: Stored messages, oldest first.
    """

    id: str
    session: str
    model: str
    title: str
    messages: list[Message] = field(default_factory=list)


@dataclass(slots=True)
class Settings:
    """What a session has told `/settings`.

    Attributes:
        accepted_at: When the terms were accepted, in seconds since the epoch; None if never.
    """

    accepted_at: float | None = None
    share: bool = True
    active_model: str = ""


class ChatUI(ScriptedServer):
    """A chat-ui.

    Args:
        dialect: The version that it behaves like.
        models: The configured models by id, with their parameters.
        cookie_name: The name of the session's cookie.
        secure_cookie: `Secure; SameSite=None` as in production; else `SameSite=Lax`.
        disclaimer: Whether terms have to be accepted first.
        login_required: Whether everything but reading needs a login, which nobody has.
        messages_before_login: How many messages a guest may have stored all the same (v0.4+).
        rate_limit: Messages a minute, counted for the session and for the address; None for any.
        public_origin: An origin besides the server's own that a Referer may have.
        endpoint: The upstream's path; on `/` a request without `stream` gets an array of JSON.
        message_end: What ends a message in the prompt; None for what was seen of the version.
        tokens: What the upstream generates where neither script nor mode says.
        limits: What the upstream validates requests against.
        clock: Seconds since the epoch.

    Attributes:
        models: The configured models; without one its conversations answer 410.
        settings: By session. Without its own, a session has to accept the terms again.
        conversations: The open conversations by id.
        shares: Copies of conversations by the id of their link.
    """

    def __init__(
        self,
        dialect: Dialect = "v0.3",
        *,
        models: Mapping[str, dict[str, Any]] = MODELS,
        cookie_name: str = "hf-chat",
        secure_cookie: bool = True,
        disclaimer: bool = True,
        login_required: bool = False,
        messages_before_login: int = 0,
        rate_limit: int | None = None,
        public_origin: str | None = None,
        endpoint: str = "/generate_stream",
        message_end: str | None = None,
        tokens: Sequence[str] = TOKENS,
        limits: Limits | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        super().__init__(tokens, limits)
        self.models = dict(models)
        self.settings: dict[str, Settings] = {}
        self.conversations: dict[str, Conversation] = {}
        self.shares: dict[str, Conversation] = {}
        self.dialect = dialect
        self._json_lines = dialect == "v0.7"
        self._cookie_name = cookie_name
        self._secure_cookie = secure_cookie
        self._disclaimer = disclaimer
        self._login_required = login_required
        self._messages_before_login = messages_before_login
        self._rate_limit = rate_limit
        self._public_origin = public_origin
        self._endpoint = endpoint
        # The captured v0.6 put none after messages, unlike v0.3 and v0.7.
        seen = "" if dialect == "v0.6" else "<|endoftext|>"
        self._message_end = seen if message_end is None else message_end
        self._clock = clock
        self._message_times: list[float] = []
        self._object_ids = count(1)

    def handle(self, request: Request) -> Reply:
        """Passes a request through the gates to its route, and refreshes the cookie."""
        path = request.path.rstrip("/")
        if path != request.path != "/" and self._route(path):
            return sveltekit.redirect(308, path).plus(("x-sveltekit-normalize", "1"))
        session = request.cookies().get(self._cookie_name) or str(uuid4())
        try:
            refusal = self._refusal(request, session)
        except HttpError as error:
            return sveltekit.failed_endpoint(request, error)
        if refusal is not None:
            return refusal
        reply = self._dispatch(request, session)
        if self._json_lines and request.method != "POST":
            return reply
        return reply.plus(("set-cookie", self._cookie(session)))

    def _refusal(self, request: Request, session: str) -> Reply | None:
        """What the hooks answer in place of the route, in their order."""
        content_type = request.headers.get("Content-Type", "")
        if request.method == "POST" and content_type.split(";")[0] in _FORMS:
            referer = request.headers.get("Referer")
            if not referer:
                return _refused(request, 403, "Non-JSON form requests need to have a referer")
            if _origin(referer) not in self._origins(request):
                return _refused(request, 403, "Invalid referer for POST request")
        if request.method == "GET" or request.path.startswith(("/login", "/admin")):
            return None
        if self._login_required:
            if self._messages_before_login > 0:
                return None
            return _refused(request, 401, "You have to be logged in.")
        if self._disclaimer and not request.path.startswith("/settings"):
            known = self.settings.get(session)
            if known is None or known.accepted_at is None:
                return _refused(request, 405, "You need to accept the welcome modal first")
        return None

    def _origins(self, request: Request) -> set[str | None]:
        own = f"http://{request.headers.get('Host', '')}"
        return {own, self._public_origin and _origin(self._public_origin)}

    def _cookie(self, session: str) -> str:
        days = 14 if self._json_lines else 365
        expires = formatdate(self._clock() + days * 86400, usegmt=True)
        site = "Secure; SameSite=None" if self._secure_cookie else "SameSite=Lax"
        return f"{self._cookie_name}={session}; Path=/; Expires={expires}; HttpOnly; {site}"

    def _route(self, path: str) -> tuple[str, str] | None:
        """The name of a path's route, and the id in it."""
        for name, pattern in _ROUTES:
            if match := re.fullmatch(pattern, path):
                return name, match.groupdict().get("id", "")
        return None

    def _dispatch(self, request: Request, session: str) -> Reply:
        route = self._route(request.path)
        if route is None:
            return sveltekit.page(404, "Not Found")
        name, id = route
        try:
            if name == "settings" and request.method == "POST":
                return self._post_settings(request, session)
            if name in ("page", "shared"):
                return self._page(request, name, id)
            if name == "create":
                return self._create(request, session)
            if name == "conversation":
                return self._on_conversation(request, session, id)
            if request.method == "POST":
                return self._stop(session, id) if name == "stop" else self._share(session, id)
        except HttpError as error:
            return sveltekit.failed_endpoint(request, error)
        return _method_not_allowed(request, "POST")

    def _page(self, request: Request, name: str, id: str) -> Reply:
        if request.method != "GET":
            return sveltekit.page_without_actions()
        if name == "shared" and id not in self.shares:
            return sveltekit.page(404, "Conversation not found")
        return sveltekit.page(200, "h2oGPT")

    def _post_settings(self, request: Request, session: str) -> Reply:
        if self._json_lines:
            self._store_settings(session, *self._settings_in_json(request))
            return sveltekit.empty()
        try:
            self._store_settings(session, *self._settings_in_form(request))
        except HttpError as error:
            return sveltekit.failed_action(request, error)
        return sveltekit.redirected_action(request, request.headers.get("Referer") or "/")

    def _settings_in_form(self, request: Request) -> tuple[bool, bool, str]:
        """Whether the terms are accepted, whether to share, the active model."""
        content_type = request.headers.get("Content-Type", "").split(";")[0]
        if content_type != "application/x-www-form-urlencoded":
            raise Unexpected
        form = request.form()
        model = form.get("activeModel", next(iter(self.models)))
        share = form.get("shareConversationsWithModelAuthors")
        strict = self.dialect == "v0.6"
        if model not in self.models or (strict and share not in ("true", "on", "false", None)):
            raise Unexpected
        shared = share in ("true", "on") if strict else bool(share)
        return bool(form.get("ethicsModalAccepted")), shared, model

    def _settings_in_json(self, request: Request) -> tuple[bool, bool, str]:
        body = _json_object(request)
        accepted = _typed(body, "ethicsModalAccepted", bool, default=False)
        share = _typed(body, "shareConversationsWithModelAuthors", bool, default=True)
        model = _typed(body, "activeModel", str, default=next(iter(self.models)))
        return accepted, share, model

    def _store_settings(self, session: str, accepted: bool, share: bool, model: str) -> None:
        known = self.settings.setdefault(session, Settings())
        known.share, known.active_model = share, model
        if accepted:
            known.accepted_at = self._clock()

    def _create(self, request: Request, session: str) -> Reply:
        if request.method == "GET":
            return sveltekit.redirect(302, "/")
        if request.method != "POST":
            return _method_not_allowed(request, "GET, POST")
        body = _json_object(request)
        model = _typed(body, "model", str)
        link = _typed(body, "fromShare", str, default="")
        if model not in self.models:
            raise Unexpected
        number = 1 + sum(known.session == session for known in self.conversations.values())
        title = "New Chat" if self._json_lines else f"Untitled {number}"
        conversation = Conversation(self._object_id(), session, model, title)
        if link:
            if link not in self.shares:
                raise HttpError(404, "Conversation not found")
            conversation = replace(_copy(self.shares[link]), id=conversation.id, session=session)
        self.conversations[conversation.id] = conversation
        return Reply.json(200, {"conversationId": conversation.id}, chunked=True)

    def _object_id(self) -> str:
        """Twelve bytes: seconds, a number of the process, a counter."""
        process = Random(self.port).getrandbits(40)
        return f"{int(self._clock()):08x}{process:010x}{next(self._object_ids):06x}"

    def _on_conversation(self, request: Request, session: str, id: str) -> Reply:
        if request.method == "GET":
            known = self.conversations.get(id)
            found = known is not None and known.session == session
            return sveltekit.page(*((200, "h2oGPT") if found else (404, "Conversation not found")))
        if request.method == "POST":
            if sveltekit.wants_page(request):
                return sveltekit.page_without_actions()
            return self._post_message(request, session, id)
        if request.method == "DELETE":
            del self.conversations[self._conversation(session, id).id]
        elif request.method == "PATCH":
            title = _typed(_json_object(request), "title", str).strip()
            if not 1 <= len(title) <= 100:
                raise Unexpected
            self._conversation(session, id).title = title
        else:
            return _method_not_allowed(request, "POST, DELETE, PATCH")
        return sveltekit.empty()

    def _conversation(self, session: str, id: str) -> Conversation:
        """The session's conversation; raises `HttpError`, 500 for what is no ObjectId."""
        # The driver also takes any string of twelve bytes for one.
        if not re.fullmatch(r"[0-9a-fA-F]{24}", id) and len(id.encode()) != 12:
            raise Unexpected
        found = self.conversations.get(id.lower())
        if found is None or found.session != session:
            raise HttpError(404, "Conversation not found")
        return found

    def _stop(self, session: str, id: str) -> Reply:
        conversation = self._conversation(session, id)
        for generation in self.generations:
            if generation.conversation == conversation.id and generation.state == "running":
                generation.stopped = True
        self.changed.notify_all()
        return sveltekit.empty()

    def _share(self, session: str, id: str) -> Reply:
        conversation = self._conversation(session, id)
        link = uuid4().hex[:7]
        self.shares[link] = _copy(conversation)
        return Reply.json(200, {"url": f"{self.url}/r/{link}"}, chunked=True)

    def _post_message(self, request: Request, session: str, id: str) -> Reply:
        conversation = self._conversation(session, id)
        self._check_allowance(conversation)
        if conversation.model not in self.models:
            raise HttpError(410, "Model not available anymore")
        body = _json_object(request)
        inputs = _typed(body, "inputs", str).strip()
        if not inputs:
            raise Unexpected
        options = body if self._json_lines else _typed(body, "options", dict)
        user = Message("user", inputs, _uuid(options, "id") or str(uuid4()))
        messages = list(conversation.messages)
        if _typed(options, "is_retry", bool, default=False) and "id" in options:
            known = [message.id for message in messages]
            del messages[known.index(user.id) if user.id in known else len(known) :]
        messages.append(user)
        answer = Message("assistant", "", _uuid(options, "response_id") or str(uuid4()))
        if self._json_lines:
            return self._updates(conversation, messages, answer)
        if _typed(options, "web_search_id", str, default=""):
            raise Unexpected  # an unknown search, since there are none
        return self._passed_through(conversation, messages, answer, body)

    def _check_allowance(self, conversation: Conversation) -> None:
        """Counts the message; raises `HttpError` 429 beyond the limit of a minute or of guests."""
        now = self._clock()
        recent = [sent for sent in self._message_times if now - sent < _RATE_WINDOW]
        self._message_times = [*recent, now]
        if self._login_required and len(conversation.messages) > self._messages_before_login:
            raise HttpError(429, "Exceeded number of messages before login")
        # The clients of a loopback server share an address, so its count is the larger one.
        if self._rate_limit is not None and len(self._message_times) > self._rate_limit:
            raise HttpError(429, "You are sending too many messages. Try again later.")

    def _prompt(self, conversation: Conversation, messages: list[Message]) -> str:
        """The prompt for the upstream, cut to the last words that the model's config allows."""
        parts = []
        for message in messages:
            mark = "<|prompt|>" if message.sender == "user" else "<|answer|>"
            end = "" if message.content.endswith(self._message_end) else self._message_end
            parts.append(mark + message.content + end)
        words = ("".join(parts) + "<|answer|>").split(" ")
        return " ".join(words[-self.models[conversation.model].get("truncate", 0) :])

    def _generate(self, conversation: Conversation, body: object) -> tuple[Generation, Reply]:
        generation, reply = self.upstream.generate(self._endpoint, json.dumps(body).encode())
        generation.conversation = conversation.id
        return generation, reply

    def _passed_through(
        self,
        conversation: Conversation,
        messages: list[Message],
        answer: Message,
        body: dict[str, Any],
    ) -> Reply:
        prompt = self._prompt(conversation, messages)
        try:
            generation, reply = self._generate(conversation, body | {"inputs": prompt})
        except ConnectionRefusedError as error:
            raise Unexpected from error
        if isinstance(reply.body, bytes):
            return reply

        def store(text: str) -> None:
            answer.content = self._trimmed(text.removeprefix(prompt), conversation.model)
            self._store(conversation, [*messages, answer])

        return replace(reply, body=_teed(reply.body, generation, store), drain=True)

    def _trimmed(self, text: str, model: str) -> str:
        """An answer without the marks that models leave at its ends."""
        text = text.removeprefix("<|startoftext|>").removesuffix("</s>").rstrip()
        for stop in (*self.models.get(model, {}).get("stop", ()), "<|endoftext|>"):
            if text.endswith(stop):
                text = text.removesuffix(stop).rstrip()
        return text

    def _store(self, conversation: Conversation, messages: list[Message]) -> None:
        with self.changed:
            conversation.messages = messages
            self.changed.notify_all()

    def _updates(
        self, conversation: Conversation, messages: list[Message], answer: Message
    ) -> Reply:
        *before, user = messages
        self._store(conversation, messages)

        def ask() -> tuple[Generation, Reply]:
            parameters = self.models[conversation.model]
            stops = {"stop_sequences": parameters.get("stop", []), "return_full_text": False}
            body = {
                "parameters": parameters | stops,
                "inputs": self._prompt(conversation, messages),
                "stream": True,
                "options": {"use_cache": False},
            }
            generation, reply = self._generate(conversation, body)
            self.closing.wait(reply.delay)
            return generation, reply

        def store(text: str, answered: bool) -> None:
            last = replace(answer if answered else user, content=text)
            self._store(conversation, [*messages, last] if answered else [*before, last])

        new = conversation.title == "New Chat" and not before
        if new:
            # From five words on chat-ui asks a model for a title.
            conversation.title = " ".join(user.content.split()[:5])
        title = conversation.title if new else None
        return Reply(body=updates(ask, store, prompt=user.content, title=title))


def _refused(request: Request, status: int, message: str) -> Reply:
    """The answer of a gate: JSON where either header speaks of JSON, else plain text."""
    spoken = request.headers.get("Accept", "") + request.headers.get("Content-Type", "")
    if "application/json" in spoken:
        return Reply.json(status, {"error": message}, chunked=True)
    return Reply.text(status, message, chunked=True)


def _method_not_allowed(request: Request, allowed: str) -> Reply:
    text = f"{request.method} method not allowed"
    return Reply.text(405, text).plus(("allow", allowed))


def _origin(url: str) -> str:
    """The origin of a URL; raises `Unexpected` where JavaScript's parser throws."""
    parts = urlsplit(url)
    if not parts.scheme or not parts.netloc:
        raise Unexpected
    return f"{parts.scheme}://{parts.netloc}".lower()


def _json_object(request: Request) -> dict[str, Any]:
    try:
        body = request.json()
    except ValueError as error:
        raise Unexpected from error
    if not isinstance(body, dict):
        raise Unexpected
    return body


_REQUIRED: Any = object()
_T = TypeVar("_T")


def _typed(body: dict[str, Any], name: str, kind: type[_T], default: _T = _REQUIRED) -> _T:
    """A field of a body; raises `Unexpected` when it is of another type, null included."""
    value = body.get(name, default)
    if not isinstance(value, kind):
        raise Unexpected
    return value


def _uuid(options: dict[str, Any], name: str) -> str:
    """An optional UUID, empty when it is missing."""
    value = _typed(options, name, str, default="")
    if name in options and not _UUID.fullmatch(value):
        raise Unexpected
    return value


def _copy(conversation: Conversation) -> Conversation:
    return replace(conversation, messages=[replace(m) for m in conversation.messages])


def _teed(
    upstream: Generator[bytes, None, None], generation: Generation, store: Callable[[str], None]
) -> Generator[bytes, None, None]:
    """Passes the upstream's bytes on, and stores the answer that they hold.

    Stopped, it stores the tokens so far, the last of which the client does not see, and cuts.
    """
    received = bytearray()
    try:
        for piece in upstream:
            received += piece
            if generation.stopped:
                store("".join(_token_texts(received.decode(errors="replace"))))
                raise Cut
            yield piece
    finally:
        upstream.close()
    text = _generated_text(received.decode(errors="replace"))
    if text is not None:
        store(text)


def _events(stream: str) -> list[Any]:
    """The JSON after each `data:`; None for what is none."""
    events = []
    for line in stream.split("\n"):
        if line.startswith("data:"):
            try:
                events.append(json.loads(line.removeprefix("data:")))
            except ValueError:
                events.append(None)
    return events


def _token_texts(stream: str) -> list[str]:
    return [event["token"]["text"] for event in _events(stream) if event and "token" in event]


def _generated_text(stream: str) -> str | None:
    """The text of the last event, if it was a good one."""
    last = (_events(stream) or [None])[-1]
    text = last.get("generated_text") if isinstance(last, dict) else None
    return text if isinstance(text, str) else None
