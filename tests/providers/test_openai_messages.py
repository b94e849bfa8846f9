"""Messages as they go out: without what is the router's own."""

from emulators.chat import Played, chunk, delta, sse

from providers import compatible
from providers.openai import Row, openai
from router import Message, Reasoning, ToolCall

TURN = [
    {"role": "user", "content": "What time is it?"},
    Message(
        role="assistant",
        tool_calls=(ToolCall(id="call_1", name="clock", arguments="{}", signature="seal"),),
        reasoning=(Reasoning(text="Look at the clock.", signature="sig"),),
        origin="openrouter",
    ).to_dict(),
    {"role": "tool", "tool_call_id": "call_1", "content": "noon"},
]
CALL = {"id": "call_1", "type": "function", "function": {"name": "clock", "arguments": "{}"}}
MARKER = {"cache_control": {"type": "ephemeral"}}
ANSWER = sse(chunk(delta(content="Noon.")), chunk(delta("stop")))


def sent(row, messages, **parameters):
    provider = row(base_url="http://127.0.0.1:9", key="a-key")
    return Played(provider, ANSWER, messages=messages, **parameters).request.json


def test_no_key_of_the_routers_goes_out():
    messages = sent(openai, TURN)["messages"]
    assert messages[1] == {"role": "assistant", "content": None, "tool_calls": [CALL]}


def test_reasoning_goes_back_where_the_service_wants_it():
    deepseek = sent(compatible.deepseek, TURN)["messages"][1]
    assert deepseek["reasoning_content"] == "Look at the clock."
    openrouter = sent(compatible.openrouter, TURN)["messages"][1]
    detail = {"type": "reasoning.text", "text": "Look at the clock.", "signature": "sig"}
    assert openrouter["reasoning_details"] == [detail]


def test_given_messages_are_not_changed():
    given = [dict(message) for message in TURN]
    before = repr(given)
    sent(compatible.mistral, given, reasoning_effort="low")
    assert repr(given) == before


def test_cache_markers_go_to_those_who_take_them():
    part = {"type": "text", "text": "A long text.", **MARKER}
    messages = [{"role": "user", "content": [part], **MARKER}]
    tools = [{"type": "function", "function": {"name": "clock"}, **MARKER}]
    for row in (compatible.openrouter, compatible.alibaba):
        body = sent(row, messages, tools=tools)
        assert body["messages"][0]["content"][0] == part
        assert body["tools"] == tools
    body = sent(openai, messages, tools=tools)
    assert "cache_control" not in repr(body)
    assert body["messages"][0]["content"][0]["text"] == "A long text."


def test_what_has_no_name_here_goes_along():
    row = Row(name="here", base_url="", url_variable="HERE_BASE_URL", key_variables=())
    messages = [{"role": "assistant", "content": "Once", "prefix": True}]
    assert sent(row, messages)["messages"] == messages
