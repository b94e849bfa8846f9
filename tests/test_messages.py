import base64
import copy

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router import Audio, BadRequest, File, Image, Message, Text, ToolCall
from router.messages import ROLES, check_messages

HELLO = {"role": "user", "content": "hello"}


def refusal(message: object) -> str:
    """Why a message is refused that stands behind a good one."""
    with pytest.raises(BadRequest) as caught:
        check_messages([HELLO, message])
    return str(caught.value)


@pytest.mark.parametrize("messages", [[], (), iter(())])
def test_no_messages_are_refused(messages):
    with pytest.raises(BadRequest, match="messages is empty"):
        check_messages(messages)


@pytest.mark.parametrize("messages", ["hello", b"hello", HELLO, None, 5])
def test_what_is_no_list_is_refused_with_how_it_should_be(messages):
    with pytest.raises(BadRequest, match=r'not \w+: \[\{"role": "user", "content": "\.\.\."\}\]'):
        check_messages(messages)


@pytest.mark.parametrize(
    ("message", "why"),
    [
        ("hello", "is a dict or a Message, not str"),
        (None, "is a dict or a Message, not NoneType"),
        ({"content": "x"}, "the role is one of system, developer, user, assistant, tool, not None"),
        ({"role": "usr", "content": "x"}, "not 'usr'"),
        ({"role": 5, "content": "x"}, "not int"),
        ({"role": ["user"], "content": "x"}, "not list"),
        ({"role": "user"}, "has no content: give a str"),
        ({"role": "user", "content": None}, "has no content"),
        ({"role": "tool", "content": None}, "has no content"),
        ({"role": "function", "name": "f", "content": "x"}, "no function_call of its name yet"),
        ({"role": "function", "content": "x"}, "no function_call of its name yet"),
        ({"role": "user", "content": 5}, "the content is a str or a list of parts, not int"),
        ({"role": "user", "content": b"x"}, ".content is of the type bytes"),
        ({"role": "user", "content": {"type": "text"}}, "not dict"),
        ({"role": "user", "content": "x", "name": 5}, "name is a str, not int"),
        ({"role": "tool", "content": "x", "tool_call_id": 5}, "tool_call_id is a str, not int"),
        ({"role": "assistant", "content": "", "tool_calls": {}}, "tool_calls is a list, not dict"),
        ({"role": "assistant", "content": "", "tool_calls": "no"}, "tool_calls is a list, not str"),
    ],
)
def test_wrong_message_is_refused_with_its_index(message, why):
    told = refusal(message)
    assert told.startswith("messages[1]")
    assert why in told


@pytest.mark.parametrize(
    ("call", "why"),
    [
        ("call", "is a dict, not str"),
        ({}, 'has no dict "function" in it'),
        ({"id": "1", "type": "function"}, 'has no dict "function" in it'),
        ({"id": "1", "type": "function", "function": "f"}, 'has no dict "function" in it'),
        ({"id": 1, "function": {"name": "f", "arguments": "{}"}}, "got `int` - at `$.id`"),
        (
            {"id": "1", "function": {"name": "f", "arguments": {}}},
            "got `object` - at `$.arguments`",
        ),
        ({"id": "1", "function": {"arguments": "{}"}}, "missing required field `name`"),
        ({"id": "1", "custom": {"name": "f"}}, "got `null` - at `$.arguments`"),
    ],
)
def test_wrong_tool_call_is_refused_with_its_index(call, why):
    """It was told its proper form alone, and not what was wrong with it."""
    good = {"id": "0", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    told = refusal({"role": "assistant", "content": None, "tool_calls": [good, call]})
    assert told.startswith("messages[1].tool_calls[1]")
    assert why in told
    assert '{"id": str, "type": "function"' in told


@pytest.mark.parametrize(
    ("message", "why"),
    [
        (Message(role="usr"), "the role is one of"),
        (Message(role="user", content=None), "the content is a str or a tuple of parts"),
        (Message(role="user", content=5), "the content is a str or a tuple of parts"),
        (
            Message(role="user", content=[Text(text="x")]),
            "the content is a str or a tuple of parts",
        ),
        (Message(role="user", content=("x",)), "content[0] is no part, but str"),
        (Message(role="user", content=(Text(text=5),)), "content[0] is a Text without what"),
        (Message(role="user", content="\ud800"), "half of a character"),
        (Message(role="user", content=(Text(text="\ud800"),)), "half of a character"),
        (Message(role="user", content="x", extra={"a": b"x"}), ".extra.a is of the type bytes"),
        (Message(role="assistant", tool_calls=("call",)), "tool_calls"),
        (Message(role="tool", content="x", tool_call_id=5), "tool_call_id is a str, not int"),
    ],
)
def test_wrong_typed_message_is_refused_with_its_index(message, why):
    told = refusal(message)
    assert told.startswith("messages[1]")
    assert why in told


@pytest.mark.parametrize(
    ("message", "why"),
    [
        ({"role": "user", "content": "\ud800"}, "messages[1].content holds half of a character"),
        (
            {"role": "user", "content": [{"type": "text", "text": "x\udfff"}]},
            "messages[1].content[0].text holds half of a character",
        ),
        (
            {"role": "user", "content": "x", "cache": {"until": float("nan")}},
            "messages[1].cache.until holds a number that is not finite",
        ),
        ({"role": "user", "content": "x", "a": [b"x"]}, "messages[1].a[0] is of the type bytes"),
    ],
)
def test_what_json_cannot_carry_is_refused_before_anything_is_sent(message, why):
    """Bytes went out as base64 and NaN as null, unsaid; the local provider blamed itself for half
    of a character."""
    assert refusal(message).startswith(why)


@pytest.mark.parametrize(
    "message",
    [
        {"role": "usr: my password is hunter2 and my dog is called Rex", "content": "x"},
        {"role": "user", "content": [{"type": "my password is hunter2 and my dog is called Rex"}]},
        {"role": "user", "content": {"secret": "hunter2 and my dog is called Rex"}},
        {"role": "user", "content": [{"type": "text", "text": ["my dog is called Rex"]}]},
        {"role": "user", "content": "x", "name": ["my dog is called Rex"]},
    ],
)
def test_refusal_does_not_show_what_was_said(message):
    assert "Rex" not in refusal(message)


TEXT = st.text(st.characters(exclude_categories=("Cs",)), max_size=20)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=5,
)
BASE64 = st.binary(max_size=20).map(lambda data: base64.b64encode(data).decode())
MEDIA_TYPES = st.sampled_from(["image/png", "application/pdf", "text/plain"])
DATA_URLS = st.builds("data:{};base64,{}".format, MEDIA_TYPES, BASE64)
EXTRA = st.dictionaries(
    st.sampled_from(["cache_control", "annotations"]), JSON.filter(lambda each: each is not None)
)


def optional(**fields):
    return st.fixed_dictionaries({}, optional=fields)


def merged(*parts):
    return st.tuples(*parts).map(lambda dicts: {k: v for d in dicts for k, v in d.items()})


PARTS = st.one_of(
    merged(st.fixed_dictionaries({"type": st.just("text"), "text": TEXT}), EXTRA),
    merged(
        st.fixed_dictionaries(
            {
                "type": st.just("image_url"),
                "image_url": merged(
                    st.fixed_dictionaries({"url": st.just("https://x.test/y.png") | DATA_URLS}),
                    optional(detail=st.sampled_from(["low", "high", "auto"])),
                ),
            }
        ),
        EXTRA,
    ),
    st.fixed_dictionaries(
        {
            "type": st.just("input_audio"),
            "input_audio": st.fixed_dictionaries({"data": BASE64, "format": st.just("wav")}),
        }
    ),
    st.fixed_dictionaries(
        {
            "type": st.just("video_url"),
            "video_url": st.fixed_dictionaries({"url": st.just("https://x.test/y") | DATA_URLS}),
        }
    ),
    st.fixed_dictionaries(
        {
            "type": st.just("file"),
            "file": merged(
                st.fixed_dictionaries({"file_data": st.just("https://x.test/y.pdf") | DATA_URLS})
                | st.fixed_dictionaries({"file_id": TEXT}),
                optional(filename=TEXT),
            ),
        }
    ),
)
CALLS = st.one_of(
    st.fixed_dictionaries(
        {
            "id": TEXT,
            "type": st.just("function"),
            "function": st.fixed_dictionaries({"name": TEXT, "arguments": TEXT}),
        }
    ),
    st.fixed_dictionaries(
        {
            "id": TEXT,
            "type": st.just("custom"),
            "custom": st.fixed_dictionaries({"name": TEXT, "input": TEXT}),
        }
    ),
)
DICTS = st.one_of(
    merged(
        st.fixed_dictionaries(
            {"role": st.sampled_from(ROLES), "content": TEXT | st.lists(PARTS, max_size=4)}
        ),
        optional(name=TEXT, tool_call_id=TEXT),
        EXTRA,
    ),
    st.fixed_dictionaries(
        {
            "role": st.just("assistant"),
            "content": st.none() | TEXT.filter(bool),
            "tool_calls": st.lists(CALLS, min_size=1, max_size=3),
        }
    ),
)


@given(st.lists(DICTS, min_size=1, max_size=4))
def test_dicts_come_back_whole(messages):
    given_ = copy.deepcopy(messages)
    checked = check_messages(messages)
    assert [message.to_dict() for message in checked] == given_
    assert messages == given_
    assert check_messages(checked) == checked


@given(DICTS)
def test_provider_may_change_what_it_is_given(message):
    """What stood beside the named keys was the caller's own, and the next target's as well."""
    (checked,) = check_messages([message])
    given_ = copy.deepcopy(message)
    before = copy.deepcopy(checked.to_dict())
    _ruin(checked.to_dict())
    assert checked.to_dict() == before
    assert message == given_


def _ruin(value):
    """Change everything that can be changed."""
    if isinstance(value, dict):
        for inner in value.values():
            _ruin(inner)
        value["ruined"] = True
    elif isinstance(value, list):
        for inner in value:
            _ruin(inner)
        value.append("ruined")


def test_dict_and_typed_message_mean_the_same():
    data = base64.b64encode(b"\x89PNG").decode()
    call = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    assert check_messages(
        [
            {"role": "system", "content": "Be brief."},
            {
                "role": "user",
                "name": "ann",
                "content": [
                    {"type": "text", "text": "What is this?"},
                    {
                        "type": "image_url",
                        "image_url": {"url": f"data:image/png;base64,{data}", "detail": "low"},
                    },
                    {"type": "input_audio", "input_audio": {"data": data, "format": "mp3"}},
                    {"type": "file", "file": {"file_id": "file-1"}},
                ],
            },
            {"role": "assistant", "content": None, "tool_calls": [call]},
            {"role": "tool", "content": "42", "tool_call_id": "c1"},
        ]
    ) == (
        Message(role="system", content="Be brief."),
        Message(
            role="user",
            name="ann",
            content=(
                Text(text="What is this?"),
                Image(data=b"\x89PNG", media_type="image/png", detail="low"),
                Audio(data=b"\x89PNG", format="mp3"),
                File(id="file-1"),
            ),
        ),
        Message(role="assistant", tool_calls=(ToolCall(id="c1", name="f", arguments="{}"),)),
        Message(role="tool", content="42", tool_call_id="c1"),
    )


def test_message_text_is_that_of_its_text_parts():
    assert Message(role="user", content="plain").text == "plain"
    parts = (Text(text="a "), Image(url="https://x.test/y.png"), Text(text="b"))
    assert Message(role="user", content=parts).text == "a b"


@pytest.mark.parametrize(
    "message",
    [
        {"role": "assistant", "content": ""},
        {"role": "assistant", "content": None, "refusal": "I cannot help with that."},
        {"role": "assistant", "content": None, "audio": {"id": "audio_1"}},
        {"role": "assistant", "content": "", "reasoning_content": "Hm."},
        {"role": "user", "content": []},
    ],
)
def test_messages_that_say_nothing_but_are_allowed(message):
    (checked,) = check_messages([message])
    assert checked.text == ""
    assert checked.to_dict() == message


def test_messages_may_come_from_a_generator_and_be_mixed():
    checked = check_messages(m for m in (HELLO, Message(role="user", content="again")))
    assert [message.text for message in checked] == ["hello", "again"]


@pytest.mark.parametrize(
    "message",
    [
        {"role": "assistant", "content": None, "reasoning_content": "Hm."},
        {"role": "assistant", "content": None, "reasoning_details": [{"text": "Hm."}]},
        {"role": "assistant", "content": None, "audio": {"id": "audio_1"}},
        {"role": "assistant", "content": None, "tool_calls": None},
        {"role": "assistant"},
    ],
)
def test_answers_without_a_content_go_back_in(message):
    """They were refused, though they are what services answer."""
    (checked,) = check_messages([message])
    assert checked.text == ""
    assert checked.to_dict().items() >= {k: v for k, v in message.items() if v}.items()


def test_keys_that_are_none_say_nothing():
    """A dump of the openai client has them, and services that know fewer keys refused them."""
    message = {"role": "assistant", "content": "Hello.", "audio": None, "function_call": None}
    (checked,) = check_messages([{**message, "refusal": None, "tool_calls": None}])
    assert checked.to_dict() == {"role": "assistant", "content": "Hello."}


def test_calls_of_old_and_their_results_are_tool_calls():
    """The role `function` was refused, and no wire knew what a `function_call` was."""
    old = [
        {"role": "user", "content": "What time is it?"},
        {"role": "assistant", "content": None, "function_call": {"name": "f", "arguments": "{}"}},
        {"role": "function", "name": "f", "content": "noon"},
        {"role": "assistant", "content": None, "function_call": {"name": "f", "arguments": "{}"}},
        {"role": "function", "name": "f", "content": None},
    ]
    function = {"name": "f", "arguments": "{}"}
    assert [message.to_dict() for message in check_messages(old)][1:] == [
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [{"id": "call_1", "type": "function", "function": function}],
        },
        {"role": "tool", "name": "f", "content": "noon", "tool_call_id": "call_1"},
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [{"id": "call_3", "type": "function", "function": function}],
        },
        {"role": "tool", "name": "f", "content": "", "tool_call_id": "call_3"},
    ]


def test_refusal_as_a_part_is_the_messages_own():
    """It was refused as a part of no known type; it stands alone, and every wire can say it."""
    part = {"type": "refusal", "refusal": "I cannot help with that."}
    (checked,) = check_messages([{"role": "assistant", "content": [part]}])
    assert checked == Message(role="assistant", extra={"refusal": "I cannot help with that."})


class Dumped:
    """An object of the openai client's, as far as it matters here."""

    def __init__(self, **fields):
        self._fields = fields

    def model_dump(self, *, exclude_none):
        return {k: v for k, v in self._fields.items() if v is not None or not exclude_none}


def test_objects_of_the_openai_client_go_back_in_whole_and_in_pieces():
    """Its tool calls, put into a dict, were refused."""
    function = {"name": "f", "arguments": "{}"}
    call = Dumped(id="c1", type="function", function=function, custom=None)
    message = Dumped(role="assistant", content=None, tool_calls=[call], audio=None)
    piecewise = {"role": "assistant", "content": None, "tool_calls": [call]}
    for given_ in (message, piecewise):
        (checked,) = check_messages([given_])
        assert checked.tool_calls == (ToolCall(id="c1", name="f", arguments="{}"),)
        assert checked.extra == {}


def test_free_text_of_a_custom_tool_is_no_broken_json():
    call = {"id": "c1", "type": "custom", "custom": {"name": "sum", "input": "4 + 4"}}
    (checked,) = check_messages([{"role": "assistant", "content": None, "tool_calls": [call]}])
    (found,) = checked.tool_calls
    assert (found.name, found.arguments, found.custom) == ("sum", "4 + 4", True)
    assert found.parse_error is None
