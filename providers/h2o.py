"""H2o: chat-ui as it was in mid-2023, its successor in JSON lines, and a bare TGI.

A message to a chat-ui is four requests and a fifth when all is over:

    POST /settings             the terms are accepted           a cookie that is the session
    POST /conversation         the model                        {"conversationId": "<id>"}
    POST /conversation/<id>    the prompt and the parameters    the stream of the answer
    DELETE /conversation/<id>  whatever became of the answer

Up to version 0.6 the stream is that of the text-generation-inference (TGI) behind it, byte for
byte: server-sent events, one a token, the last with the generated text. Version 0.7 sends lines of
JSON in its place. A bare TGI is one request, `POST /generate_stream`, with the same events.
"""

from __future__ import annotations

import ipaddress
import json
import os
import re
from collections.abc import Generator, Iterator, Sequence
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeAlias, get_args
from urllib.parse import urlsplit

from msgspec import Meta, Struct

from providers.h2o_direct import Wire
from providers.h2o_refusals import SESSION_LOST, TERMS, check
from providers.h2o_stream import Answer, read
from router import (
    FEATURE,
    TUNING,
    Bearer,
    Cleanup,
    ConfigError,
    Exchange,
    HttpRequest,
    HttpResponse,
    Message,
    Model,
    PermissionDenied,
    ProtocolError,
    RouterError,
    Secret,
    Text,
    UnsupportedParameter,
    UpstreamError,
    WireProvider,
)
from router.messages import check_messages
from router.parameters import read_signature

if TYPE_CHECKING:
    pass

BASE_URL = "https://gpt-gm.h2o.ai"
"""Where the models were served until October 2023. Nothing answers there any more."""

KEY_VARIABLE = "H2O_API_KEY"

WIRE_IDS = {
    "falcon-40b": "h2oai/h2ogpt-gm-oasst1-en-2048-falcon-40b-v1",
    "falcon-7b": "h2oai/h2ogpt-gm-oasst1-en-2048-falcon-7b-v3",
    "llama-13b": "h2oai/h2ogpt-gm-oasst1-en-2048-open-llama-13b",
}

Dialect = Literal["chat-ui", "tgi"]

# -- what a call takes; a default of None is not sent

Temperature = Annotated[
    float, TUNING, Meta(ge=0, description="0 takes the likeliest token each time")
]
Truncate = Annotated[
    int, TUNING, Meta(ge=1, description="the last tokens of the prompt that are kept")
]
MaxNewTokens = Annotated[int, FEATURE, Meta(ge=1, description="the longest answer, in tokens")]
DoSample = Annotated[bool, TUNING, Meta(description="draw tokens instead of taking the likeliest")]
RepetitionPenalty = Annotated[
    float, TUNING, Meta(gt=0, description="1 is none, above it repetition gets rarer")
]
ReturnFullText = Annotated[
    bool,
    FEATURE,
    Meta(description="put the prompt before TGI's generated_text, never before tokens"),
]
TopP = Annotated[
    float | None, TUNING, Meta(gt=0, le=1, description="the share of likely tokens kept")
]
TopK = Annotated[int | None, TUNING, Meta(ge=1, description="how many likely tokens are kept")]
Seed = Annotated[int | None, TUNING, Meta(ge=0, description="makes drawing repeatable")]
StopText = Annotated[str, Meta(min_length=1)]
Stop = Annotated[
    StopText | Annotated[list[StopText], Meta(max_length=4)] | None,
    FEATURE,
    Meta(description="up to four strings that end the answer and are left out of it"),
]

Asking: TypeAlias = Generator[Any, Any, HttpResponse]


class Consent(Struct):
    """What a form action answers to those who take JSON."""

    type: str = ""


class Opened(Struct, rename="camel"):
    """The answer to `POST /conversation`."""

    conversation_id: str = ""


class Session:
    """A visitor's cookie, kept by hand for one exchange.

    HTTP clients drop a `Secure` cookie over plain http without a word, and the consent with it.
    """

    def __init__(self, name: str, *, secure: bool) -> None:
        self._name = name
        self._secure = secure
        self.cookie: Secret | None = None

    def receive(self, response: HttpResponse) -> None:
        """Take the cookie of a response, if it sets one.

        Raises:
            PermissionDenied: It must not be sent over this connection.
        """
        for line in response.headers.get("set-cookie", "").split("\n"):
            pair, *attributes = (part.strip() for part in line.split(";"))
            if pair.partition("=")[0] != self._name:
                continue
            if not self._secure and "secure" in (attribute.lower() for attribute in attributes):
                raise PermissionDenied(
                    "the session's cookie is Secure and base_url is plain http: use https, or "
                    "set allow_insecure_cookie where the network is trusted",
                    code="insecure_cookie",
                )
            self.cookie = Secret(pair, "the session's cookie")


class H2o(WireProvider):
    """The three models that gpt-gm.h2o.ai served, or those of any chat-ui up to 0.7 or TGI.

    Every exchange has a session of its own. Keeping one would save the first request, tie the
    prompts of an application's users to each other on the server, and be shared by threads.

    Args:
        base_url: The server, with or without a path; the default is defunct.
        dialect: `chat-ui` (its newer lines of JSON are recognised), or `tgi` for a bare
            text-generation-inference, which serves one model whatever its name.
        key: Sent as `Authorization: Bearer`, for a TGI or a proxy that asks for it; by default
            what the environment's H2O_API_KEY holds, or none.
        cookie_name: The session's cookie, where a deployment has renamed it.
        accept_terms: Whether the server's terms are accepted in the caller's name. Most refuse
            to talk otherwise.
        share_conversations: Whether the server may pass conversations on to the models' authors.
        delete_after: Whether the conversation is deleted when the exchange has ended.
        allow_insecure_cookie: Whether a `Secure` cookie is sent over plain http; by default to
            loopback alone.
        referer: A page of the server's own origin, where a proxy gives it another than that of
            `base_url`.

    Raises:
        ConfigError: A setting has a value that cannot be used.
    """

    name = "h2o"
    models = tuple(
        Model(id=name, aliases=(wire_id,), inputs=("text",)) for name, wire_id in WIRE_IDS.items()
    )

    def __init__(
        self,
        *,
        base_url: str = BASE_URL,
        dialect: Dialect = "chat-ui",
        key: str | Secret | None = None,
        cookie_name: str = "hf-chat",
        accept_terms: bool = True,
        share_conversations: bool = False,
        delete_after: bool = True,
        allow_insecure_cookie: bool | None = None,
        referer: str | None = None,
    ) -> None:
        if dialect not in get_args(Dialect):
            raise ConfigError(f"h2o: dialect is one of {', '.join(get_args(Dialect))}")
        scheme, host = _check_url(base_url)
        if allow_insecure_cookie is None:
            allow_insecure_cookie = _is_loopback(host)
        self.base_url = base_url.rstrip("/")
        self.open_models = self.base_url != BASE_URL
        self._dialect = dialect
        self._bearer = None if key is None else _bearer(key)
        self._cookie_name = cookie_name
        self._accept_terms = accept_terms
        self._share_conversations = share_conversations
        self._delete_after = delete_after
        self._secure = scheme == "https" or allow_insecure_cookie
        self._referer = referer or f"{self.base_url}/"

    def create_completion(
        self,
        model: str,
        messages: list[Message],
        stream: bool,
        *,
        temperature: Temperature = 0.4,
        truncate: Truncate = 2048,
        max_new_tokens: MaxNewTokens = 1024,
        do_sample: DoSample = True,
        repetition_penalty: RepetitionPenalty = 1.2,
        return_full_text: ReturnFullText = False,
        top_p: TopP = None,
        top_k: TopK = None,
        seed: Seed = None,
        stop: Stop = None,
    ) -> Exchange:
        """Yield the steps of one exchange and the pieces of its answer.

        The stream is the same whether or not the caller wants one. Version 0.7 of chat-ui takes
        the parameters from its own configuration; `stop` holds there too, since the answer is
        cut here.

        Raises:
            RouterError: The server refused or failed; docs/h2o.md lists what becomes of each of
                its answers.
        """
        inputs = _render(messages)
        stops = [stop] if isinstance(stop, str) else stop or []
        parameters = {
            **_sampling(temperature, top_p, top_k, do_sample=do_sample),
            "truncate": truncate,
            "max_new_tokens": max_new_tokens,
            "repetition_penalty": repetition_penalty,
            "return_full_text": return_full_text,
            "seed": seed,
            "stop": stops or None,
            "details": True,  # of the last event: the finish reason, the number of tokens
        }
        body = {
            "inputs": inputs,
            "parameters": {name: value for name, value in parameters.items() if value is not None},
            "stream": True,
        }
        if self._dialect == "tgi":
            response = yield self._request("POST", "/generate_stream", json=body, stream=True)
            check(response)
        else:
            response = yield from self._converse(WIRE_IDS.get(model, model), body)
        yield from read(response, Answer(inputs, stops, max_new_tokens))

    def _converse(self, model: str, body: dict[str, Any]) -> Asking:
        """The response to a message in a conversation of its own.

        A session that the server has lost on the way is begun anew, once: nothing has been
        generated then.
        """
        options = {
            "id": self.new_id(),
            "response_id": self.new_id(),
            "is_retry": False,
            "use_cache": False,
            "web_search_id": "",
        }
        body = {**body, "options": options}
        try:
            return (yield from self._deliver(model, body))
        except (PermissionDenied, UpstreamError) as error:
            lost = error.code == SESSION_LOST or (error.code == TERMS and self._accept_terms)
            if not lost:
                raise
        return (yield from self._deliver(model, body))

    def _deliver(self, model: str, body: dict[str, Any]) -> Asking:
        session = Session(self._cookie_name, secure=self._secure)
        unknown = f"(most likely the server does not know the model {model!r})"
        if self._accept_terms:
            yield from self._accept(session, model, unknown)
        response = yield from self._ask(
            session, "POST", "/conversation", json={"model": model}, auxiliary=True
        )
        check(response, unknown)
        path = f"/conversation/{_conversation_id(response)}"
        if self._delete_after:
            yield Cleanup(lambda: self._request("DELETE", path, session, auxiliary=True))
        response = yield from self._ask(session, "POST", path, json=body, stream=True)
        check(response, "(most likely what serves the model does not answer)")
        return response

    def _accept(self, session: Session, model: str, hint: str) -> Generator[Any, Any, None]:
        form = {
            "ethicsModalAccepted": "true",
            "ethicsModalAcceptedAt": "",
            "activeModel": model,
            "searchEnabled": "true",
        }
        if self._share_conversations:
            # Left out it is a no to all of 0.3 to 0.6; "false" is a yes to some, "" fails in 0.6.
            form["shareConversationsWithModelAuthors"] = "true"
        response = yield from self._ask(session, "POST", "/settings", form=form, auxiliary=True)
        if response.status == 500:
            settings = {
                "ethicsModalAccepted": True,
                "shareConversationsWithModelAuthors": self._share_conversations,
                "activeModel": model,
            }
            # 0.7 takes no form. An earlier one that does not know the model fails once more.
            response = yield from self._ask(
                session, "POST", "/settings", json=settings, auxiliary=True
            )
        if response.status in (302, 303):
            return
        check(response, hint)
        if response.body.strip() and response.json(Consent).type not in ("redirect", "success"):
            raise ProtocolError(f"the terms were not accepted: {response.excerpt}")

    def _ask(self, session: Session, method: str, path: str, **body: Any) -> Asking:
        response: HttpResponse = yield self._request(method, path, session, **body)
        session.receive(response)
        return response

    def _request(
        self, method: str, path: str, session: Session | None = None, **body: Any
    ) -> HttpRequest:
        # A browser's Accept would get pages; a form without a Referer is refused.
        headers: dict[str, str | Secret] = {"Accept": "*/*", "Referer": self._referer}
        key = self._bearer or os.environ.get(KEY_VARIABLE)
        if key:
            headers["Authorization"] = _bearer(key)
        if session is not None and session.cookie is not None:
            headers["Cookie"] = session.cookie
        return HttpRequest(method, self.base_url + path, headers, **body)


def _check_url(url: str) -> tuple[str, str]:
    """The scheme and the host of a server's URL."""
    parts = urlsplit(url)
    if (
        parts.scheme not in ("http", "https")
        or not parts.hostname
        or parts.username is not None
        or parts.query
        or parts.fragment
    ):
        raise ConfigError("h2o: base_url is http or https with a host, and at most a path")
    return parts.scheme, parts.hostname


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _bearer(key: str | Secret) -> Bearer:
    if isinstance(key, Bearer):
        return key
    return Bearer(key.reveal() if isinstance(key, Secret) else key, "the key of h2o")


def _render(messages: Sequence[Message]) -> str:
    """The prompt: a line for each message, and the assistant's to be written.

    So the captured servers were asked, and so one message and a transcript have one form. The
    server puts the model's own template around it.

    Raises:
        UnsupportedParameter: A message holds more than text.
    """
    for index, message in enumerate(messages):
        parts = () if isinstance(message.content, str) else message.content
        if not all(isinstance(part, Text) for part in parts):
            raise UnsupportedParameter(f"messages[{index}]: these models take text alone")
    lines = [f"{message.role}: {message.text}\n" for message in messages]
    return "".join([*lines, "assistant:"])


def _sampling(
    temperature: float, top_p: float | None, top_k: int | None, *, do_sample: bool
) -> dict[str, Any]:
    """The parameters for drawing tokens; what is `None` is not sent."""
    if temperature == 0:
        # TGI refuses a temperature of 0, and draws whenever top_p or top_k are there.
        return {"do_sample": False}
    return {
        "temperature": temperature,
        "do_sample": do_sample,
        "top_p": None if top_p == 1 else top_p,  # TGI refuses 1, which is all tokens
        "top_k": top_k,
    }


def _conversation_id(response: HttpResponse) -> str:
    identifier: str = response.json(Opened).conversation_id
    # An empty one would make the message a request to `/conversation/`, which is redirected.
    if not re.fullmatch(r"[0-9A-Za-z_-]+", identifier):
        raise ProtocolError(f"no conversation id in the answer: {response.excerpt}")
    return identifier


# -- direct use

params = str(read_signature(H2o().create_completion, "providers.h2o"))
"""What the provider takes, on one line."""


def _create_completion(
    model: str,
    messages: list[dict[str, Any]],
    stream: bool,
    *,
    id: str | None = None,
    response_id: str | None = None,
    base_url: str = BASE_URL,
    **parameters: Any,
) -> Iterator[str]:
    """Yield the text of an answer piece by piece, over requests and without a router.

    The conversation is deleted at the end, also when the caller stops early.

    Args:
        model: A name or wire id, as for the router.
        messages: Dicts with `role` and `content`.
        stream: Changes nothing: the text always comes in pieces.
        id: A UUID for the message; a new one by default.
        response_id: A UUID for the answer; a new one by default.
        base_url: The server.
        parameters: Those of `H2o.create_completion`.

    Raises:
        requests.exceptions.HTTPError: The server refused; `response` is its answer.
        requests.exceptions.ChunkedEncodingError: The answer ended before its last event.
        requests.exceptions.RequestException: All else that goes wrong on the way.
        json.JSONDecodeError: An answer holds what is no JSON.
    """
    from requests.exceptions import HTTPError, RequestException

    wire = Wire()
    try:
        provider = H2o(base_url=base_url)
        ids = [response_id or provider.new_id(), id or provider.new_id()]
        provider.new_id = ids.pop
        checked = list(check_messages(messages))
        exchange = provider.create_completion(model, checked, stream, **parameters)
        yield from wire.run(exchange)
    except RouterError as error:
        if error.code == "malformed_json":
            raise json.JSONDecodeError(error.message, "", 0) from error
        kind = RequestException if error.status is None else HTTPError
        raise kind(error.message, response=wire.response) from error
    finally:
        wire.close()
