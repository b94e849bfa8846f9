"""What services sent, read by the codec and by a plain reading of the same JSON: they agree."""

import csv
import json

import pytest
from conftest import SHARED
from emulators.chat import Played, split
from hypothesis import given
from hypothesis import strategies as st

from providers import compatible
from providers.openai import openai
from router import AuthError, BadRequest, ContextOverflow, ModelNotFound, RateLimited

CASSETTES = SHARED / "cassettes"
ROWS = {row.name: row for row in (compatible.openrouter, compatible.groq, compatible.deepseek)}
ROWS["ollama"] = compatible.ollama

# Recorded under another name than that of the service that answered.
ANSWERED_BY = {"openai/llm--tools-streaming-variant-a.0.json": "openrouter"}


def recorded():
    """Provider, status and body by file, of all chat completions."""
    if not CASSETTES.is_dir():
        return {}
    found = {}
    with (CASSETTES / "MANIFEST.tsv").open() as manifest:
        for row in csv.DictReader(manifest, delimiter="\t"):
            if row["endpoint"] == "chat.completions":
                response = json.loads((CASSETTES / row["file"]).read_text())["response"]
                provider = ANSWERED_BY.get(row["file"], row["provider"])
                found[row["file"]] = (provider, response["status"], response["body"].encode())
    return found


FILES = recorded()
FAILED = {name for name, (_, status, body) in FILES.items() if status >= 400 or b'{"error"' in body}
ANSWERED = FILES.keys() - FAILED

pytestmark = pytest.mark.skipif(not FILES, reason=f"no recorded traffic at {CASSETTES}")


def play(name, cuts=()):
    provider, status, body = FILES[name]
    stream = not body.lstrip().startswith(b"{")
    row = ROWS.get(provider, openai)
    return Played(row(key="a-key"), split(body, cuts), status=status, stream=stream)


def plainly(body):
    """Choices of the first index, usage, id and model, as the JSON says them."""
    if body.lstrip().startswith(b"{"):
        replies = [json.loads(body)]
    else:
        lines = [line.removeprefix("data: ") for line in body.decode().splitlines()]
        replies = [json.loads(line) for line in lines if line.startswith("{")]
    choices = [choice for reply in replies for choice in reply["choices"] if choice["index"] == 0]
    usages = [reply.get("usage") or reply.get("x_groq", {}).get("usage") for reply in replies]
    messages = [choice.get("delta") or choice.get("message") or {} for choice in choices]
    finishes = [choice["finish_reason"] for choice in choices if choice.get("finish_reason")]
    return {
        "text": "".join(text_of(each.get("content")) for each in messages),
        "reasoning": "".join(reasoning_of(each) for each in messages),
        "calls": calls_of(messages),
        "finish": finishes[0] if finishes else None,
        "usage": next((usage for usage in reversed(usages) if usage), None),
        "id": next((reply["id"] for reply in replies if reply["id"]), None),
        "model": next((reply["model"] for reply in replies if reply["model"]), None),
    }


def text_of(content):
    if isinstance(content, list):
        return "".join(part["text"] for part in content if part["type"] == "text")
    return content or ""


def reasoning_of(message):
    content = message.get("content")
    parts = content if isinstance(content, list) else []
    thinking = [inner["text"] for part in parts for inner in part.get("thinking", ())]
    return message.get("reasoning_content") or message.get("reasoning") or "".join(thinking)


def calls_of(messages):
    """Names and arguments, by number; a call without one is whole."""
    calls = {}
    for number, piece in enumerate(p for m in messages for p in m.get("tool_calls") or ()):
        called = piece.get("function") or piece["custom"]
        made = calls.setdefault(piece.get("index", number), ["", ""])
        made[0] = made[0] or called.get("name", "")
        made[1] += called.get("arguments") or called.get("input") or ""
    return [tuple(made) for made in calls.values()]


@pytest.mark.parametrize("name", sorted(ANSWERED))
def test_recorded_answer_is_read_as_it_was_sent(name):
    completion = play(name).completion
    expected = plainly(FILES[name][2])
    choice = completion.choices[0]
    assert choice.text == expected["text"]
    assert choice.reasoning == expected["reasoning"]
    assert [(call.name, call.arguments) for call in choice.tool_calls] == expected["calls"]
    assert all(call.id for call in choice.tool_calls)
    assert choice.finish_reason == (expected["finish"] or "other")
    assert (completion.id, completion.model) == (expected["id"], expected["model"])
    assert completion.usage.total_tokens == expected["usage"]["total_tokens"]


@pytest.mark.parametrize("name", sorted(FAILED))
def test_recorded_error_becomes_its_class(name):
    _, status, body = FILES[name]
    played = play(name)
    if b"tool_use_failed" in body:
        assert (type(played.error), played.error.code) == (BadRequest, "tool_use_failed")
    else:
        kinds = {400: ContextOverflow, 401: AuthError, 404: ModelNotFound, 429: RateLimited}
        assert type(played.error) is kinds[status]
    assert played.error.status == max(status, 400)


@given(data=st.data())
def test_recorded_traffic_does_not_depend_on_how_it_is_split(data):
    name = data.draw(st.sampled_from(sorted(FILES)))
    cuts = data.draw(st.lists(st.integers(0), max_size=20))
    whole, pieces = play(name), play(name, cuts)
    assert pieces.pieces == whole.pieces
    assert str(pieces.error) == str(whole.error)
