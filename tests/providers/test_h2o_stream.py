"""The stream of an H2o answer: captured bytes, every split of them, and what was not captured."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from providers.h2o_stream import Answer, Cut, read
from router import BadRequest, Chunk, HttpResponse, Overloaded, ProtocolError, UpstreamError, Usage

HELLO = "Hello from TGI. Привет 🙂\nok"

# What each captured stream says: its text, and its finish reason or its error.
OF_TGI = {
    "10_msg_ok": (HELLO, "stop"),
    "11_msg_second": (HELLO, "stop"),
    "11d_retry": (HELLO, "stop"),
    "12k_msg_text_plain_referer": (HELLO, "stop"),
    "13_msg_split": (HELLO, "stop"),
    "13_msg_space": (HELLO, "stop"),
    "13_msg_keepalive": (HELLO, "stop"),
    "13_msg_miderror": ("Hello from TGI", UpstreamError),
    "13_msg_incomplete": ("Hello from TGI", UpstreamError),
    "13_msg_validation200": ("", BadRequest),
    "13_msg_overloaded200": ("", Overloaded),
    "13_msg_trunc": ("Hello from TGI", None),
    "13_msg_truncclean": ("Hello from TGI", None),
    "17_disconnect": ("".join(f"tok{number} " for number in range(7)), None),
    "18_stream_being_stopped": ("".join(f"tok{number} " for number in range(18)), None),
}
OF_JSON_LINES = {
    "75_msg_new_body": (HELLO, "other"),
    "76_msg_old_h2o_body": (HELLO, "other"),
    "77_msg_keepalive": (HELLO, "other"),
    "77_msg_space": (HELLO, "other"),
    "77_msg_split": (HELLO, "other"),
    "77_msg_truncclean": ("Hello from TGI", "other"),
    "77_msg_miderror": ("Hello from TGI", UpstreamError),
    "77_msg_trunc": ("Hello from TGI", UpstreamError),
    "77_msg_validation200": ("", BadRequest),
    "77_msg_json429": ("", Overloaded),
    "77_msg_html502": ("", UpstreamError),
}
CAPTURED = [
    *(("chatui-v0.3", name, *expected) for name, expected in OF_TGI.items()),
    *(("chatui-v0.7", name, *expected) for name, expected in OF_JSON_LINES.items()),
]


class Outcome:
    """What came of a stream: text, pings, last chunk, error, and the pieces that were not read."""

    def __init__(self, pieces, *, stop=(), limit=1024, inputs="user: hi\nassistant:"):
        self.text, self.pings, self.finish, self.error = "", 0, None, None
        response = HttpResponse(200, {}, streamed=True)
        exchange = read(response, Answer(inputs, stop, limit))
        self.unread = waiting = list(pieces)
        result = None
        try:
            while True:
                step = exchange.send(result)
                result = None
                if step is response:
                    result = waiting.pop(0) if waiting else b""
                else:
                    self.add(step)
        except StopIteration:
            pass
        except (ProtocolError, UpstreamError, BadRequest, Overloaded) as error:
            self.error = error

    def add(self, step):
        assert self.finish is None
        if isinstance(step, str):
            assert step
            self.text += step
        elif step == Chunk():
            self.pings += 1
        else:
            self.finish = step

    @property
    def ending(self):
        """The finish reason, the type of the error, or None for a stream that was cut."""
        if self.error is not None:
            return type(self.error)
        return self.finish and self.finish.finish_reason


def captured(shared, directory, name):
    path = shared / "h2o" / "captures" / directory / "index.jsonl"
    rows = (json.loads(line) for line in path.read_text(encoding="utf-8").splitlines())
    return next(row["body"].encode() for row in rows if row["name"] == name)


def event(text, *, special=False, generated=None, details=None, **more):
    token = {"id": 1, "text": text, "logprob": None, "special": special}
    value = {"token": token, "generated_text": generated, "details": details, **more}
    return f"data:{json.dumps(value, ensure_ascii=False)}\n\n".encode()


def eos(**more):
    return event("<|endoftext|>", special=True, generated="", **more)


def line(**update):
    return f"{json.dumps(update, ensure_ascii=False)}\n".encode()


@pytest.mark.parametrize(("directory", "name", "text", "ending"), CAPTURED)
def test_captured_stream_says_what_was_sent(shared, directory, name, text, ending):
    outcome = Outcome([captured(shared, directory, name)])
    assert outcome.text == text
    assert outcome.ending == ending


def test_captured_errors_keep_the_words_of_tgi(shared):
    outcome = Outcome([captured(shared, "chatui-v0.3", "13_msg_miderror")])
    assert outcome.error.code == "generation"
    assert outcome.error.message.endswith("CUDA out of memory")
    outcome = Outcome([captured(shared, "chatui-v0.7", "77_msg_json429")])
    assert outcome.error.code == "overloaded"
    assert outcome.error.retryable
    outcome = Outcome([captured(shared, "chatui-v0.7", "77_msg_validation200")])
    assert outcome.error.code == "validation"
    assert not outcome.error.retryable


@pytest.mark.parametrize(("directory", "name", "text", "ending"), CAPTURED)
def test_captured_stream_may_be_split_at_every_offset(shared, directory, name, text, ending):
    body = captured(shared, directory, name)
    for place in range(len(body.rstrip()) + 1):
        outcome = Outcome([body[:place], body[place:]] if place else [body])
        assert (outcome.text, outcome.ending) == (text, ending)


@given(data=st.data())
def test_captured_stream_may_be_split_into_any_pieces(shared, data):
    directory, name, text, ending = data.draw(st.sampled_from(CAPTURED))
    body = captured(shared, directory, name)
    places = sorted(data.draw(st.sets(st.integers(1, len(body) - 1))))
    pieces = [body[a:b] for a, b in zip([0, *places], [*places, len(body)], strict=True)]
    outcome = Outcome(pieces)
    assert (outcome.text, outcome.ending) == (text, ending)


def test_stream_is_left_at_its_last_event():
    """Version 0.7 leaves the connection open after it: a read would never return."""
    finals = {
        "tgi": event("a") + eos(),
        "lines": line(type="stream", token="a") + line(type="finalAnswer", text="a"),
    }
    for body in finals.values():
        outcome = Outcome([body, b" " * 4096])
        assert outcome.finish is not None
        assert outcome.unread == [b" " * 4096]


def test_keep_alive_is_a_sign_of_life():
    assert Outcome([b":\n\n", b":\n\n"]).pings == 2
    assert Outcome([line(type="status", status="started")]).pings == 1


def test_token_that_holds_the_fields_name_arrives_whole():
    """Replacing `data:` wherever it stands, as V1 of the original did, ate it out of the text."""
    tokens = [' data: {"a":1}', "\n\ndata:", "\u2028one\u0085two\r\n", "[DONE]", "\t\0"]
    outcome = Outcome([*map(event, tokens), eos()])
    assert outcome.text == "".join(tokens)


def test_special_tokens_are_no_text():
    outcome = Outcome([event("<s>", special=True), event("a"), event("</s>", special=True), eos()])
    assert outcome.text == "a"
    assert outcome.finish.finish_reason == "stop"


def test_marks_of_ordinary_tokens_are_no_text():
    outcome = Outcome([event("<|startoftext|>"), event("a"), event("</s>", generated="a</s>")])
    assert outcome.text == "a"


def test_html_that_looks_like_a_mark_is_text():
    outcome = Outcome([event("<s>old"), event("</s> new"), eos()])
    assert outcome.text == "<s>old</s> new"


@pytest.mark.parametrize(
    "tokens", [["<|endoftext|>"], ["<|", "endoftext", "|>"], [" b<|end", "oftext|> user: and"]]
)
def test_end_spelled_in_ordinary_tokens_ends_the_answer(tokens):
    outcome = Outcome([event("a"), *map(event, tokens), event("more"), eos()])
    assert outcome.text == "a" + (" b" if " b" in tokens[0] else "")
    assert outcome.finish.finish_reason == "stop"
    assert outcome.unread == [event("more"), eos()]


def test_text_that_only_begins_like_the_end_is_delivered():
    outcome = Outcome([event("a <|"), event("end"), event("of", generated="a <|endof")])
    assert outcome.text == "a <|endof"


def test_last_visible_token_is_text_too():
    """At the length limit there is no end of sequence: the text's last token ends the stream."""
    details = {"finish_reason": "length", "generated_tokens": 2, "seed": None}
    outcome = Outcome([event("a"), event(" b", generated="a b", details=details)])
    assert outcome.text == "a b"
    assert outcome.finish == Chunk(
        finish_reason="length", native_finish_reason="length", usage=Usage(output_tokens=2)
    )


@pytest.mark.parametrize(
    ("native", "expected"),
    [("length", "length"), ("eos_token", "stop"), ("stop_sequence", "stop"), ("new", "other")],
)
def test_finish_reason_is_that_of_the_details(native, expected):
    outcome = Outcome([eos(details={"finish_reason": native, "generated_tokens": 1})])
    assert outcome.finish.finish_reason == expected
    assert outcome.finish.native_finish_reason == native


def test_usage_holds_the_prompt_where_tgi_tells_its_length():
    details = {"finish_reason": "eos_token", "generated_tokens": 3, "input_length": 7}
    usage = Outcome([eos(details=details)]).finish.usage
    assert usage == Usage(input_tokens=7, output_tokens=3)


def test_finish_reason_without_details_is_inferred_or_unknown():
    last = event(" b", generated="a b")
    assert Outcome([event("a"), last], limit=2).finish.finish_reason == "length"
    assert Outcome([event("a"), last], limit=3).finish.finish_reason == "other"
    assert Outcome([event("a"), eos()], limit=2).finish.finish_reason == "stop"
    assert Outcome([event("a"), last], limit=3).finish.usage is None


def test_stop_sequence_is_left_out_and_ends_the_answer():
    details = {"finish_reason": "stop_sequence", "generated_tokens": 2}
    outcome = Outcome(
        [event("a\nus"), event("er:", generated="", details=details)], stop=["\nuser:"]
    )
    assert outcome.text == "a"
    assert outcome.finish.usage == Usage(output_tokens=2)
    assert outcome.finish.finish_reason == "stop"


def test_stop_sequence_ends_the_answer_of_a_server_that_does_not_know_it():
    lines = [line(type="stream", token="one STOP two"), line(type="stream", token=" three")]
    outcome = Outcome(lines, stop=["STOP"])
    assert outcome.text == "one "
    assert outcome.finish.finish_reason == "stop"


def test_fields_of_newer_versions_are_ignored():
    outcome = Outcome([event("a", index=1, top_tokens=[{"id": 1}]), eos(index=2)])
    assert outcome.text == "a"


def test_end_marker_of_other_services_is_no_event():
    assert Outcome([event("a"), b"data: [DONE]\n\n", eos()]).ending == "stop"


def test_blanks_before_the_first_event_say_nothing_of_the_dialect():
    for body in (event("a") + eos(), line(type="stream", token="a") + line(type="finalAnswer")):
        outcome = Outcome([b" ", b"\r\n", b"\n " + body])
        assert outcome.text == "a"
        assert outcome.finish is not None


def test_last_event_may_lack_its_line_end():
    outcome = Outcome([event("a"), eos().rstrip()])
    assert outcome.finish.finish_reason == "stop"
    outcome = Outcome([line(type="finalAnswer", text="").rstrip()])
    assert outcome.finish is not None


def test_event_that_is_no_json_is_an_error():
    assert Outcome([event("a"), b'data:{"token":\n\n', eos()]).ending is ProtocolError
    assert Outcome([b'data:{"token":{"text":1}}\n\n', eos()]).ending is ProtocolError
    assert Outcome([line(type="stream", token="a"), b'{"type":\n']).ending is ProtocolError


def test_unknown_error_types_are_failures_of_the_server():
    body = b'data:{"error":"tools","error_type":"tool_error"}\n\n'
    error = Outcome([body]).error
    assert (type(error), error.code) == (UpstreamError, "tool_error")


def test_answer_in_one_piece_is_taken():
    """As TGI's compatible endpoint answers when `stream` did not reach it."""
    details = {"finish_reason": "length", "generated_tokens": 4, "prefill": [], "tokens": []}
    answer = {"generated_text": " all at once", "details": details}
    for body in (json.dumps(answer), json.dumps([answer])):
        outcome = Outcome([body.encode()])
        assert outcome.text == " all at once"
        assert outcome.finish.finish_reason == "length"
    outcome = Outcome([b'{"error":"Model is overloaded","error_type":"overloaded"}'])
    assert outcome.ending is Overloaded


def test_last_token_that_only_the_final_answer_holds_is_delivered():
    """Version 0.7 sends no line for the visible token that comes with the generated text."""
    tokens = [line(type="stream", token=" Hello"), line(type="stream", token=" from")]
    outcome = Outcome([*tokens, line(type="finalAnswer", text="Hello from TGI")])
    assert outcome.text == " Hello from TGI"
    outcome = Outcome([line(type="finalAnswer", text="Hello")])
    assert outcome.text == "Hello"


def test_final_answer_that_was_trimmed_adds_nothing():
    outcome = Outcome([line(type="stream", token=" a \n"), line(type="finalAnswer", text="a")])
    assert outcome.text == " a \n"


def test_final_answer_of_an_empty_one_is_not_the_users_prompt():
    inputs = "user: hi\nassistant:"
    outcome = Outcome([line(type="finalAnswer", text=inputs)], inputs=inputs)
    assert outcome.text == ""
    assert outcome.finish is not None


def test_padding_of_tokens_is_no_text():
    tokens = [line(type="stream", token=token.ljust(16, "\0")) for token in ("Hello", " you")]
    outcome = Outcome([*tokens, line(type="finalAnswer", text="Hello you")])
    assert outcome.text == "Hello you"


def test_unknown_updates_are_signs_of_life():
    updates = [line(type="webSearch", messageType="update", message="Searching", args=["x"])]
    outcome = Outcome([*updates, line(type="finalAnswer", text="")])
    assert outcome.pings > 0
    assert outcome.finish is not None


ENDS = st.lists(st.text("abc", min_size=1, max_size=4), min_size=1, max_size=3)


def cut_whole(text, ends):
    """What is left of a text that is cut where the first of the ends is complete."""
    for place in range(len(text) + 1):
        found = [end for end in ends if text[:place].endswith(end)]
        if found:
            return text[: place - max(map(len, found))]
    return text


@given(pieces=st.lists(st.text("abc", max_size=4), max_size=12), ends=ENDS)
def test_cut_does_not_depend_on_the_pieces(pieces, ends):
    cut = Cut(ends)
    kept = "".join(map(cut.feed, pieces)) + cut.flush()
    text = "".join(pieces)
    assert kept == cut_whole(text, ends)
    assert cut.found is any(end in text for end in ends)
