"""The emulator against what was captured from unmodified chat-ui, and its own switches."""

import http.client
import json
import re
import socket
import threading
from contextlib import closing, nullcontext
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from uuid import uuid4

import pytest
import requests
import urllib3.exceptions
from emulators.chatui import MODELS, ChatUI
from emulators.loopback import Reply
from emulators.script import AWKWARD_TOKENS, SLOW_TOKENS, TOKENS, Mode, Script
from emulators.sveltekit import negotiate
from emulators.tgi import TGI, Upstream
from emulators.validation import Limits
from hypothesis import given
from hypothesis import strategies as st

MODEL = next(iter(MODELS))
JSON = {"Content-Type": "application/json"}

# Captured exchanges that the emulator does not answer alike, and why that is so.
NOT_EMULATED = {
    "42_summarize": "the title by a second model",
    "43_prompt": "the page that shows a stored prompt",
    "20_form_conversations_delete": "deletes all conversations",
}
# Headers that say nothing of chat-ui: time and connection, the names of built files, and the
# server that stood in for TGI when this was captured.
UNEQUAL_HEADERS = {"date", "connection", "etag", "link", "server", "keep-alive"}


@dataclass
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes
    complete: bool


@dataclass
class Replay:
    """Sends captured requests, and compares the answers after names of the one side have been
    replaced by those of the other."""

    server: ChatUI
    captured_host: str
    # Captured cookie or conversation id -> ours.
    ours: dict[str, str] = field(default_factory=dict)

    def translate(self, text: str) -> str:
        text = text.replace(self.captured_host, f"127.0.0.1:{self.server.port}")
        for captured, own in self.ours.items():
            text = text.replace(captured, own)
        return text

    def connect(self, row):
        connection = http.client.HTTPConnection("127.0.0.1", self.server.port, timeout=10)
        path = self.translate(row["path"])
        connection.putrequest(row["method"], path, skip_host=True, skip_accept_encoding=True)
        body = self.translate(row["req_body"]).encode()
        headers = {name: value for name, value in row["req_headers"].items() if value is not None}
        if body:
            headers["Content-Length"] = str(len(body))
        for name, value in headers.items():
            connection.putheader(name, self.translate(value))
        connection.endheaders(body)
        return connection, connection.getresponse()

    def send(self, row) -> Answer:
        connection, response = self.connect(row)
        with closing(connection):
            if "finalAnswer" in row["body"]:
                return self.read_left_open(row, connection, response)
            try:
                body, complete = response.read(), True
            except http.client.IncompleteRead as error:
                body, complete = error.partial, False
            return Answer(response.status, headers_of(response), body, complete)

    def read_left_open(self, row, connection, response) -> Answer:
        body = response.read(len(row["body"].encode()))
        response.fp.raw._sock.settimeout(0.05)
        with pytest.raises(TimeoutError):
            response.read(1)
        return Answer(response.status, headers_of(response), body, False)

    def check(self, row) -> None:
        answer = self.send(row)
        captured = captured_headers(row)
        self.learn(row, captured, answer)
        assert answer.status == int(row["status"].split()[1])
        assert comparable(answer.headers, answer.headers) == comparable(
            {name: self.translate(value) for name, value in captured.items()}, captured
        )
        if captured.get("content-type", "").startswith("text/html") and answer.status != 502:
            assert answer.body.startswith(b"<!DOCTYPE html>")
        else:
            assert answer.body.decode() == self.translate(row["body"])
        assert answer.complete is (row["chunk_terminated"] is not False)

    def learn(self, row, captured, answer) -> None:
        """Takes note of the names that either side has made up."""
        if "set-cookie" in captured and row["req_headers"].get("Cookie") is None:
            self.ours[session(captured)] = session(answer.headers)
        if row["body"].startswith('{"conversationId"'):
            id = json.loads(answer.body)["conversationId"]
            assert re.fullmatch("[0-9a-f]{24}", id)
            self.ours[json.loads(row["body"])["conversationId"]] = id
        if row["body"].startswith('{"url"'):
            self.ours[row["body"][-9:-2]] = json.loads(answer.body)["url"][-7:]


def headers_of(response) -> dict[str, str]:
    return {name.lower(): value for name, value in response.getheaders()}


def captured_headers(row) -> dict[str, str]:
    pairs = (line.partition(": ") for line in row["resp_headers"])
    return {name.lower(): value for name, _, value in pairs}


def session(headers: dict[str, str]) -> str:
    return headers["set-cookie"].partition("=")[2].partition(";")[0]


def comparable(headers, dated):
    """Headers without those that differ; the cookie's expiry as days from the answer's date."""
    kept = {name: value for name, value in headers.items() if name not in UNEQUAL_HEADERS}
    if kept.get("content-type") == "text/html" and "x-sveltekit-page" in kept:
        del kept["content-length"]
    if "set-cookie" in kept:
        expires = re.search("Expires=([^;]+)", headers["set-cookie"])[1]
        life = parsedate_to_datetime(expires) - parsedate_to_datetime(dated["date"])
        days = round(life.total_seconds() / 86400)
        kept["set-cookie"] = kept["set-cookie"].replace(expires, f"{days} days")
    return kept


def captured_messages(row):
    """The messages in a captured `__data.json`, which flattens its values into one list."""
    flat = json.loads(row["body"])["nodes"][1]["data"]

    def value(place):
        kept = flat[place]
        if isinstance(kept, dict):
            return {name: value(at) for name, at in kept.items()}
        return [value(at) for at in kept] if isinstance(kept, list) else kept

    return [(m["from"], m["content"], m["id"]) for m in value(0)["messages"]]


def stored(server, id):
    return [(m.sender, m.content, m.id) for m in server.conversations[id].messages]


def rows_of(shared, name):
    path = shared / "h2o" / "captures" / name / "index.jsonl"
    if not path.is_file():
        pytest.skip(f"no capture {name}")
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def check_stored(replay, row) -> None:
    id = replay.translate(row["path"].split("/")[2])
    assert stored(replay.server, id) == captured_messages(row)


def check_all(server, rows) -> None:
    replay = Replay(server, rows[0]["req_headers"]["Host"])
    for row in rows:
        if row["path"].endswith("/__data.json"):
            check_stored(replay, row)
        elif row["name"] not in NOT_EMULATED:
            replay.check(row)


CAPTURES = {
    "chatui-v0.3-accept": {},
    "chatui-v0.3-extra": {},
    "chatui-v0.3-login-required": {"login_required": True},
    "chatui-v0.6": {"dialect": "v0.6", "rate_limit": 3},
    "chatui-v0.7": {"dialect": "v0.7"},
}


@pytest.mark.parametrize("name", CAPTURES)
def test_captured_exchanges_are_answered_alike(shared, name):
    with ChatUI(**CAPTURES[name]) as server:
        check_all(server, rows_of(shared, name))


def test_captured_exchanges_of_v03_are_answered_alike(shared):
    """All but the two that depend on when the client leaves or stops, which the next tests send."""
    rows = rows_of(shared, "chatui-v0.3")
    apart = ("17", "18_", "18b", "18c")
    with ChatUI() as server:
        check_all(server, [row for row in rows if not row["name"].startswith(apart)])


def test_captured_refusal_of_the_upstream_is_answered_alike(shared):
    with ChatUI() as server:
        server.script(Mode.REFUSED)
        check_all(server, rows_of(shared, "chatui-v0.3-upstream-down"))


def prepared(rows, server):
    """A replay with the session and the conversations of the rows, all made anew."""
    replay = Replay(server, rows[0]["req_headers"]["Host"])
    for row in rows:
        if row["name"] in ("01_get_root", "07_settings_ok") or row["name"].startswith("08"):
            replay.check(row)
    return replay, {row["name"]: row for row in rows}


def test_captured_disconnect_leaves_the_whole_answer_stored(shared):
    with ChatUI() as server:
        replay, rows = prepared(rows_of(shared, "chatui-v0.3"), server)
        server.script(Mode.SLOW, hold_after=7)
        connection, response = replay.connect(rows["17_disconnect"])
        with closing(connection):
            body = response.read(len(rows["17_disconnect"]["body"]))
        assert body.decode() == rows["17_disconnect"]["body"]
        server.release()
        id = replay.translate(rows["17_disconnect"]["path"].split("/")[2])
        server.wait_for(lambda: server.conversations[id].messages)
        check_stored(replay, rows["17b_after_disconnect"])
        assert server.generations[-1].sent == len(SLOW_TOKENS) + 1


def test_captured_stop_cuts_the_stream_and_stores_what_came(shared):
    with ChatUI() as server:
        replay, rows = prepared(rows_of(shared, "chatui-v0.3"), server)
        row = rows["18_stream_being_stopped"]
        server.script(Mode.SLOW, hold_after=18)
        connection, response = replay.connect(row)
        with closing(connection):
            assert response.read(len(row["body"])).decode() == row["body"]
            replay.check(rows["18b_stop_generating"])
            with pytest.raises(http.client.IncompleteRead) as cut:
                response.read()
        assert cut.value.partial == b""
        check_stored(replay, rows["18c_after_stop"])


@dataclass
class Visitor:
    """A client that keeps its cookie by hand, since it is marked Secure."""

    server: ChatUI
    cookie: str = field(default_factory=lambda: f"hf-chat={uuid4()}")

    def request(self, method, path, **how):
        headers = {"Cookie": self.cookie} | how.pop("headers", {})
        return requests.request(
            method,
            self.server.url + path,
            headers=headers,
            timeout=10,
            allow_redirects=False,
            **how,
        )

    def accept_terms(self):
        referer = {"Referer": f"{self.server.url}/"}
        if self.server.dialect == "v0.7":
            return self.request("POST", "/settings", json={"ethicsModalAccepted": True})
        form = {"ethicsModalAccepted": "true", "activeModel": MODEL}
        return self.request("POST", "/settings", data=form, headers=referer)

    def converse(self, **body):
        """The id of a new conversation."""
        return self.request("POST", "/conversation", json={"model": MODEL} | body).json()[
            "conversationId"
        ]

    def say(self, id, text="hello", *, parameters=None, stream=False, headers=None, **options):
        body = {"inputs": text, "options": options, "stream": True}
        if parameters is not None:
            body["parameters"] = parameters
        path = f"/conversation/{id}"
        return self.request("POST", path, json=body, stream=stream, headers=headers or {})


def visitor(server, **how):
    someone = Visitor(server, **how)
    assert someone.accept_terms().status_code == 200
    return someone


def ask(server, mode=Mode.OK, parameters=None, **how):
    """One message in a conversation of its own: the whole response."""
    someone = visitor(server)
    server.script(mode, **how)
    return someone.say(someone.converse(), parameters=parameters)


def events(body):
    lines = body.replace(b"\r\n", b"\n").split(b"\n")
    return [json.loads(line[5:]) for line in lines if line.startswith(b"data:")]


def visible(body):
    return "".join(e["token"]["text"] for e in events(body) if not e["token"]["special"])


def updates_of(server, mode=Mode.OK, text="hello", **how):
    """The lines of v0.7 up to the final answer."""
    someone = visitor(server)
    server.script(mode, **how)
    with someone.say(someone.converse(), text, stream=True) as response:
        lines = []
        for line in response.iter_lines():
            lines.append(json.loads(line))
            if lines[-1]["type"] == "finalAnswer":
                return lines
    raise AssertionError("no final answer")


@pytest.mark.parametrize(
    ("mode", "shape"),
    [
        (Mode.OK, rb'(data:\{"token".*\}\n\n){9}'),
        (Mode.SPACE, rb'(data: \{"token".*\}\n\n){9}'),
        (Mode.NEWER, rb'(data: \{"index":\d,.*"logprob":null.*"top_tokens":\[.*\}\n\n){9}'),
        (Mode.SPLIT, rb'(data:\{"token".*\}\n\n){9}'),
        (Mode.KEEPALIVE, rb'(:\n\ndata:\{"token".*\}\n\n){9}'),
        (Mode.CRLF, rb'(data:\{"token".*\}\r\n\r\n){9}'),
        (Mode.EMPTY_TOKENS, rb'(data:\{"token".*\}\n\n){17}'),
        (Mode.LENGTH, rb'(data:\{"token".*\}\n\n){8}'),
    ],
)
def test_modes_shape_the_stream_and_keep_its_text(mode, shape):
    with ChatUI() as server:
        body = ask(server, mode).content
        assert re.fullmatch(shape, body)
        assert visible(body) == "".join(TOKENS) == events(body)[-1]["generated_text"]
        server.wait_for(lambda: server.generations[-1].state == "finished")


def test_awkward_tokens_arrive_one_event_a_line():
    with ChatUI() as server:
        body = ask(server, Mode.AWKWARD).content
    assert [event["token"]["text"] for event in events(body)[:-1]] == list(AWKWARD_TOKENS)
    assert "\u2028" in body.decode()


@given(
    tokens=st.lists(st.text()),
    mode=st.sampled_from([Mode.OK, Mode.SPACE, Mode.NEWER, Mode.SPLIT, Mode.KEEPALIVE, Mode.CRLF]),
)
def test_any_tokens_come_back_as_they_are(tokens, mode):
    upstream = Upstream(threading.Event(), threading.Condition(), TOKENS, Limits())
    upstream.scripts.append(Script(mode, tokens))
    body = {"inputs": "x", "parameters": {"max_new_tokens": 8000}}
    _, reply = upstream.generate("/generate_stream", json.dumps(body).encode())
    found = events(b"".join(reply.body))
    assert [event["token"]["text"] for event in found[:-1]] == tokens
    assert found[-1]["generated_text"] == "".join(tokens)


def test_split_sends_chunks_of_one_byte():
    with TGI() as server, socket.create_connection(("127.0.0.1", server.port)) as sock:
        server.script(Mode.SPLIT)
        body = b'{"inputs":"x"}'
        sock.sendall(
            b"POST /generate_stream HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
            b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)
        )
        received = b"".join(iter(lambda: sock.recv(65536), b""))
    chunks = received.partition(b"\r\n\r\n")[2]
    assert re.fullmatch(rb"(1\r\n(.|\n)\r\n)+0\r\n\r\n", chunks, re.DOTALL)


@pytest.mark.parametrize("mode", [Mode.LENGTH, Mode.OK])
def test_the_last_visible_token_carries_the_text_when_the_length_ends_it(mode):
    with ChatUI() as server:
        limit = len(TOKENS) if mode is Mode.OK else 1024
        body = ask(server, mode, {"max_new_tokens": limit, "details": True, "seed": 3}).content
    last = events(body)[-1]
    assert (last["token"]["text"], last["token"]["special"]) == (TOKENS[-1], False)
    assert last["generated_text"] == "".join(TOKENS)
    assert last["details"] == {"finish_reason": "length", "generated_tokens": 8, "seed": 3}


def test_without_parameters_twenty_tokens_come():
    with ChatUI() as server:
        assert len(events(ask(server, Mode.SLOW).content)) == 20


def test_a_stop_sequence_ends_the_text_visibly():
    with ChatUI() as server:
        body = ask(server, Mode.OK, {"stop": ["TGI"], "details": True}).content
    last = events(body)[-1]
    assert (last["generated_text"], last["token"]["special"]) == ("Hello from TGI", False)
    assert last["details"]["finish_reason"] == "stop_sequence"


def test_a_plain_end_of_sequence_is_stored_without_it():
    with ChatUI() as server:
        last = events(ask(server, Mode.PLAIN_EOS).content)[-1]
        assert (last["token"]["text"], last["token"]["special"]) == ("<|endoftext|>", False)
        [conversation] = server.conversations.values()
        assert conversation.messages[-1].content == "".join(TOKENS)


def test_a_script_sets_tokens_and_end_of_sequence():
    with ChatUI() as server:
        found = events(ask(server, tokens=["a", "b"], eos="</s>").content)
    assert [event["token"]["text"] for event in found] == ["a", "b", "</s>"]
    assert found[-1]["generated_text"] == "ab"


def test_the_prompt_comes_back_in_the_generated_text_alone():
    with ChatUI() as server:
        body = ask(server, Mode.OK, {"return_full_text": True}).content
        assert visible(body) == "".join(TOKENS)
        assert events(body)[-1]["generated_text"] == server.generations[0].inputs + "".join(TOKENS)
        [conversation] = server.conversations.values()
        assert conversation.messages[-1].content == "".join(TOKENS)


@pytest.mark.parametrize(
    ("mode", "whole", "tail"),
    [
        (Mode.TRUNCATED, False, b'"te'),
        (Mode.TRUNCATED_JSON, True, b'"te'),
        (Mode.TRUNCATED_CLEAN, True, b"}\n\n"),
        (Mode.CUT, False, b"}\n\n"),
    ],
)
def test_truncated_streams_end_as_they_say_and_store_nothing(mode, whole, tail):
    with ChatUI() as server:
        someone = visitor(server)
        server.script(mode)
        response = someone.say(someone.converse(), stream=True)
        received = []
        with nullcontext() if whole else pytest.raises(urllib3.exceptions.ProtocolError):
            received.extend(response.raw.stream(decode_content=False))
        assert b"".join(received).endswith(tail)
        assert b"".join(received).count(b"\n\n") == 3
        server.wait_for(lambda: server.generations[0].state == "finished")
        [conversation] = server.conversations.values()
        assert conversation.messages == []


def test_reset_is_seen_as_a_reset():
    with TGI() as server, socket.create_connection(("127.0.0.1", server.port)) as sock:
        server.script(Mode.RESET)
        sock.sendall(
            b"POST /generate_stream HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
            b'Content-Length: 14\r\n\r\n{"inputs":"x"}'
        )
        with pytest.raises(ConnectionResetError):
            list(iter(lambda: sock.recv(65536), b""))


@pytest.mark.parametrize(
    ("mode", "kinds"),
    [
        (Mode.FIRST_ERROR, ["generation"]),
        (Mode.VALIDATION, ["validation"]),
        (Mode.OVERLOADED, ["overloaded"]),
        (Mode.MID_ERROR, [None, None, None, "generation"]),
        (Mode.INCOMPLETE, [None, None, None, "incomplete_generation"]),
    ],
)
def test_error_events_come_within_a_stream_of_status_200(mode, kinds):
    with ChatUI() as server:
        response = ask(server, mode)
    assert response.status_code == 200
    assert [event.get("error_type") for event in events(response.content)] == kinds


@pytest.mark.parametrize(
    ("mode", "status", "content_type"),
    [
        (Mode.JSON_422, 422, "application/json"),
        (Mode.JSON_424, 424, "application/json"),
        (Mode.JSON_429, 429, "application/json"),
        (Mode.JSON_500, 500, "application/json"),
        (Mode.HTML_200, 200, "text/html"),
        (Mode.HTML_502, 502, "text/html"),
    ],
)
def test_answers_that_are_no_stream_pass_through(mode, status, content_type):
    with ChatUI() as server:
        response = ask(server, mode)
    assert (response.status_code, response.headers["content-type"]) == (status, content_type)
    assert "set-cookie" in response.headers


def test_a_held_stream_sends_what_precedes_and_waits_for_release():
    with ChatUI() as server:
        someone = visitor(server)
        server.script(hold_after=1)
        with someone.say(someone.converse(), stream=True) as response:
            pieces = response.iter_content(None)
            assert visible(next(pieces)) == TOKENS[0]
            assert (server.generations[0].sent, server.generations[0].state) == (1, "running")
            server.release()
            assert len(events(b"".join(pieces))) == len(TOKENS)


def test_a_delay_holds_the_status_line_back():
    with ChatUI() as server:
        response = ask(server, delay=0.2)
        assert response.elapsed.total_seconds() >= 0.2


@pytest.mark.parametrize(
    ("parameters", "complaint"),
    [
        ({"temperature": 0}, "`temperature` must be strictly positive"),
        ({"repetition_penalty": 0.0}, "`repetition_penalty` must be strictly positive"),
        ({"top_p": 1.0}, "`top_p` must be > 0.0 and < 1.0"),
        ({"top_k": 0}, "`top_k` must be strictly positive"),
        ({"max_new_tokens": 0}, "`max_new_tokens` must be strictly positive"),
        ({"truncate": 0}, "`truncate` must be strictly positive and less than 100. Given: 0"),
        ({"truncate": 101}, "`truncate` must be strictly positive and less than 100. Given: 101"),
        ({"stop": ["a"] * 5}, "`stop` supports up to 4 stop sequences. Given: 5"),
        (
            {"max_new_tokens": 200},
            (
                "`inputs` tokens + `max_new_tokens` must be <= 200."
                " Given: 1 `inputs` tokens and 200 `max_new_tokens`"
            ),
        ),
    ],
)
def test_validation_complains_in_an_event_and_with_status_422(parameters, complaint):
    error = {"error": f"Input validation error: {complaint}", "error_type": "validation"}
    limits = Limits(max_input_length=100, max_total_tokens=200)
    with ChatUI(limits=limits) as chat, TGI(limits=limits) as bare:
        assert events(ask(chat, Mode.OK, parameters).content) == [error]
        body = {"inputs": "x", "parameters": parameters}
        response = requests.post(f"{bare.url}/generate", json=body, timeout=10)
    assert (response.status_code, response.json()) == (422, error)


@pytest.mark.parametrize(
    "parameters",
    [
        {"temperature": 1.0, "top_p": None, "truncate": 100, "seed": None, "auth": "unknown"},
        {"max_new_tokens": 199, "do_sample": False, "watermark": True, "stop": ["a"] * 4},
    ],
)
def test_validation_takes_what_is_in_bounds_and_what_it_does_not_know(parameters):
    with TGI(limits=Limits(max_input_length=100, max_total_tokens=200)) as server:
        body = {"inputs": "x", "parameters": parameters}
        assert requests.post(f"{server.url}/generate", json=body, timeout=10).status_code == 200
        assert server.generations[0].parameters == parameters


@pytest.mark.parametrize(
    ("body", "status", "words"),
    [
        ('{"inputs": "x", "parameters": {"max_new_tokens": "9"}}', 422, "max_new_tokens"),
        ('{"inputs": "x", "parameters": {"max_new_tokens": null}}', 422, "expected u32"),
        ('{"inputs": "x", "parameters": {"truncate": -1}}', 422, "expected usize"),
        ('{"inputs": "x", "parameters": {"do_sample": 1}}', 422, "expected a boolean"),
        ('{"inputs": "x", "parameters": {"stop": "a"}}', 422, "expected a sequence"),
        ('{"inputs": "x", "parameters": []}', 422, "invalid type"),
        ("{}", 422, "missing field `inputs`"),
        ("{", 400, "Failed to parse the request body as JSON"),
    ],
)
def test_bodies_that_do_not_deserialize_get_plain_text(body, status, words):
    with TGI() as server:
        url = f"{server.url}/generate_stream"
        response = requests.post(url, data=body, headers=JSON, timeout=10)
    assert response.status_code == status
    assert response.headers["content-type"].startswith("text/plain")
    assert words in response.text


def test_tgi_serves_its_paths():
    with TGI(token="key") as server:
        session = requests.Session()
        assert session.get(f"{server.url}/info", timeout=10).status_code == 401
        session.headers["Authorization"] = "Bearer key"
        assert session.get(f"{server.url}/info", timeout=10).json()["max_input_length"] == 4096
        assert session.get(f"{server.url}/health", timeout=10).status_code == 200
        assert session.get(f"{server.url}/nope", timeout=10).status_code == 404
        assert session.get(f"{server.url}/generate", timeout=10).status_code == 405
        whole = {"generated_text": "".join(TOKENS)}
        body = {"inputs": "x"}
        assert session.post(f"{server.url}/generate", json=body, timeout=10).json() == whole
        assert session.post(server.url, json=body, timeout=10).json() == [whole]
        streamed = session.post(server.url, json=body | {"stream": True}, timeout=10)
        assert visible(streamed.content) == "".join(TOKENS)
        assert session.post(server.url, data="{}", timeout=10).status_code == 415
        server.script(Mode.OVERLOADED)
        assert session.post(f"{server.url}/generate", json=body, timeout=10).status_code == 429
        assert {request.connection for request in server.requests} == {1}
        session.close()


def test_tgi_aborts_a_generation_whose_client_has_left():
    with TGI() as server:
        server.script(Mode.SLOW, pace=0.002, hold_after=1)
        body = {"inputs": "x", "parameters": {"max_new_tokens": 1000}}
        url = f"{server.url}/generate_stream"
        with requests.post(url, json=body, stream=True, timeout=10) as response:
            next(response.iter_content(None))
        server.release()
        server.wait_for(lambda: server.generations[0].state == "aborted")
        assert server.generations[0].sent < len(SLOW_TOKENS)


def test_chat_ui_finishes_for_a_client_that_left_before_the_answer_began():
    with ChatUI() as server:
        someone = visitor(server)
        id = someone.converse()
        server.script(Mode.SLOW, delay=0.3)
        body = {"inputs": "x", "options": {}, "parameters": {"max_new_tokens": 1000}}
        with pytest.raises(requests.ReadTimeout):
            requests.post(
                f"{server.url}/conversation/{id}",
                json=body,
                headers={"Cookie": someone.cookie},
                timeout=0.1,
            )
        server.wait_for(lambda: server.conversations[id].messages)
        assert server.conversations[id].messages[-1].content.endswith("tok99")


def test_tgi_that_refuses_closes_without_an_answer():
    with TGI() as server:
        server.script(Mode.REFUSED)
        with pytest.raises(requests.ConnectionError):
            requests.post(f"{server.url}/generate", json={"inputs": "x"}, timeout=10)


@pytest.mark.parametrize(
    ("accept", "kind"),
    [
        ("*/*", "application/json"),
        ("application/json", "application/json"),
        ("text/html;q=0.1, */*", "application/json"),
        ("text/html,application/xhtml+xml,*/*;q=0.8", "text/html"),
        ("text/*", "text/html"),
        ("text/event-stream", None),
        ("nonsense", None),
    ],
)
def test_negotiation_takes_what_ranks_first(accept, kind):
    assert negotiate(accept, ("application/json", "text/html")) == kind


@pytest.mark.parametrize("accept", [None, "text/event-stream", "text/html"])
def test_errors_of_endpoints_are_pages_for_those_who_ask_for_no_json(accept):
    with ChatUI() as server:
        someone = visitor(server)
        headers = {"Accept": accept} if accept else {"Accept": None}
        body = {"model": "unknown"}
        response = someone.request("POST", "/conversation", json=body, headers=headers)
    assert response.status_code == 500
    assert response.headers["content-type"] == "text/html; charset=utf-8"


def test_the_cookie_can_be_made_for_plain_http_and_renamed():
    with ChatUI(secure_cookie=False, cookie_name="other") as server:
        cookie = requests.get(server.url, timeout=10).headers["set-cookie"]
    assert re.fullmatch(r"other=[0-9a-f-]{36}; Path=/; Expires=.*; HttpOnly; SameSite=Lax", cookie)


def test_without_a_disclaimer_nothing_has_to_be_accepted():
    with ChatUI(disclaimer=False) as server:
        someone = Visitor(server)
        assert someone.say(someone.converse()).status_code == 200


def test_forgotten_terms_and_conversations_are_refused_again():
    with ChatUI() as server:
        someone = visitor(server)
        id = someone.converse()
        server.conversations.clear()
        assert someone.say(id).status_code == 404
        server.settings.clear()
        assert someone.say(id).status_code == 405


def test_a_model_taken_away_is_gone():
    with ChatUI() as server:
        someone = visitor(server)
        id = someone.converse()
        del server.models[MODEL]
        response = someone.say(id)
    assert (response.status_code, response.json()) == (
        410,
        {"message": "Model not available anymore"},
    )


def test_the_rate_limit_ends_after_a_minute():
    now = [1_000_000.0]
    with ChatUI("v0.6", rate_limit=1, clock=lambda: now[0]) as server:
        someone = visitor(server)
        id = someone.converse()
        assert [someone.say(id).status_code for _ in range(2)] == [200, 429]
        now[0] += 61
        assert someone.say(id).status_code == 200


def test_guests_may_send_some_messages_before_they_log_in():
    with ChatUI("v0.4", login_required=True, messages_before_login=1) as server:
        someone = Visitor(server)
        id = someone.converse()
        assert someone.say(id).status_code == 200
        response = someone.say(id)
    assert (response.status_code, response.json()) == (
        429,
        {"message": "Exceeded number of messages before login"},
    )


def test_a_referer_of_the_public_origin_is_good():
    with ChatUI(public_origin="https://chat.example") as server:
        someone = Visitor(server)
        headers = {"Referer": "https://chat.example/r/x"}
        response = someone.request("POST", "/settings", data={"a": "b"}, headers=headers)
    assert response.json()["location"] == "https://chat.example/r/x"


def test_v06_takes_only_its_values_for_sharing():
    with ChatUI("v0.6") as server:
        someone = Visitor(server)
        headers = {"Referer": f"{server.url}/"}
        for value, status in (("on", 200), ("false", 200), ("1", 500)):
            form = {"shareConversationsWithModelAuthors": value, "ethicsModalAccepted": "true"}
            response = someone.request("POST", "/settings", data=form, headers=headers)
            assert response.status_code == status
        [kept] = server.settings.values()
        assert (kept.share, kept.accepted_at is not None) == (False, True)


def test_without_a_stream_the_compatible_endpoint_sends_an_array():
    with ChatUI(endpoint="/") as server:
        someone = visitor(server)
        body = {"inputs": "x", "options": {}, "stream": False}
        response = someone.request("POST", f"/conversation/{someone.converse()}", json=body)
        assert response.json() == [{"generated_text": "".join(TOKENS)}]
        assert visible(someone.say(someone.converse()).content) == "".join(TOKENS)


def test_parameters_of_the_client_reach_the_upstream_with_the_whole_history():
    with ChatUI() as server:
        someone = visitor(server)
        id = someone.converse()
        someone.say(id, " one ", parameters={"top_k": 5})
        someone.say(id, "two", use_cache=False)
        first, second = server.generations
    assert first.body == {
        "inputs": "<|prompt|>one<|endoftext|><|answer|>",
        "parameters": {"top_k": 5},
        "stream": True,
        "options": {},
    }
    assert second.inputs == (
        "<|prompt|>one<|endoftext|><|answer|>Hello from TGI. Привет 🙂\nok<|endoftext|>"
        "<|prompt|>two<|endoftext|><|answer|>"
    )
    assert (second.parameters, second.body["options"]) == ({}, {"use_cache": False})


def test_shared_conversations_can_be_seen_and_continued():
    with ChatUI() as server:
        someone, other = visitor(server), visitor(server)
        id = someone.converse()
        someone.say(id)
        link = someone.request("POST", f"/conversation/{id}/share").json()["url"]
        path = link.removeprefix(server.url)
        assert other.request("GET", path).status_code == 200
        assert other.request("GET", "/r/unknown").status_code == 404
        copy = other.converse(fromShare=path.removeprefix("/r/"))
        assert server.conversations[copy].messages == server.conversations[id].messages
        assert copy != id


def test_an_answer_in_place_of_the_server_is_given_once():
    with ChatUI() as server:
        someone = visitor(server)
        server.intercept("POST", "/conversation", Reply.text(503, "busy"))
        path = "/conversation"
        answers = [someone.request("POST", path, json={"model": MODEL}) for _ in range(2)]
        assert [answer.status_code for answer in answers] == [503, 200]
        server.intercept("POST", "/conversation/.*", lambda request: server.settings.clear())
        assert someone.say(answers[1].json()["conversationId"]).status_code == 405


def test_v07_streams_no_token_that_comes_with_the_generated_text():
    with ChatUI("v0.7") as server:
        lines = updates_of(server, Mode.LENGTH, "some more words than five of them")
        assert lines[1]["message"] == "some more words than five"
        tokens = [line["token"] for line in lines if line["type"] == "stream"]
        assert tokens == list(TOKENS[:-1])
        assert lines[-1]["text"] == "".join(TOKENS)
        assert server.generations[0].parameters["stop_sequences"] == ["<|endoftext|>"]


@pytest.mark.parametrize(
    ("mode", "message"),
    [
        (Mode.REFUSED, "fetch failed"),
        (
            Mode.HTML_200,
            "Server does not support event stream content type, it returned text/html",
        ),
        (Mode.FIRST_ERROR, "Request failed during generation: Server error: none"),
    ],
)
def test_v07_repeats_the_prompt_after_an_error(mode, message):
    with ChatUI("v0.7") as server:
        error, final = updates_of(server, mode)[-2:]
        assert error == {"type": "status", "status": "error", "message": message}
        assert final == {"type": "finalAnswer", "text": "hello"}
        [conversation] = server.conversations.values()
        assert [message.sender for message in conversation.messages] == ["user"]


def test_v07_takes_a_cut_piece_of_an_event_for_the_end():
    with ChatUI("v0.7") as server:
        assert updates_of(server, Mode.TRUNCATED_JSON)[-1]["text"] == "Hello from TGI"


def test_v07_stops_with_a_final_answer():
    with ChatUI("v0.7") as server:
        someone = visitor(server)
        id = someone.converse()
        server.script(hold_after=2)
        with someone.say(id, stream=True) as response:
            lines = response.iter_lines()
            while json.loads(next(lines)).get("token") != TOKENS[1]:
                pass
            assert someone.request("POST", f"/conversation/{id}/stop-generating").ok
            assert json.loads(next(lines)) == {"type": "stream", "token": TOKENS[2]}
            final = {"type": "finalAnswer", "text": "".join(TOKENS[:2])}
            assert json.loads(next(lines)) == final


def test_sessions_of_many_clients_are_kept_apart():
    failures = []

    def visit(server, number):
        try:
            someone = visitor(server)
            id = someone.converse()
            assert visible(someone.say(id, f"I am {number}").content) == "".join(TOKENS)
            [mine] = [c for c in server.conversations.values() if f"={c.session}" in someone.cookie]
            assert [m.content for m in mine.messages] == [f"I am {number}", "".join(TOKENS)]
            assert someone.request("DELETE", f"/conversation/{id}").status_code == 200
        except BaseException as error:
            failures.append(error)
            raise

    with ChatUI() as server:
        threads = [threading.Thread(target=visit, args=(server, n)) for n in range(12)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert failures == []
        assert server.conversations == {}
        assert len(server.generations) == 12


def test_close_ends_held_streams_open_connections_and_threads():
    before = set(threading.enumerate())
    with ChatUI() as server, ChatUI("v0.7") as newer, requests.Session() as idle:
        assert idle.get(server.url, timeout=10).ok
        someone = visitor(server)
        server.script(hold_after=0)
        held = someone.say(someone.converse(), stream=True)
        updates_of(newer)
        server.close()
        with pytest.raises(requests.exceptions.ChunkedEncodingError):
            held.content  # noqa: B018 (reading it is what fails)
        assert server.connections == 0
        with pytest.raises(requests.ConnectionError):
            requests.get(server.url, timeout=10)
    assert set(threading.enumerate()) == before


def test_a_chunked_request_is_read():
    with ChatUI() as server:
        someone = visitor(server)
        body = iter([b'{"model":', json.dumps(MODEL).encode(), b"}"])
        assert someone.request("POST", "/conversation", data=body, headers=JSON).ok


def test_a_fault_of_the_emulator_is_raised_at_the_end():
    def broken(request):
        raise ZeroDivisionError

    server = ChatUI().__enter__()
    server.intercept("GET", "/", broken)
    with pytest.raises(requests.ConnectionError):
        requests.get(server.url, timeout=10)
    with pytest.raises(ZeroDivisionError):
        server.__exit__(None, None, None)


def test_waiting_for_what_does_not_come_fails():
    with ChatUI() as server, pytest.raises(AssertionError, match=r"not so within 0\.01 s"):
        server.wait_for(lambda: server.requests, timeout=0.01)
