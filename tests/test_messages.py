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
        ({"role": "user"}, "has no content"),
        ({"role": "user", "content": None}, "has no content"),
        ({"role": "assistant", "content": None, "tool_calls": []}, "has no content"),
        ({"role": "user", "content": 5}, "the content is a str or a list of parts, not int"),
        ({"role": "user", "content": b"x"}, "not bytes"),
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
    "call",
    [
        "call",
        {},
        {"id": "1", "type": "function"},
        {"id": 1, "type": "function", "function": {"name": "f", "arguments": "{}"}},
        {"id": "1", "type": "function", "function": {"name": "f", "arguments": {}}},
        {"id": "1", "type": "function", "function": {"arguments": "{}"}},
        {"id": "1", "type": "function", "function": "f"},
    ],
)
def test_wrong_tool_call_is_refused_with_its_index(call):
    good = {"id": "0", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    told = refusal({"role": "assistant", "content": None, "tool_calls": [good, call]})
    assert told.startswith('messages[1].tool_calls[1] is {"id": str')


@pytest.mark.parametrize(
    ("part", "why"),
    [
        ("text", "is a dict with a type, or a typed part, not str"),
        ({}, "the type is one of text, image_url, input_audio, file, not NoneType"),
        ({"type": "video", "video": {}}, "not 'video'"),
        ({"type": 5}, "not int"),
        ({"type": "text"}, "is no text part"),
        ({"type": "text", "text": 5}, "is no text part"),
        ({"type": "text", "text": None}, "is no text part"),
        ({"type": "image_url", "image_url": "http://x/y.png"}, "is no image_url part"),
        ({"type": "image_url", "image_url": {}}, "is no image_url part"),
        ({"type": "image_url", "image_url": {"url": 5}}, "is no image_url part"),
        ({"type": "image_url", "image_url": {"url": "data:image/png,abc"}}, "is no image_url"),
        ({"type": "image_url", "image_url": {"url": "data:image/png;base64,?"}}, "is no image_url"),
        ({"type": "input_audio", "input_audio": {"data": "?", "format": "wav"}}, "is no input_aud"),
        ({"type": "input_audio", "input_audio": {"data": "AAAA"}}, "is no input_audio part"),
        ({"type": "file", "file": {}}, "is no file part"),
        ({"type": "file", "file": None}, "is no file part"),
        ({"type": "file", "file": {"file_data": "AAAA"}}, "is no file part"),
    ],
)
def test_wrong_part_is_refused_with_its_index(part, why):
    told = refusal({"role": "user", "content": [{"type": "text", "text": "see"}, part]})
    assert told.startswith("messages[1].content[1]")
    assert why in told


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
        (Message(role="user", content=("x",)), "content[0] is no part"),
        (Message(role="user", content=(Text(text=5),)), "hold: Text"),
        (Message(role="user", content=(Image(),)), "hold: Image"),
        (
            Message(role="user", content=(Audio(data="AAAA", format="wav"),)),
            "hold: Audio",
        ),
        (Message(role="user", content=(File(),)), "hold: File"),
        (Message(role="assistant", tool_calls=("call",)), "tool_calls"),
        (Message(role="tool", content="x", tool_call_id=5), "tool_call_id is a str, not int"),
    ],
)
def test_wrong_typed_message_is_refused_with_its_index(message, why):
    told = refusal(message)
    assert told.startswith("messages[1]")
    assert why in told


def test_wrong_typed_part_in_a_dict_is_refused_with_its_index():
    told = refusal({"role": "user", "content": [Text(text="x"), Text(text=None)]})
    assert told.startswith("messages[1].content[1] is no part")


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
EXTRA = st.dictionaries(st.sampled_from(["cache_control", "annotations"]), JSON)


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
            "type": st.just("file"),
            "file": merged(
                st.fixed_dictionaries({"file_data": DATA_URLS})
                | st.fixed_dictionaries({"file_id": TEXT}),
                optional(filename=TEXT),
            ),
        }
    ),
)
CALLS = st.fixed_dictionaries(
    {
        "id": TEXT,
        "type": st.just("function"),
        "function": st.fixed_dictionaries({"name": TEXT, "arguments": TEXT}),
    }
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
