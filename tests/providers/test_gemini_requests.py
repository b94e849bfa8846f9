"""What goes out on Gemini's wire: conversations and parameters, as bodies."""

import base64
import copy
import json

import pydantic
import pytest
from features import emulated
from hypothesis import given
from hypothesis import strategies as st

from providers.gemini import Gemini
from providers.gemini_requests import MADE, UNSEALED, conversation, is_old, settings
from router import (
    Audio,
    BadRequest,
    File,
    Image,
    Message,
    Text,
    ToolCall,
    UnsupportedParameter,
    Video,
)
from router.messages import check_messages
from router.structured import response_format_of

OLD, NEW = "gemini-2.5-flash", "gemini-3.5-flash"
TOOLS = [{"type": "function", "function": {"name": "clock"}}]
WEATHER = {"type": "object", "properties": {"city": {"type": "string"}}}


def body_of(*messages, old=False):
    return conversation(check_messages(messages), old=old)


def contents_of(*messages, old=False):
    return body_of(*messages, old=old)["contents"]


def user(content):
    return {"role": "user", "content": content}


def call(call_id, name, arguments="{}", **more):
    return {
        "id": call_id,
        "type": "function",
        "function": {"name": name, "arguments": arguments},
        **more,
    }


def asked(*calls, content=None, **more):
    return {"role": "assistant", "content": content, "tool_calls": list(calls), **more}


def result(call_id, content):
    return {"role": "tool", "tool_call_id": call_id, "content": content}


# -- messages


def test_turns_are_the_users_and_the_models():
    said = {"role": "assistant", "content": "Hello"}
    assert contents_of(user("Hi"), said, user("And?")) == [
        {"role": "user", "parts": [{"text": "Hi"}]},
        {"role": "model", "parts": [{"text": "Hello"}]},
        {"role": "user", "parts": [{"text": "And?"}]},
    ]


@emulated("gemini", "system prompts")
def test_system_messages_alone_are_the_users_turn():
    """The service refuses an empty list of contents."""
    assert body_of({"role": "system", "content": "Be brief."}) == {
        "contents": [{"role": "user", "parts": [{"text": "Be brief."}]}]
    }


@emulated("gemini", "system prompts")
def test_system_messages_stand_beside_the_conversation_wherever_they_stood():
    brief = {"role": "system", "content": "Be brief."}
    kind = {"role": "developer", "content": [{"type": "text", "text": "Be kind."}]}
    assert body_of(brief, user("Hi"), kind) == {
        "contents": [{"role": "user", "parts": [{"text": "Hi"}]}],
        "systemInstruction": {"parts": [{"text": "Be brief."}, {"text": "Be kind."}]},
    }


def test_empty_answer_of_the_model_is_a_part_all_the_same():
    assert contents_of({"role": "assistant", "content": ""}) == [
        {"role": "model", "parts": [{"text": ""}]}
    ]


PARTS = [
    (Text(text="Hi"), {"text": "Hi"}),
    (
        Image(data=b"png", media_type="image/png"),
        {"inlineData": {"mimeType": "image/png", "data": "cG5n"}},
    ),
    (Image(data=b"?"), {"inlineData": {"mimeType": "application/octet-stream", "data": "Pw=="}}),
    (
        Image(url="https://example.org/a.jpg?b=c"),
        {"fileData": {"fileUri": "https://example.org/a.jpg?b=c", "mimeType": "image/jpeg"}},
    ),
    (
        Image(url="gs://bucket/a", media_type="image/webp"),
        {"fileData": {"fileUri": "gs://bucket/a", "mimeType": "image/webp"}},
    ),
    (
        Audio(data=b"wav", format="wav"),
        {"inlineData": {"mimeType": "audio/wav", "data": base64.b64encode(b"wav").decode()}},
    ),
    (
        Video(data=b"mp4", media_type="video/mp4"),
        {"inlineData": {"mimeType": "video/mp4", "data": "bXA0"}},
    ),
    (
        Video(url="https://www.youtube.com/watch?v=x"),
        {"fileData": {"fileUri": "https://www.youtube.com/watch?v=x"}},
    ),
    (
        File(url="https://example.org/a.pdf"),
        {"fileData": {"fileUri": "https://example.org/a.pdf", "mimeType": "application/pdf"}},
    ),
    (
        File(data=b"pdf", media_type="application/pdf", name="a.pdf"),
        {"inlineData": {"mimeType": "application/pdf", "data": "cGRm"}},
    ),
    (
        File(data=b"pdf", name="a.pdf"),
        {"inlineData": {"mimeType": "application/pdf", "data": "cGRm"}},
    ),
    (
        File(id="https://service/v1beta/files/abc"),
        {"fileData": {"fileUri": "https://service/v1beta/files/abc"}},
    ),
    (
        File(id="gs://bucket/x", name="x.mp4"),
        {"fileData": {"fileUri": "gs://bucket/x", "mimeType": "video/mp4"}},
    ),
]


@emulated("gemini", "images", "audio", "files")
@pytest.mark.parametrize(("part", "wanted"), PARTS)
def test_part_goes_out_with_its_bytes_or_its_place(part, wanted):
    assert contents_of(user([part])) == [{"role": "user", "parts": [wanted]}]


# -- tools


def test_call_keeps_the_id_that_the_service_gave_it():
    (_, answer) = contents_of(asked(call("j80t", "clock")), result("j80t", "noon"), old=True)
    assert answer["parts"] == [
        {"functionResponse": {"name": "clock", "response": {"output": "noon"}, "id": "j80t"}}
    ]


def test_call_whose_id_was_made_here_goes_back_without_it():
    made = f"{MADE}r-1"
    assert contents_of(asked(call(made, "clock")), result(made, "noon"), old=True) == [
        {"role": "model", "parts": [{"functionCall": {"name": "clock", "args": {}}}]},
        {
            "role": "user",
            "parts": [{"functionResponse": {"name": "clock", "response": {"output": "noon"}}}],
        },
    ]


def test_results_of_one_turn_are_one_message_in_the_order_of_the_calls():
    """Calls of one name that have no ids are matched by nothing else."""
    calls = [call(f"{MADE}r-{n}", "clock", json.dumps({"zone": n})) for n in (1, 2, 3)]
    results = [result(f"{MADE}r-{n}", f"at {n}") for n in (3, 1, 2)]
    _, answer = contents_of(asked(*calls), *results)
    told = [part["functionResponse"]["response"]["output"] for part in answer["parts"]]
    assert told == ["at 1", "at 2", "at 3"]


def test_result_belongs_to_the_last_call_with_its_id():
    turns = contents_of(
        *(asked(call("1", "clock")), result("1", "noon")),
        *(asked(call("2", "sea"), call("1", "sun")), result("1", "up"), result("2", "calm")),
    )
    names = [part["functionResponse"]["name"] for part in turns[3]["parts"]]
    assert names == ["sea", "sun"]


def test_result_in_json_goes_as_the_object_that_it_is():
    _, answer = contents_of(asked(call("1", "sun")), result("1", '{"up": true}'))
    assert answer["parts"][0]["functionResponse"]["response"] == {"up": True}


@pytest.mark.parametrize("text", ["", "[1]", "NaN", '{"up":', "7", "[" * 5000])
def test_result_that_is_no_object_is_the_output(text):
    _, answer = contents_of(asked(call("1", "sun")), result("1", text))
    assert answer["parts"][0]["functionResponse"]["response"] == {"output": text}


PICTURE = Image(data=b"png", media_type="image/png")
INLINE = {"inlineData": {"mimeType": "image/png", "data": "cG5n"}}


def test_picture_as_a_result_is_a_part_of_it():
    shown = result("1", [Text(text="seen"), PICTURE])
    _, answer = contents_of(asked(call("1", "look")), shown)
    function = answer["parts"][0]["functionResponse"]
    assert function["parts"] == [INLINE]
    assert function["response"] == {"output": "seen"}
    _, answer = contents_of(asked(call("1", "look")), result("1", [PICTURE]))
    assert answer["parts"][0]["functionResponse"]["response"] == {}


def test_picture_as_a_result_stands_beside_it_for_older_models():
    """They refuse a `functionResponse` with parts."""
    _, answer = contents_of(asked(call("1", "look")), result("1", [PICTURE]), old=True)
    assert answer["parts"][1] == INLINE
    assert "parts" not in answer["parts"][0]["functionResponse"]


def test_result_of_an_unknown_call_needs_a_name():
    lost = {**result("lost", "noon"), "name": "clock"}
    (answer,) = contents_of(lost)
    assert answer["parts"][0]["functionResponse"]["name"] == "clock"
    with pytest.raises(BadRequest, match="tool_call_id"):
        contents_of(result("lost", "noon"))


@pytest.mark.parametrize(
    ("arguments", "wanted"),
    [('{"a": 1}', {"a": 1}), ("", {}), ("{", {"arguments": "{"}), ("[1]", {"arguments": "[1]"})],
)
def test_arguments_are_an_object_whatever_a_model_wrote(arguments, wanted):
    (turn,) = contents_of(asked(call("1", "sun", arguments)), old=True)
    assert turn["parts"][0]["functionCall"]["args"] == wanted


# -- seals


def test_seal_of_a_call_goes_back_with_it():
    sealed = call("1", "sun", signature="c2VhbA==")
    (turn,) = contents_of(asked(sealed, call("2", "sea"), content="Wait."))
    assert turn["parts"] == [
        {"text": "Wait."},
        {
            "functionCall": {"name": "sun", "args": {}, "id": "1"},
            "thoughtSignature": "c2VhbA==",
        },
        {"functionCall": {"name": "sea", "args": {}, "id": "2"}},
    ]


def test_calls_that_another_model_made_are_marked_as_unsealed():
    """Gemini 3 refuses a call without a seal: a fallback to it would always fail."""
    (turn,) = contents_of(asked(call("1", "sun"), call("2", "sea")))
    assert [part.get("thoughtSignature") for part in turn["parts"]] == [UNSEALED, None]
    (turn,) = contents_of(asked(call("1", "sun")), old=True)
    assert "thoughtSignature" not in turn["parts"][0]


def block(start=None, end=None, **fields):
    place = {} if start is None else {"start": start, "end": end}
    return {**fields, "extra": {**place, **fields.get("extra", {})}}


def said(text, *blocks):
    (turn,) = contents_of({"role": "assistant", "content": text, "reasoning_blocks": list(blocks)})
    return turn["parts"]


def test_seals_of_the_text_go_back_in_their_places():
    run = {"executableCode": {"code": "1+1"}, "thoughtSignature": "s3"}
    assert said(
        "One. Two. Three.",
        block(0, 0, text="Hm.", signature="s1"),
        block(5, 9, signature="s2"),
        block(9, 9, extra={"part": run}),
        block(16, 16, signature="s4"),
    ) == [
        {"text": "Hm.", "thought": True, "thoughtSignature": "s1"},
        {"text": "One. "},
        {"text": "Two.", "thoughtSignature": "s2"},
        run,
        {"text": " Three."},
        {"text": "", "thoughtSignature": "s4"},
    ]


@given(
    text=st.text(max_size=20),
    places=st.lists(st.tuples(st.integers(-5, 30), st.integers(-5, 30)), max_size=5),
)
def test_text_goes_out_whole_wherever_its_seals_claim_to_be(text, places):
    """The caller may have changed the text, or the blocks."""
    parts = said(text, *(block(start, end, signature="s") for start, end in places))
    assert "".join(part["text"] for part in parts) == text
    assert sum("thoughtSignature" in part for part in parts) == len(places)


def test_block_without_a_place_goes_before_the_text():
    assert said("Hi", block(text="Hm."), block(signature="s")) == [
        {"text": "Hm.", "thought": True},
        {"text": "", "thoughtSignature": "s"},
        {"text": "Hi"},
    ]


# -- parameters


@emulated("gemini", "stop", "seed", "structured output")
@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        ({"temperature": 0.5}, {"temperature": 0.5}),
        ({"top_p": 0.9}, {"topP": 0.9}),
        ({"top_k": 40}, {"topK": 40}),
        ({"max_tokens": 7}, {"maxOutputTokens": 7}),
        ({"stop": "\n"}, {"stopSequences": ["\n"]}),
        ({"stop": ["a", "b"]}, {"stopSequences": ["a", "b"]}),
        ({"n": 2}, {"candidateCount": 2}),
        ({"seed": 42}, {"seed": 42}),
        ({"presence_penalty": 0.1}, {"presencePenalty": 0.1}),
        ({"frequency_penalty": 0.1}, {"frequencyPenalty": 0.1}),
        ({"logprobs": True, "top_logprobs": 3}, {"responseLogprobs": True, "logprobs": 3}),
        ({"include_thoughts": True}, {"thinkingConfig": {"includeThoughts": True}}),
        ({"parallel_tool_calls": True}, None),
        ({"response_format": {"type": "text"}}, None),
        ({"response_format": {"type": "json_object"}}, {"responseMimeType": "application/json"}),
        (
            {
                "response_format": {
                    "type": "json_schema",
                    "json_schema": {"name": "w", "strict": True, "schema": WEATHER},
                }
            },
            {"responseMimeType": "application/json", "responseJsonSchema": WEATHER},
        ),
    ],
)
def test_parameter_goes_out_under_the_wires_name(given, wanted):
    assert settings(NEW, given) == ({} if wanted is None else {"generationConfig": wanted})


class Leaf(pydantic.BaseModel):
    name: str


class Branch(pydantic.BaseModel):
    leaf: Leaf
    branches: list["Branch"] = []


class Tree(pydantic.BaseModel):
    trunk: Branch


def test_what_leads_back_to_itself_is_optional():
    """Of a class every property is required, and the service refuses that of one in itself."""
    form, _ = response_format_of(Tree)
    before = copy.deepcopy(form)
    sent = settings(NEW, {"response_format": form})["generationConfig"]["responseJsonSchema"]
    assert sent["required"] == ["trunk"]
    assert sent["$defs"]["Leaf"]["required"] == ["name"]
    assert sent["$defs"]["Branch"]["required"] == ["leaf"]
    assert list(sent["$defs"]["Branch"]["properties"]) == ["leaf", "branches"]
    assert form == before


EFFORTS = {
    # effort: (2.5 Pro, 2.5 Flash, 3 Pro, 3 Flash)
    "none": (128, 0, "LOW", "MINIMAL"),
    "minimal": (1024, 1024, "LOW", "MINIMAL"),
    "low": (1024, 1024, "LOW", "LOW"),
    "medium": (8192, 8192, "MEDIUM", "MEDIUM"),
    "high": (24_576, 24_576, "HIGH", "HIGH"),
    "xhigh": (24_576, 24_576, "HIGH", "HIGH"),
    "max": (24_576, 24_576, "HIGH", "HIGH"),
}


@emulated("gemini", "reasoning effort")
@pytest.mark.parametrize("effort", EFFORTS)
def test_effort_is_a_budget_or_a_level(effort):
    names = ("gemini-2.5-pro", OLD, "gemini-3.1-pro-preview", NEW)
    for model, wanted in zip(names, EFFORTS[effort], strict=True):
        key = "thinkingBudget" if isinstance(wanted, int) else "thinkingLevel"
        config = settings(model, {"reasoning_effort": effort})["generationConfig"]
        assert config == {"thinkingConfig": {key: wanted}}


@pytest.mark.parametrize(
    ("model", "level"),
    [
        ("gemini-3-flash-preview", "MINIMAL"),
        ("gemini-3.6-flash", "MINIMAL"),
        ("gemini-3.1-flash-lite", "MINIMAL"),
        ("gemini-flash-lite-latest", "MINIMAL"),
        ("gemini-3.7-flash", "LOW"),
        ("gemini-3.8-flash", "LOW"),
        ("gemini-flash-latest", "LOW"),
        ("gemini-3.1-pro-preview", "LOW"),
    ],
)
def test_least_effort_is_a_level_that_the_model_has(model, level):
    """Flash since 3.7 was asked for `MINIMAL`, and refused the request."""
    config = settings(model, {"reasoning_effort": "none"})["generationConfig"]
    assert config == {"thinkingConfig": {"thinkingLevel": level}}


@pytest.mark.parametrize(
    ("model", "thinks"),
    [
        ("gemini-1.5-pro", False),
        ("gemini-2.0-flash-001", False),
        ("models/gemini-2.0-flash", False),
        ("gemma-3-27b-it", False),
        ("gemini-2.5-flash-lite", True),
        ("gemini-3.5-flash", True),
        ("gemini-20-flash", True),
        ("gemini-flash-latest", True),
        ("gemma-4-31b-it", True),
        ("tunedModels/mine", True),
    ],
)
def test_models_before_the_thinking_ones_are_told_apart(model, thinks):
    given = {"reasoning_effort": "low", "include_thoughts": False, "seed": 1}
    asked = {} if thinks else {"reasoning_effort", "include_thoughts"}
    assert Gemini(key="k").unfit(model, (), given).keys() == set(asked)


@pytest.mark.parametrize(
    ("model", "wanted"),
    [
        ("gemini-1.5-pro", True),
        ("gemini-2.0-flash-001", True),
        ("models/gemini-2.5-flash", True),
        ("gemini-3-flash-preview", False),
        ("gemini-20-pro", False),
        ("gemini-flash-latest", False),
        ("tunedModels/mine", False),
    ],
)
def test_models_before_the_third_generation_are_old(model, wanted):
    assert is_old(model) is wanted


def test_functions_are_declared_together_and_other_tools_go_as_they_are():
    described = {"name": "weather", "description": "It knows.", "parameters": WEATHER}
    functions = [
        {"type": "function", "function": {**described, "strict": True}},
        {"type": "function", "function": {"name": "clock"}},
    ]
    search = {"googleSearch": {}}
    assert settings(NEW, {"tools": [functions[0], search, functions[1]]})["tools"] == [
        {
            "functionDeclarations": [
                {
                    "name": "weather",
                    "description": "It knows.",
                    "parametersJsonSchema": WEATHER,
                },
                {"name": "clock"},
            ]
        },
        search,
    ]
    assert settings(NEW, {"tools": [search]})["tools"] == [search]
    assert settings(NEW, {"tools": []}) == {}


@pytest.mark.parametrize(
    ("choice", "wanted"),
    [
        ("auto", {"mode": "AUTO"}),
        ("none", {"mode": "NONE"}),
        ("required", {"mode": "ANY"}),
        (
            {"type": "function", "function": {"name": "clock"}},
            {"mode": "ANY", "allowedFunctionNames": ["clock"]},
        ),
    ],
)
def test_tool_choice_is_a_mode(choice, wanted):
    body = settings(NEW, {"tool_choice": choice, "tools": TOOLS})
    assert body["toolConfig"] == {"functionCallingConfig": wanted}


@pytest.mark.parametrize("tools", [None, [], [{"googleSearch": {}}]])
def test_tool_choice_is_left_out_where_there_is_no_function(tools):
    """The service answered with a 400."""
    assert "toolConfig" not in settings(NEW, {"tool_choice": "auto", "tools": tools})


JSON = {"type": "json_object"}


@pytest.mark.parametrize(
    ("model", "given", "wanted"),
    [
        (OLD, {"response_format": JSON, "tools": TOOLS}, {"response_format": "beside tools"}),
        (NEW, {"response_format": JSON, "tools": TOOLS}, {}),
        (OLD, {"response_format": JSON, "tools": []}, {}),
        (OLD, {"response_format": {"type": "text"}, "tools": TOOLS}, {}),
        (NEW, {"parallel_tool_calls": False}, {"parallel_tool_calls": "but True"}),
        (NEW, {"parallel_tool_calls": True}, {}),
    ],
)
def test_what_does_not_go_together_goes_elsewhere(model, given, wanted):
    """JSON beside functions was the call's own fault for a model before Gemini 3."""
    assert Gemini(key="k").unfit(model, (), given) == wanted


@pytest.mark.parametrize(
    "given",
    [
        {"tool_choice": "sometimes", "tools": TOOLS},
        {"tool_choice": {"type": "allowed_tools", "allowed_tools": {}}, "tools": TOOLS},
        {"tool_choice": {"type": "function", "function": {}}, "tools": TOOLS},
        {"response_format": {"type": "grammar"}},
        {"response_format": {"type": "json_schema"}},
        {"response_format": {"type": "json_schema", "json_schema": {"name": "no schema"}}},
    ],
)
def test_form_that_the_wire_lacks_is_refused(given):
    with pytest.raises(UnsupportedParameter, match=next(iter(given))):
        settings(NEW, given)


def test_result_of_a_call_that_failed_says_so():
    """It went out as any result."""
    failed = {**result("1", "it is broken"), "is_error": True}
    (part,) = body_of(asked(call("1", "sun")), failed)["contents"][-1]["parts"]
    assert part["functionResponse"]["response"] == {"error": "it is broken"}


def test_typed_messages_are_taken_as_dicts_are():
    asking = Message(role="assistant", tool_calls=(ToolCall(id="1", name="sun", arguments="{}"),))
    answer = Message(role="tool", tool_call_id="1", content="up")
    typed = conversation([asking, answer], old=False)
    assert typed == body_of(asked(call("1", "sun")), result("1", "up"))
