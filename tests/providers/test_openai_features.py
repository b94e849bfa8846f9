"""Every feature at every row: what goes out for it, and what comes of the answer."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from emulators.chat import QUESTION, Played, call, chunk, delta, message, sse
from features import FEATURES, emulated

from providers import compatible
from providers.openai import Row, openai
from router import AuthError, Citation, RateLimited

ROWS = [openai, *(value for value in vars(compatible).values() if isinstance(value, Row))]

PICTURE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw=="}}
SOUND = {"type": "input_audio", "input_audio": {"data": "UklGRg==", "format": "wav"}}
PAPER = {
    "type": "file",
    "file": {"filename": "a.pdf", "file_data": "data:application/pdf;base64,JVBERg=="},
}
MARKED = {"type": "text", "text": "Long.", "cache_control": {"type": "ephemeral"}}
CLOCK = {"type": "function", "function": {"name": "clock", "parameters": {"type": "object"}}}
CALLED = call(0, "aB3dE6gH9", name="clock", arguments="{}")
SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}}
WANTED = {"type": "json_schema", "json_schema": {"name": "City", "schema": SCHEMA}}


def asked(row: Row, answer: Any = None, *, stream: bool = False, **given: Any) -> Played:
    provider = row(base_url="http://127.0.0.1:9", key="a-key")
    body = answer or chunk(message(content="Hello"))
    sent = body if isinstance(body, bytes) else json.dumps(body).encode()
    return Played(provider, sent, stream=stream, **given)


def answers_whole(row: Row) -> None:
    assert asked(row).completion.text == "Hello"


def streams(row: Row) -> None:
    usage = {"prompt_tokens": 9, "completion_tokens": 3}
    events = [chunk(delta(content="Hel")), chunk(delta(content="lo")), chunk(delta("stop"))]
    played = asked(row, sse(*events, chunk(usage=usage)), stream=True)
    assert played.request.json["stream"] is True
    assert (played.completion.text, played.completion.finish_reason) == ("Hello", "stop")
    assert played.completion.usage.output_tokens == 3


def fails(row: Row) -> None:
    provider = row(base_url="http://127.0.0.1:9", key="a-key")
    body = json.dumps({"error": {"message": "No.", "type": "x"}}).encode()
    for status, kind in ((401, AuthError), (429, RateLimited)):
        assert type(Played(provider, body, status=status).error) is kind


def passes_system_prompts(row: Row) -> None:
    system = {"role": "system", "content": "Be brief."}
    assert asked(row, messages=[system, *QUESTION]).request.json["messages"][0] == system


def passes_turns(row: Row) -> None:
    turns = [*QUESTION, {"role": "assistant", "content": "Hello."}, *QUESTION]
    assert asked(row, messages=turns).request.json["messages"] == turns


def passes_part(part: dict[str, Any]) -> Callable[[Row], None]:
    def passes(row: Row) -> None:
        messages = [{"role": "user", "content": [{"type": "text", "text": "What is this?"}, part]}]
        assert asked(row, messages=messages).request.json["messages"] == messages

    return passes


def calls_tools(row: Row) -> None:
    played = asked(row, chunk(message("tool_calls", tool_calls=[CALLED])), tools=[CLOCK])
    assert played.request.json["tools"] == [CLOCK]
    (made,) = played.completion.tool_calls
    assert (made.id, made.name, made.parsed()) == ("aB3dE6gH9", "clock", {})


def takes_results(row: Row) -> None:
    made = asked(row, chunk(message("tool_calls", tool_calls=[CALLED]))).completion
    result = {"role": "tool", "tool_call_id": "aB3dE6gH9", "content": "noon"}
    messages = [*QUESTION, made.to_message().to_dict(), result]
    sent = asked(row, messages=messages, tools=[CLOCK]).request.json["messages"]
    assert sent[1]["tool_calls"][0]["function"]["name"] == "clock"
    assert sent[2] == result


def reasons(row: Row) -> None:
    """Whatever place it comes from; the place that it goes back to has tests of its own."""
    said = {"reasoning_content": "Hm."}
    if row.reasoning == "reasoning_details":
        said = {"reasoning_details": [{"type": "reasoning.text", "text": "Hm.", "index": 0}]}
    made = asked(row, chunk(message(content="Hello", **said))).completion
    assert (made.reasoning, made.text) == ("Hm.", "Hello")
    messages = [*QUESTION, made.to_message().to_dict(), *QUESTION]
    sent = json.dumps(asked(row, messages=messages).request.json)
    assert ("Hm." in sent) == (row.reasoning is not None)


def passes(parameter: str, value: Any) -> Callable[[Row], None]:
    """The parameter goes out, by whatever name and knob: what those are has tests of its own."""

    def goes_out(row: Row) -> None:
        assert asked(row, **{parameter: value}).request.json != asked(row).request.json

    return goes_out


def answers_in_json(row: Row) -> None:
    played = asked(row, chunk(message(content='{"city": "Ghent"}')), response_format=WANTED)
    assert json.dumps(SCHEMA["properties"])[1:-1] in json.dumps(played.request.json).replace(
        '\\"', '"'
    )
    assert json.loads(played.completion.text) == {"city": "Ghent"}


def answers_twice(row: Row) -> None:
    both = chunk(message(content="Hello"), message(index=1, content="Hi"))
    played = asked(row, both, n=2)
    assert played.request.json["n"] == 2
    assert [choice.text for choice in played.completion.choices] == ["Hello", "Hi"]


def tells_log_probabilities(row: Row) -> None:
    entries = [{"token": "Hello", "logprob": -0.5}]
    whole = chunk({**message(content="Hello"), "logprobs": {"content": entries}})
    played = asked(row, whole, logprobs=True)
    assert played.request.json["logprobs"]
    assert played.completion.choices[0].logprobs == tuple(entries)


def cites(row: Row) -> None:
    played = asked(row, chunk(message(content="Hello"), citations=["https://example.org"]))
    url = "https://example.org"
    assert played.completion.choices[0].citations == (Citation(url=url, raw=url),)


def passes_cache_markers(row: Row) -> None:
    messages = [{"role": "user", "content": [MARKED]}]
    assert asked(row, messages=messages).request.json["messages"] == messages


def counts_cached_tokens(row: Row) -> None:
    usage = {"prompt_tokens": 9, "completion_tokens": 3, "prompt_tokens_details": {}}
    usage["prompt_tokens_details"] = {"cached_tokens": 5}
    played = asked(row, chunk(message(content="Hello"), usage=usage))
    assert played.completion.usage.cached_tokens == 5


SHOWN: dict[str, Callable[[Row], None]] = {
    "whole answers": answers_whole,
    "streaming": streams,
    "errors": fails,
    "system prompts": passes_system_prompts,
    "several turns": passes_turns,
    "images": passes_part(PICTURE),
    "audio": passes_part(SOUND),
    "files": passes_part(PAPER),
    "tools": calls_tools,
    "tool results": takes_results,
    "reasoning": reasons,
    "reasoning effort": passes("reasoning_effort", "high"),
    "structured output": answers_in_json,
    "stop": passes("stop", ["\n"]),
    "seed": passes("seed", 1),
    "several answers": answers_twice,
    "log probabilities": tells_log_probabilities,
    "citations": cites,
    "cache markers": passes_cache_markers,
    "cached tokens": counts_cached_tokens,
}

# Only some services have any of these: elsewhere a fixture of ours would show nothing.
OF_FEW = {
    "citations": {"openai", "openrouter", "perplexity", "xai"},
    "audio": {"openai", "openrouter", "mistral"},
    "files": {"openai", "openrouter"},
}


def has(row: Row, feature: str) -> bool:
    if feature == "cache markers":
        return row.cache_markers
    parameter = FEATURES[feature]
    return parameter not in (*row.without, *row.only) and row.name in OF_FEW.get(
        feature, {row.name}
    )


@pytest.mark.parametrize(
    ("row", "feature"),
    [
        pytest.param(row, feature, marks=emulated(row.name, feature), id=f"{row.name}-{feature}")
        for row in ROWS
        for feature in SHOWN
        if has(row, feature)
    ],
)
def test_feature_of_a_row(row: Row, feature: str) -> None:
    SHOWN[feature](row)
