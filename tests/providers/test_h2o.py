"""H2o's exchange: against captured answers without any I/O, then over sockets."""

import asyncio
import inspect
import itertools
import json
import re
import threading
import uuid
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qsl

import pytest
import requests
from emulators.chatui import ChatUI
from emulators.loopback import Cut, Reply
from emulators.script import AWKWARD_TOKENS, SLOW_TOKENS, TOKENS, Mode
from emulators.tgi import TGI
from features import emulated, recorded

from providers.h2o import BASE_URL, WIRE_IDS, H2o, _create_completion, params
from router import (
    AsyncRouter,
    AuthError,
    BadRequest,
    Bearer,
    Chunk,
    Cleanup,
    ConfigError,
    ConnectionLost,
    HttpRequest,
    HttpResponse,
    Image,
    Message,
    ModelNotFound,
    Overloaded,
    PermissionDenied,
    ProtocolError,
    RateLimited,
    Router,
    RouterError,
    Secret,
    StreamInterrupted,
    Text,
    UnsupportedParameter,
    UpstreamError,
    provider,
)
from router.messages import check_messages
from router.parameters import read_signature

HELLO = "".join(TOKENS)
QUESTION = [{"role": "user", "content": "Say hello."}]
LOOPBACK = "http://127.0.0.1:13000"
COOKIE = "hf-chat=1b4e28ba; Path=/; Expires=Mon, 22 Nov 2027 07:04:36 GMT; HttpOnly"

ACCEPTED = HttpResponse(200, {"set-cookie": COOKIE}, b'{"type":"redirect","status":303}')
OPENED = HttpResponse(200, {}, b'{"conversationId":"6b029404603339df85197822"}')
LAST_EVENT = b'data:{"token":{"text":"</s>","special":true},"generated_text":"Hi"}\n\n'
STREAM = b'data:{"token":{"text":"Hi"}}\n\n' + LAST_EVENT


def streamed(body=STREAM, status=200, headers=None):
    return HttpResponse(status, headers or {}, body)


class Played:
    """An exchange, played against a list of answers: responses, or errors to be thrown in."""

    def __init__(self, provider, answers, *, model="falcon-7b", messages=QUESTION, **parameters):
        self.requests, self.cleanups, self.text = [], [], ""
        self.finish = self.error = None
        typed = list(check_messages(messages))
        exchange = provider.create_completion(model, typed, True, **parameters)
        try:
            self._play(exchange, list(answers))
        except RouterError as error:
            self.error = error

    def _play(self, exchange, answers):
        bodies = {}
        step = next(exchange, None)
        while step is not None:
            result = None
            match step:
                case str():
                    self.text += step
                case Chunk():
                    self.finish = step.finish_reason or self.finish
                case Cleanup():
                    self.cleanups.append(step.function)
                case HttpRequest():
                    self.requests.append(step)
                    result = answers.pop(0)
                    if step.stream and isinstance(result, HttpResponse) and result.status < 400:
                        bodies[result] = [result.body]
                case HttpResponse():
                    result = bodies[step].pop() if bodies[step] else b""
            try:
                failed = isinstance(result, RouterError)
                step = exchange.throw(result) if failed else exchange.send(result)
            except StopIteration:
                return

    @property
    def sent(self):
        """The requests as a list of their methods and paths."""
        return [f"{r.method} {r.url.removeprefix(LOOPBACK)}" for r in self.requests]


def local(**settings):
    return H2o(base_url=LOOPBACK, **settings)


def captured(shared, directory, name):
    """A captured row and the response that it holds."""
    path = shared / "h2o" / "captures" / directory / "index.jsonl"
    rows = (json.loads(line) for line in path.read_text(encoding="utf-8").splitlines())
    row = next(row for row in rows if row["name"] == name)
    headers = dict(line.split(": ", 1) for line in row["resp_headers"])
    headers = {name.lower(): value for name, value in headers.items()}
    return row, HttpResponse(int(row["status"].split()[1]), headers, row["body"].encode())


def response(shared, directory, name):
    return captured(shared, directory, name)[1]


# -- what is sent


@recorded("h2o", "streaming")
def test_exchange_is_the_captured_one(shared):
    names = ("06b_settings_jsonaccept", "08_conv_ok", "10_msg_ok")
    rows, answers = zip(*(captured(shared, "chatui-v0.3", name) for name in names), strict=True)
    messages = [{"role": "user", "content": "Привет 🙂"}]
    played = Played(local(), answers, model="falcon-40b", messages=messages)
    assert played.text == HELLO
    assert played.finish == "stop"
    settings, conversation, message = played.requests
    assert [(r.method, r.url) for r in played.requests] == [
        ("POST", LOOPBACK + "/settings"),
        ("POST", LOOPBACK + "/conversation"),
        ("POST", LOOPBACK + "/conversation/6b029404603339df85197822"),
    ]
    assert settings.headers["Referer"].startswith(LOOPBACK)
    form = dict(parse_qsl(rows[0]["req_body"], keep_blank_values=True))
    del form["shareConversationsWithModelAuthors"]
    assert settings.form == form
    assert conversation.json == json.loads(rows[1]["req_body"])
    body = json.loads(rows[2]["req_body"])
    assert message.json["inputs"] == body["inputs"]
    assert message.json["parameters"] == body["parameters"] | {"details": True}
    assert message.json["stream"] is body["stream"] is True
    ids = {"id", "response_id"}
    assert all(uuid.UUID(message.json["options"][name]).version == 4 for name in ids)
    assert {**message.json["options"], **dict.fromkeys(ids)} == {
        **body["options"],
        **dict.fromkeys(ids),
    }


def test_only_the_message_takes_the_callers_additions():
    played = Played(local(), [ACCEPTED, OPENED, streamed()])
    assert [r.auxiliary for r in played.requests] == [True, True, False]
    assert [r.stream for r in played.requests] == [False, False, True]
    assert played.cleanups[0]().auxiliary


def test_no_request_asks_for_pages():
    """A browser's Accept makes SvelteKit answer with the page in place of the endpoint."""
    played = Played(local(), [ACCEPTED, OPENED, streamed()])
    assert {r.headers["Accept"] for r in played.requests} == {"*/*"}


@pytest.mark.parametrize("name", WIRE_IDS)
def test_models_go_by_their_wire_ids(name):
    played = Played(local(), [ACCEPTED, OPENED, streamed()], model=name)
    settings, conversation, _ = played.requests
    assert settings.form["activeModel"] == conversation.json["model"] == WIRE_IDS[name]


def test_models_are_the_three_under_two_names():
    assert {model.id: model.aliases for model in H2o().models} == {
        name: (wire_id,) for name, wire_id in WIRE_IDS.items()
    }


def test_other_servers_may_have_other_models():
    assert not H2o().open_models
    assert local().open_models
    played = Played(local(), [ACCEPTED, OPENED, streamed()], model="tiiuae/falcon-180B")
    assert played.requests[1].json == {"model": "tiiuae/falcon-180B"}


def test_conversations_are_shared_with_the_models_authors_only_if_asked():
    field = "shareConversationsWithModelAuthors"
    form = Played(local(), [ACCEPTED, OPENED, streamed()]).requests[0].form
    assert field not in form
    sharing = local(share_conversations=True)
    assert Played(sharing, [ACCEPTED, OPENED, streamed()]).requests[0].form[field] == "true"


@emulated("h2o", "system prompts", "several turns")
def test_whole_history_is_one_prompt():
    messages = [
        {"role": "system", "content": "Be brief."},
        {
            "role": "user",
            "content": [{"type": "text", "text": "Name"}, {"type": "text", "text": "?"}],
        },
        {"role": "assistant", "content": "H2o"},
        {"role": "user", "content": "Age?"},
    ]
    played = Played(local(), [ACCEPTED, OPENED, streamed()], messages=messages)
    assert played.requests[2].json["inputs"] == (
        "system: Be brief.\nuser: Name?\nassistant: H2o\nuser: Age?\nassistant:"
    )


def test_message_with_more_than_text_is_refused_before_anything_is_sent():
    message = Message(
        role="user", content=(Text(text="What is this?"), Image(url="https://x.test"))
    )
    played = Played(local(), [], messages=[*QUESTION, message])
    assert isinstance(played.error, UnsupportedParameter)
    assert "messages[1]" in played.error.message
    assert played.requests == []


DEFAULTS = {
    "temperature": 0.4,
    "truncate": 2048,
    "max_new_tokens": 1024,
    "do_sample": True,
    "repetition_penalty": 1.2,
    "return_full_text": False,
    "details": True,
}


@emulated("h2o", "seed")
@pytest.mark.parametrize(
    ("given", "changes", "absent"),
    [
        ({}, {}, ()),
        ({"temperature": 0}, {"do_sample": False}, ("temperature",)),
        ({"temperature": 0, "top_p": 0.5, "top_k": 5}, {"do_sample": False}, ("temperature",)),
        ({"top_p": 1.0}, {}, ()),
        ({"top_p": 0.9, "top_k": 40, "seed": 7}, {"top_p": 0.9, "top_k": 40, "seed": 7}, ()),
        ({"stop": "\n"}, {"stop": ["\n"]}, ()),
        ({"stop": ["a", "b"]}, {"stop": ["a", "b"]}, ()),
        ({"stop": []}, {}, ()),
        (
            {"truncate": 9, "max_new_tokens": 8, "do_sample": False, "repetition_penalty": 2.0},
            {"truncate": 9, "max_new_tokens": 8, "do_sample": False, "repetition_penalty": 2.0},
            (),
        ),
        ({"return_full_text": True}, {"return_full_text": True}, ()),
    ],
)
def test_parameters_are_sent_as_tgi_takes_them(given, changes, absent):
    played = Played(local(), [ACCEPTED, OPENED, streamed()], **given)
    expected = {k: v for k, v in {**DEFAULTS, **changes}.items() if k not in absent}
    assert played.requests[2].json["parameters"] == expected


@pytest.mark.parametrize(
    ("name", "refused"),
    [
        ("temperature", -0.1),
        ("truncate", 0),
        ("max_new_tokens", 0),
        ("repetition_penalty", 0),
        ("top_p", 0),
        ("top_p", 1.1),
        ("top_k", 0),
        ("seed", -1),
        ("stop", ["a", "b", "c", "d", "e"]),
        ("stop", ""),
    ],
)
def test_values_that_tgi_refuses_are_out_of_bounds(name, refused):
    parameter = read_signature(H2o().create_completion, "providers.h2o")[name]
    assert parameter.check(refused) is not None
    assert parameter.default is None or parameter.check(parameter.default) is None


def test_params_is_the_line_that_users_know():
    assert params.startswith(
        "providers.h2o supports: (model: str, messages: list, stream: bool, temperature: float, "
        "truncate: int, max_new_tokens: int, do_sample: bool, repetition_penalty: float, "
        "return_full_text: bool"
    )


# -- the session


def test_session_keeps_the_last_cookie_of_any_answer():
    second = HttpResponse(200, {"set-cookie": "a=b\nhf-chat=second; Path=/\nc=d"}, OPENED.body)
    third = streamed(headers={"set-cookie": "hf-chat=third"})
    played = Played(local(), [ACCEPTED, second, third])
    cookies = [r.headers.get("Cookie") for r in played.requests]
    assert cookies == [None, Secret("hf-chat=1b4e28ba"), Secret("hf-chat=second")]
    assert played.cleanups[0]().headers["Cookie"] == Secret("hf-chat=third")


def test_every_exchange_has_a_session_of_its_own():
    provider = local()
    for _ in range(2):
        played = Played(provider, [ACCEPTED, OPENED, streamed()])
        assert "Cookie" not in played.requests[0].headers


def test_renamed_cookie_is_kept_by_its_name():
    accepted = HttpResponse(200, {"set-cookie": "hf-chat=a\nmy-chat=b"}, ACCEPTED.body)
    played = Played(local(cookie_name="my-chat"), [accepted, OPENED, streamed()])
    assert played.requests[1].headers["Cookie"] == Secret("my-chat=b")


SECURE = HttpResponse(200, {"set-cookie": f"{COOKIE}; Secure; SameSite=None"}, ACCEPTED.body)


@pytest.mark.parametrize(
    ("base_url", "settings"),
    [
        ("http://127.0.0.1:1", {}),
        ("http://[::1]:1", {}),
        ("http://localhost", {}),
        ("https://chat.test", {}),
        ("http://chat.test", {"allow_insecure_cookie": True}),
    ],
)
def test_secure_cookie_is_sent_where_that_is_safe_or_asked_for(base_url, settings):
    """Cookie jars drop it over plain http, and every call after the consent was a 405."""
    provider = H2o(base_url=base_url, **settings)
    played = Played(provider, [SECURE, OPENED, streamed()])
    assert played.text == "Hi"
    assert played.requests[2].headers["Cookie"] == Secret("hf-chat=1b4e28ba")


@pytest.mark.parametrize(
    ("base_url", "settings"),
    [
        ("http://chat.test", {}),
        ("http://127.0.0.1.test", {}),
        ("http://127.0.0.1:1", {"allow_insecure_cookie": False}),
    ],
)
def test_secure_cookie_is_not_sent_over_plain_http_to_others(base_url, settings):
    played = Played(H2o(base_url=base_url, **settings), [SECURE])
    assert isinstance(played.error, PermissionDenied)
    assert "allow_insecure_cookie" in played.error.message
    assert "1b4e28ba" not in str(played.error)


def test_cookie_that_is_not_secure_is_sent_over_plain_http():
    played = Played(H2o(base_url="http://chat.test"), [ACCEPTED, OPENED, streamed()])
    assert played.text == "Hi"


# -- the terms


def test_consent_told_by_a_redirect_is_one(shared):
    accepted = response(shared, "chatui-v0.3-accept", "30_settings_browser_accept")
    assert Played(local(), [accepted, OPENED, streamed()]).text == "Hi"


def test_consent_goes_in_json_to_the_version_without_a_form(shared):
    names = ("71_settings_form", "72_settings_json", "74_conv_da95", "76_msg_old_h2o_body")
    rows, answers = zip(*(captured(shared, "chatui-v0.7", name) for name in names), strict=True)
    played = Played(local(), answers, model="falcon-40b")
    assert played.text == HELLO
    consent = json.loads(rows[1]["req_body"])
    assert played.requests[1].json == consent | {"shareConversationsWithModelAuthors": False}
    assert played.requests[2].headers["Cookie"].reveal() in str(rows[1]["resp_headers"])


def test_consent_that_failed_is_an_error():
    for body in (b'{"type":"failure","status":400}', b'{"type":"error"}'):
        played = Played(local(), [HttpResponse(200, {}, body)])
        assert isinstance(played.error, ProtocolError)


def test_terms_are_not_accepted_when_told_so():
    played = Played(local(accept_terms=False), [OPENED, streamed()])
    assert played.sent[0] == "POST /conversation"
    assert played.text == "Hi"


def test_terms_that_the_server_insists_on_are_an_error_that_names_the_setting(shared):
    wanted = response(shared, "chatui-v0.3", "02_conv_nocookie_noconsent")
    played = Played(local(accept_terms=False), [wanted])
    assert isinstance(played.error, PermissionDenied)
    assert played.error.code == "terms"
    assert "accept_terms" in played.error.message


# -- a lost session


@pytest.mark.parametrize(
    "name",
    ["12_msg_wrong_session", "12b_msg_other_session_consented", "19e_msg_after_delete"],
)
def test_lost_session_is_begun_anew_once(shared, name):
    lost = response(shared, "chatui-v0.3", name)
    played = Played(local(), [ACCEPTED, OPENED, lost, ACCEPTED, OPENED, streamed()])
    assert played.text == "Hi"
    assert len(played.sent) == 6
    assert "Cookie" not in played.requests[3].headers
    played = Played(local(), [ACCEPTED, OPENED, lost, ACCEPTED, OPENED, lost])
    assert played.error.code in ("session_lost", "terms")
    assert played.error.retryable
    assert played.error.status == lost.status


def test_session_lost_before_the_conversation_is_begun_anew(shared):
    lost = response(shared, "chatui-v0.3", "03_conv_cookie_noconsent")
    played = Played(local(), [ACCEPTED, lost, ACCEPTED, OPENED, streamed()])
    assert played.text == "Hi"


def test_nothing_is_begun_anew_after_the_stream_has_begun():
    error = b'data:{"error":"Conversation not found","error_type":"generation"}\n\n'
    played = Played(local(), [ACCEPTED, OPENED, streamed(error)])
    assert isinstance(played.error, UpstreamError)
    assert len(played.sent) == 3


# -- the conversation is deleted


def test_conversation_is_deleted_whatever_becomes_of_the_answer(shared):
    refused = response(shared, "chatui-v0.3", "13_msg_json429")
    for answer in (streamed(), streamed(b""), refused, ConnectionLost("cut")):
        played = Played(local(), [ACCEPTED, OPENED, answer])
        (cleanup,) = played.cleanups
        request = cleanup()
        assert (request.method, request.url) == (
            "DELETE",
            f"{LOOPBACK}/conversation/6b029404603339df85197822",
        )


def test_conversation_stays_when_told_so():
    assert Played(local(delete_after=False), [ACCEPTED, OPENED, streamed()]).cleanups == []


def test_both_conversations_are_deleted_after_a_lost_session(shared):
    lost = response(shared, "chatui-v0.3", "12b_msg_other_session_consented")
    other = HttpResponse(200, {"set-cookie": "hf-chat=other"}, b'{"conversationId":"b2"}')
    played = Played(local(), [ACCEPTED, OPENED, lost, ACCEPTED, other, streamed()])
    deleted = [cleanup() for cleanup in played.cleanups]
    assert [r.url.rpartition("/")[2] for r in deleted] == ["6b029404603339df85197822", "b2"]
    assert deleted[0].headers["Cookie"] != deleted[1].headers["Cookie"]


# -- refusals

REFUSALS = [
    # Settings.
    ("chatui-v0.3", "04_settings_noreferer", 0, PermissionDenied, "referer"),
    ("chatui-v0.3", "05_settings_badreferer", 0, PermissionDenied, "referer"),
    ("chatui-v0.3-login-required", "51_settings", 0, AuthError, None),
    # The conversation.
    ("chatui-v0.3", "09_conv_unknown_model", 1, UpstreamError, None),
    ("chatui-v0.7", "73_conv_unknown", 1, UpstreamError, None),
    ("chatui-v0.3-login-required", "52_conv", 1, AuthError, None),
    ("chatui-v0.3", "09e_conv_get", 1, ProtocolError, "redirect"),
    ("chatui-v0.3-accept", "39_conv_trailing_slash", 1, ProtocolError, "redirect"),
    ("chatui-v0.3", "21_unknown_route", 1, ProtocolError, None),
    # The message.
    ("chatui-v0.3", "12d_msg_invalid_objectid", 2, UpstreamError, None),
    ("chatui-v0.3", "12e_msg_empty_id", 2, ProtocolError, "redirect"),
    ("chatui-v0.3", "12f_msg_no_options", 2, UpstreamError, None),
    ("chatui-v0.3", "12j_msg_text_plain_noreferer", 2, PermissionDenied, "referer"),
    ("chatui-v0.3-accept", "35_msg_browser_accept", 2, ProtocolError, None),
    ("chatui-v0.3", "13_msg_json422", 2, BadRequest, "validation"),
    ("chatui-v0.3", "13_msg_json429", 2, Overloaded, "overloaded"),
    ("chatui-v0.3", "13_msg_html502", 2, UpstreamError, None),
    ("chatui-v0.6", "62_msg_4", 2, RateLimited, None),
    ("chatui-v0.3-login-required", "53_msg", 2, AuthError, None),
    ("chatui-v0.3-upstream-down", "82_msg_upstream_refused", 2, UpstreamError, None),
]


@recorded("h2o", "errors")
@pytest.mark.parametrize(("directory", "name", "step", "kind", "code"), REFUSALS)
def test_captured_refusal_is_a_typed_error(shared, directory, name, step, kind, code):
    refused = response(shared, directory, name)
    played = Played(local(), [*[ACCEPTED, OPENED][:step], refused])
    assert type(played.error) is kind
    assert (played.error.status, played.error.code) == (refused.status, code)
    assert played.error.retryable is (kind is not BadRequest)
    assert len(played.sent) == step + 1
    assert "<" not in played.error.message


def test_unknown_model_is_guessed_from_the_internal_error(shared):
    """The server says nothing of what it refuses."""
    unknown = response(shared, "chatui-v0.3", "06_settings_unknown_model")
    played = Played(local(), [unknown, unknown], model="no/such")
    assert isinstance(played.error, UpstreamError)
    assert "'no/such'" in played.error.message


def test_model_that_is_gone_is_not_found():
    gone = HttpResponse(410, {}, b'{"message":"Model not available anymore"}')
    played = Played(local(), [ACCEPTED, OPENED, gone])
    assert isinstance(played.error, ModelNotFound)


def test_words_of_a_refusal_are_shown_in_every_shape(shared):
    shapes = {
        ("chatui-v0.3", "13_msg_json422"): "`inputs` must have less than 1024 tokens",
        ("chatui-v0.6", "62_msg_4"): "You are sending too many messages",
        ("chatui-v0.3-login-required", "51_settings"): "You have to be logged in.",
        ("chatui-v0.3-login-required", "52_conv"): "You have to be logged in.",
        ("chatui-v0.3", "13_msg_html502"): "502 Bad Gateway",
        ("chatui-v0.3", "06_settings_unknown_model"): "Internal Error",
    }
    for (directory, name), words in shapes.items():
        refused = response(shared, directory, name)
        assert words in Played(local(), [refused, refused]).error.message


@pytest.mark.parametrize("step", [0, 1, 2])
def test_page_in_place_of_an_answer_is_an_error(step):
    page = HttpResponse(200, {"content-type": "text/html; charset=utf-8"}, b"<html>Log in</html>")
    played = Played(local(), [*[ACCEPTED, OPENED][:step], page])
    assert isinstance(played.error, ProtocolError)
    assert "login" in played.error.message


@pytest.mark.parametrize(
    "body",
    [b"{}", b'{"conversationId":""}', b'{"conversationId":"../x"}', b'{"conversationId":7}', b"[]"],
)
def test_no_url_is_made_of_an_id_that_is_none(body):
    """With an empty one the message went to `/conversation/`, and from there to `/conversation`."""
    played = Played(local(), [ACCEPTED, HttpResponse(200, {}, body)])
    assert isinstance(played.error, ProtocolError)
    assert len(played.sent) == 2


def test_failures_of_the_transport_pass_through():
    lost = ConnectionLost("cut")
    for step in range(3):
        played = Played(local(), [*[ACCEPTED, OPENED][:step], lost])
        assert played.error is lost


# -- a bare TGI, keys, settings


def test_bare_tgi_is_one_request():
    played = Played(local(dialect="tgi"), [streamed()], model="any", max_new_tokens=5)
    (request,) = played.requests
    assert played.text == "Hi"
    assert request.url == f"{LOOPBACK}/generate_stream"
    assert not request.auxiliary
    assert request.json == {
        "inputs": "user: Say hello.\nassistant:",
        "parameters": DEFAULTS | {"max_new_tokens": 5},
        "stream": True,
    }
    assert played.cleanups == []


def test_key_goes_with_every_request(monkeypatch):
    monkeypatch.setenv("H2O_API_KEY", "from-the-environment")
    for key, sent in {
        None: "Bearer from-the-environment",
        "given": "Bearer given",
        Secret("secret"): "Bearer secret",
        Bearer("own", scheme="Key"): "Key own",
    }.items():
        played = Played(local(key=key), [ACCEPTED, OPENED, streamed()])
        for request in [*played.requests, played.cleanups[0]()]:
            assert request.headers["Authorization"].header() == sent
            assert sent not in repr(request.headers)


def test_no_key_is_needed():
    played = Played(local(), [ACCEPTED, OPENED, streamed()])
    assert not any("Authorization" in r.headers for r in played.requests)


def test_referer_may_be_that_of_the_servers_own_address():
    provider = local(referer="https://chat.test/")
    played = Played(provider, [ACCEPTED, OPENED, streamed()])
    assert played.requests[0].headers["Referer"] == "https://chat.test/"


def test_base_url_may_have_a_path():
    provider = H2o(base_url="https://chat.test/ui/")
    played = Played(provider, [ACCEPTED, OPENED, streamed()])
    assert played.requests[0].url == "https://chat.test/ui/settings"
    assert played.requests[0].headers["Referer"] == "https://chat.test/ui/"


def test_default_server_is_the_one_of_old():
    assert H2o().base_url == BASE_URL == "https://gpt-gm.h2o.ai"


@pytest.mark.parametrize(
    "settings",
    [
        {"dialect": "openai"},
        {"base_url": "gpt-gm.h2o.ai"},
        {"base_url": "ftp://chat.test"},
        {"base_url": "https://"},
        {"base_url": "https://user:hidden@chat.test"},
        {"base_url": "https://chat.test/?key=hidden"},
        {"key": ""},
    ],
)
def test_settings_that_cannot_be_used_are_refused(settings):
    with pytest.raises(ConfigError) as caught:
        H2o(**settings)
    assert "hidden" not in str(caught.value)


# -- direct use, over sockets


def ask(server, question="Say hello.", **keywords):
    messages = [{"role": "user", "content": question}]
    return _create_completion(
        model="falcon-7b", messages=messages, stream=True, base_url=server.url, **keywords
    )


@pytest.fixture(params=["v0.3", "v0.6", "v0.7"])
def chat_ui(request):
    with ChatUI(request.param) as server:
        yield server


def test_direct_use_yields_the_tokens(chat_ui):
    assert list(ask(chat_ui)) == list(TOKENS)
    assert chat_ui.conversations == {}
    assert [r.method for r in chat_ui.requests][-1] == "DELETE"


def test_direct_use_takes_the_documented_keywords():
    ids = {"id": str(uuid.uuid4()), "response_id": str(uuid.uuid4())}
    parameters = {
        "temperature": 0.7,
        "truncate": 1024,
        "max_new_tokens": 3,
        "do_sample": False,
        "repetition_penalty": 1.1,
        "return_full_text": True,
    }
    with ChatUI() as server:
        assert "".join(ask(server, **parameters, **ids)) == "Hello from TGI"
        (generation,) = server.generations
    assert generation.parameters == {**parameters, "details": True}
    assert {name: generation.body["options"][name] for name in ids} == ids


def test_direct_use_gives_the_same_without_stream():
    with ChatUI() as server:
        pieces = _create_completion("falcon-7b", QUESTION, False, base_url=server.url)
        assert "".join(pieces) == HELLO


def test_direct_use_delivers_the_tokens_as_they_come(chat_ui):
    chat_ui.script(Mode.OK, hold_after=2)
    pieces = ask(chat_ui)
    assert list(itertools.islice(pieces, 2)) == ["Hello", " from"]
    chat_ui.release()
    assert "".join(pieces) == " TGI. Привет 🙂\nok"


def test_direct_use_decodes_utf8_whatever_the_headers_say():
    """Without a charset requests takes text for ISO-8859-1."""
    with ChatUI() as server:
        server.script(Mode.SPLIT, tokens=AWKWARD_TOKENS)
        assert "".join(ask(server)) == "".join(AWKWARD_TOKENS)


def test_direct_use_reads_a_body_of_known_length():
    headers = (("content-type", "text/event-stream"),)
    with ChatUI() as server:
        server.intercept("POST", "/conversation/.+", Reply(200, headers, STREAM))
        assert list(ask(server)) == ["Hi"]


def test_direct_use_deletes_when_the_caller_stops_early(chat_ui):
    chat_ui.script(Mode.SLOW, hold_after=2)
    with closing(ask(chat_ui)) as pieces:
        assert next(pieces) == SLOW_TOKENS[0]
        assert len(chat_ui.conversations) == 1
    assert chat_ui.conversations == {}


def test_direct_use_closes_its_connections(chat_ui):
    list(ask(chat_ui))
    chat_ui.wait_for(lambda: chat_ui.connections == 0)


@pytest.mark.parametrize(
    ("mode", "status"),
    [
        (Mode.JSON_422, 422),
        (Mode.JSON_424, 424),
        (Mode.JSON_429, 429),
        (Mode.HTML_502, 502),
        (Mode.REFUSED, 500),
    ],
)
def test_direct_use_raises_http_errors_with_the_response(mode, status):
    with ChatUI() as server:
        server.script(mode)
        with pytest.raises(requests.exceptions.HTTPError) as caught:
            list(ask(server))
        assert caught.value.response.status_code == status
        assert server.conversations == {}


@pytest.mark.parametrize("mode", [Mode.FIRST_ERROR, Mode.VALIDATION, Mode.MID_ERROR, Mode.HTML_200])
def test_direct_use_raises_what_is_reported_within_an_answer(mode):
    with ChatUI() as server:
        server.script(mode)
        with pytest.raises(requests.exceptions.RequestException):
            list(ask(server))
        assert server.conversations == {}


@pytest.mark.parametrize(
    "mode", [Mode.TRUNCATED, Mode.TRUNCATED_JSON, Mode.TRUNCATED_CLEAN, Mode.CUT]
)
def test_direct_use_never_passes_off_a_cut_answer_as_a_whole_one(mode):
    with ChatUI() as server:
        server.script(mode)
        pieces = ask(server)
        assert list(itertools.islice(pieces, 3)) == ["Hello", " from", " TGI"]
        with pytest.raises(requests.exceptions.ChunkedEncodingError):
            next(pieces)
        assert server.conversations == {}


def test_direct_use_raises_for_json_that_is_none():
    with ChatUI() as server:
        server.intercept("POST", "/conversation", Reply.text(200, "{", "application/json"))
        with pytest.raises(json.JSONDecodeError):
            list(ask(server))
        stream = Reply.text(200, 'data:{"token":\n\n', "text/event-stream")
        server.intercept("POST", "/conversation/.+", stream)
        with pytest.raises(json.JSONDecodeError):
            list(ask(server))


def test_direct_use_raises_requests_own_errors_for_the_network():
    with ChatUI() as server:
        pass
    with pytest.raises(requests.exceptions.ConnectionError):
        list(ask(server))


@pytest.mark.parametrize(
    "wrong", [{"base_url": "nowhere"}, {"messages": []}, {"messages": [{"role": "user"}]}]
)
def test_direct_use_raises_request_exceptions_for_wrong_calls(wrong):
    call = {"model": "falcon-7b", "messages": QUESTION, "stream": True, **wrong}
    with pytest.raises(requests.exceptions.RequestException):
        list(_create_completion(**call))


def test_direct_use_survives_a_conversation_that_cannot_be_deleted():
    def cut():
        yield b"{"
        raise Cut

    for reply in (Reply(500), Reply(body=cut())):
        with ChatUI() as server:
            server.intercept("DELETE", ".*", reply)
            assert "".join(ask(server)) == HELLO


def test_direct_use_finds_its_cookie_among_others():
    """requests joins the values of one header by commas, and dates hold commas."""
    with ChatUI() as server:

        def with_another(request):
            reply = server.handle(request)
            return replace(reply, headers=(("set-cookie", "lb=1; Path=/"), *reply.headers))

        server.intercept("POST", "/settings", with_another)
        assert "".join(ask(server)) == HELLO
        assert [r.path for r in server.requests].count("/settings") == 1


def test_direct_use_follows_no_redirects():
    with ChatUI() as server:
        server.intercept("POST", "/conversation", Reply(308, (("location", "/elsewhere"),)))
        with pytest.raises(requests.exceptions.HTTPError, match="redirect"):
            list(ask(server))
        assert "/elsewhere" not in [r.path for r in server.requests]


def test_direct_use_trusts_no_proxy_of_the_environment(monkeypatch):
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    with ChatUI() as server:
        assert "".join(ask(server)) == HELLO


def test_direct_use_delivers_the_tokens_of_a_body_without_chunks():
    """As through a proxy that speaks HTTP/1.0: a larger read waits until it is full."""
    received = threading.Event()

    class Old(BaseHTTPRequestHandler):
        def do_POST(self):
            self.rfile.read(int(self.headers["content-length"]))
            self.send_response(200)
            self.end_headers()
            if self.path == "/conversation":
                self.wfile.write(OPENED.body)
            elif self.path != "/settings":
                self.wfile.write(STREAM.removesuffix(LAST_EVENT))
                assert received.wait(10)
                self.wfile.write(LAST_EVENT)

        def do_DELETE(self):
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Old) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            url = f"http://127.0.0.1:{server.server_address[1]}"
            pieces = _create_completion("falcon-7b", QUESTION, True, base_url=url)
            assert next(pieces) == "Hi"
            received.set()
            assert list(pieces) == []
        finally:
            server.shutdown()
            thread.join()


def test_direct_use_begins_anew_when_the_server_forgets_the_session():
    with ChatUI() as server:

        def forget(request):
            server.settings.clear()
            server.conversations.clear()

        server.intercept("POST", "/conversation/.+", forget)
        assert "".join(ask(server)) == HELLO
        assert server.conversations == {}
        assert len(server.generations) == 1


# -- through the routers, over sockets

ROUTERS = pytest.mark.parametrize("router", ["sync", "async"])


def settings_for(server, settings):
    return {"h2o": {"base_url": server.url, **settings}}


def complete(router, server, question="Say hello.", settings=None, **call):
    """A whole completion; what is to be done in the background is done when this returns."""
    call = {"model": "h2o/falcon-7b", "messages": [{"role": "user", "content": question}], **call}
    providers = settings_for(server, settings or {})
    if router == "sync":
        with Router(settings=providers) as r:
            return r.create_completion(**call)

    async def run():
        async with AsyncRouter(settings=providers) as r:
            return await r.create_completion(**call)

    return asyncio.run(run())


def stream(router, server, count=None, settings=None, **call):
    """The first `count` pieces of a stream, closed then, or all of them with the completion."""
    call = {"model": "h2o/falcon-7b", "messages": QUESTION, "stream": True, **call}
    providers = settings_for(server, settings or {})
    pieces = []
    if router == "sync":
        with Router(settings=providers) as r, r.create_completion(**call) as answer:
            pieces += itertools.islice(answer, count)
            return pieces, None if count else answer.completion

    async def run():
        async with (
            AsyncRouter(settings=providers) as r,
            await r.create_completion(**call) as answer,
        ):
            async for text in answer:
                pieces.append(text)
                if len(pieces) == count:
                    return pieces, None
            return pieces, answer.completion

    return asyncio.run(run())


@emulated("h2o", "whole answers")
@ROUTERS
def test_router_gets_a_whole_answer(router, chat_ui):
    answer = complete(router, chat_ui)
    assert answer.text == HELLO
    assert answer.finish_reason == ("other" if chat_ui.dialect == "v0.7" else "stop")
    assert answer.target == "h2o/falcon-7b"
    assert chat_ui.conversations == {}


@ROUTERS
def test_router_streams_the_tokens(router, chat_ui):
    chat_ui.script(Mode.KEEPALIVE)
    pieces, completion = stream(router, chat_ui)
    assert pieces == list(TOKENS)
    assert completion.text == HELLO
    assert chat_ui.conversations == {}


@ROUTERS
def test_router_tells_the_usage(router):
    with ChatUI() as server:
        answer = complete(router, server, max_tokens=3)
    assert answer.text == "Hello from TGI"
    assert answer.finish_reason == "length"
    assert answer.usage.output_tokens == 3
    assert answer.trace.attempts[0].renamed == {"max_tokens": "max_new_tokens"}


@ROUTERS
def test_router_deletes_when_the_caller_stops_early(router, chat_ui):
    chat_ui.script(Mode.SLOW, hold_after=2)
    pieces, _ = stream(router, chat_ui, count=2)
    assert pieces == list(SLOW_TOKENS[:2])
    assert chat_ui.conversations == {}


@ROUTERS
@pytest.mark.parametrize(
    ("mode", "kind", "status"),
    [
        (Mode.JSON_422, BadRequest, 422),
        (Mode.JSON_424, UpstreamError, 424),
        (Mode.JSON_429, Overloaded, 429),
        (Mode.HTML_200, ProtocolError, None),
        (Mode.HTML_502, UpstreamError, 502),
        (Mode.REFUSED, UpstreamError, 500),
        (Mode.FIRST_ERROR, UpstreamError, None),
        (Mode.VALIDATION, BadRequest, None),
        (Mode.OVERLOADED, Overloaded, None),
    ],
)
def test_router_raises_what_the_server_refuses_and_deletes(router, mode, kind, status):
    with ChatUI() as server:
        server.script(mode)
        with pytest.raises(kind) as caught:
            stream(router, server, policy={"retries": 0})
        assert type(caught.value) is kind
        assert caught.value.status == status
        assert caught.value.target == "h2o/falcon-7b"
        assert server.conversations == {}


@ROUTERS
@pytest.mark.parametrize(
    ("mode", "cause"),
    [
        (Mode.MID_ERROR, UpstreamError),
        (Mode.INCOMPLETE, UpstreamError),
        (Mode.TRUNCATED, ConnectionLost),
        (Mode.TRUNCATED_JSON, ConnectionLost),
        (Mode.TRUNCATED_CLEAN, ConnectionLost),
        (Mode.CUT, ConnectionLost),
        (Mode.RESET, ConnectionLost),
    ],
)
def test_router_never_passes_off_a_cut_answer_as_a_whole_one(router, mode, cause):
    with ChatUI() as server:
        server.script(mode)
        with pytest.raises(StreamInterrupted) as caught:
            stream(router, server)
        assert caught.value.partial.text == "Hello from TGI"
        assert type(caught.value.cause) is cause
        assert server.conversations == {}


@ROUTERS
def test_router_takes_every_kind_of_stream(router):
    with ChatUI() as server:
        for mode in (Mode.SPACE, Mode.NEWER, Mode.SPLIT, Mode.CRLF, Mode.EMPTY_TOKENS, Mode.LENGTH):
            server.script(mode)
            assert complete(router, server).text == HELLO
        server.script(Mode.AWKWARD)
        assert complete(router, server).text == "".join(AWKWARD_TOKENS)
        server.script(Mode.PLAIN_EOS)
        answer = complete(router, server)
    assert (answer.text, answer.finish_reason) == (HELLO, "stop")


@ROUTERS
def test_router_talks_to_a_bare_tgi(router):
    with TGI(token="hf-token") as server:
        settings = {"dialect": "tgi", "key": "hf-token"}
        pieces, completion = stream(router, server, settings=settings, temperature=0, top_p=1.0)
        assert pieces == list(TOKENS)
        assert completion.finish_reason == "stop"
        with pytest.raises(AuthError) as caught:
            complete(router, server, settings={"dialect": "tgi", "key": "other-token"})
        assert "other-token" not in str(caught.value)
    parameters = server.generations[0].parameters
    assert parameters["do_sample"] is False
    assert parameters.keys().isdisjoint({"temperature", "top_p"})


@emulated("h2o", "stop")
@ROUTERS
def test_router_ends_an_answer_at_a_stop_sequence(router, chat_ui):
    """TGI sends the sequence itself, 0.7 does not even know of it."""
    answer = complete(router, chat_ui, stop=[". При"])
    assert (answer.text, answer.finish_reason) == ("Hello from TGI", "stop")


@ROUTERS
def test_router_adds_what_the_caller_gives_to_the_message_alone(router):
    extra = {"extra_body": {"parameters": {"watermark": True}}, "extra_headers": {"X-Team": "sea"}}
    with ChatUI() as server:
        complete(router, server, **extra)
        told = {r.path.split("/")[1:2][0]: r.headers.get("X-Team") for r in server.requests[:2]}
        message = server.requests[2]
    assert told == {"settings": None, "conversation": None}
    assert message.headers["X-Team"] == "sea"
    assert message.json()["parameters"]["watermark"] is True
    assert message.json()["parameters"]["max_new_tokens"] == 1024


@ROUTERS
def test_router_finds_the_terms_unaccepted(router):
    with ChatUI() as server, pytest.raises(PermissionDenied, match="accept_terms"):
        complete(router, server, settings={"accept_terms": False})


@ROUTERS
def test_router_begins_a_lost_session_anew(router):
    with ChatUI() as server:
        server.intercept("POST", "/conversation/.+", lambda _: server.settings.clear())
        answer = complete(router, server)
        assert answer.text == HELLO
        assert len(answer.trace.attempts) == 1
        assert [r.path for r in server.requests].count("/settings") == 2


@ROUTERS
def test_router_knows_a_renamed_cookie(router):
    with ChatUI(cookie_name="my-chat") as server:
        assert complete(router, server, settings={"cookie_name": "my-chat"}).text == HELLO
        with pytest.raises(PermissionDenied, match="cookie_name"):
            complete(router, server)


def test_picture_goes_to_the_next_target():
    @provider("eyes", models=["one"])
    def eyes(model, messages, stream):
        yield "a wave"

    picture = {"type": "image_url", "image_url": {"url": "https://x.test/wave.png"}}
    messages = [{"role": "user", "content": [picture]}]
    with ChatUI() as server, Router(plugins=[eyes], settings=settings_for(server, {})) as r:
        answer = r.create_completion(["h2o/falcon-7b", "eyes/one"], messages)
        assert answer.text == "a wave"
        assert server.requests == []


def test_concurrent_calls_have_conversations_of_their_own():
    with ChatUI() as server, Router(settings=settings_for(server, {})) as r:

        def ask_router(number):
            messages = [{"role": "user", "content": f"question {number}"}]
            return r.create_completion("h2o/falcon-7b", messages).text

        with ThreadPoolExecutor(8) as pool:
            assert list(pool.map(ask_router, range(16))) == [HELLO] * 16
        r.close()
        assert server.conversations == {}
        assert len(server.settings) == 16


# -- the documentation

PAGE = Path(__file__).parents[2] / "docs" / "h2o.md"


def test_page_has_every_setting_parameter_and_model():
    page = PAGE.read_text()
    settings = list(inspect.signature(H2o).parameters)
    parameters = [each.name for each in read_signature(H2o().create_completion, "providers.h2o")]
    rows = re.findall(r"^\| `(?:h2o/)?([\w-]+)` \|", page, re.MULTILINE)
    assert rows == [*settings, *WIRE_IDS, *parameters]
