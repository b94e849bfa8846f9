"""What a call brings can be copied, kept and sent to another process."""

import copy
import pickle

import pytest

from router import (
    Attempt,
    Choice,
    Chunk,
    Citation,
    Completion,
    Model,
    PassedOver,
    Prices,
    Reasoning,
    Restart,
    Target,
    Tier,
    ToolCall,
    ToolCallDelta,
    Trace,
    Usage,
)

USAGE = Usage(input_tokens=3, output_tokens=5)
ATTEMPT = Attempt(
    number=1,
    target="groq/llama",
    provider="groq",
    model="llama",
    outcome="succeeded",
    started_ms=0.0,
    latency_ms=12.5,
    usage=USAGE,
    renamed={"max_tokens": "max_new_tokens"},
)
PASSED_OVER = PassedOver(target="h2o/falcon-7b", reason="value", detail="temperature is too high")
TRACE = Trace(request_id="1", attempts=(ATTEMPT,), passed_over=(PASSED_OVER,))
CHOICE = Choice(
    text="Hello",
    tool_calls=(ToolCall(id="1", name="look", arguments="{}"),),
    reasoning_blocks=(Reasoning(text="Well"),),
    citations=(Citation(url="https://example.org", raw={"rank": 1}),),
    finish_reason="stop",
)
VALUES = [
    ATTEMPT,
    TRACE,
    CHOICE,
    Completion(choices=(CHOICE,), target="groq/llama", model="llama", trace=TRACE, usage=USAGE),
    Chunk(text="Hel", tool_call=ToolCallDelta(index=1, arguments="{"), raw={"x": [1]}, usage=USAGE),
    Restart(target="groq/llama", discard_characters=3),
    Target("groq", "llama", {"temperature": 0.5}, tags=("eu",), max_concurrency=2),
    Model(id="llama", prices=Prices(input=1.0, output=2.0, tiers=(Tier(above=9, input=3.0),))),
]


@pytest.mark.parametrize("value", VALUES, ids=lambda value: type(value).__name__)
@pytest.mark.parametrize(
    "way", [copy.copy, copy.deepcopy, lambda value: pickle.loads(pickle.dumps(value))]
)
def test_value_can_be_copied_and_sent_to_another_process(value, way):
    again = way(value)
    assert type(again) is type(value)
    assert again == value
    assert repr(again) == repr(value)
