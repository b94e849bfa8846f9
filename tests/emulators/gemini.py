"""Gemini's generateContent as bytes, and a server of it that knows a sentence about the sea."""

import json
from typing import Any

from emulators.loopback import LoopbackServer, Reply, Request

USAGE = {"promptTokenCount": 12, "candidatesTokenCount": 6, "totalTokenCount": 18}


def reply(
    *parts: Any, finish: str | None = None, index: int = 0, usage: Any = None, **candidate: Any
) -> dict[str, Any]:
    """A reply of the service, with one candidate of these parts."""
    told = {"content": {"parts": list(parts), "role": "model"}, "index": index, **candidate}
    return {
        "candidates": [{**told, **({"finishReason": finish} if finish else {})}],
        **({"usageMetadata": usage} if usage else {}),
        "modelVersion": "gemini-3.5-flash-001",
        "responseId": "r-1",
    }


def text(said: Any, **fields: Any) -> dict[str, Any]:
    """A part of text."""
    return {"text": said, **fields}


def called(
    name: str, arguments: Any = None, *, seal: str | None = None, **fields: Any
) -> dict[str, Any]:
    """A part that calls a function."""
    function = {"name": name, **({} if arguments is None else {"args": arguments}), **fields}
    return {"functionCall": function, **({"thoughtSignature": seal} if seal else {})}


def events(*replies: Any, end: str = "\r\n\r\n") -> bytes:
    """A stream as the service writes it, with CRLF."""
    return "".join(f"data: {json.dumps(each)}{end}" for each in replies).encode()


class Sea(LoopbackServer):
    """Says one sentence, looks before it does where it has tools, and thinks where it is asked."""

    def handle(self, request: Request) -> Reply:
        body = request.json()
        config = body.get("generationConfig", {})
        if "thinkingConfig" in config:
            parts = [text("**Recalling the sea**", thought=True), text("It is salt.")]
        elif "tools" in body and len(body["contents"]) == 1:
            parts = [called("look", {"at": "the sea"}, seal="c2VhbA==")]
        elif "tools" in body:
            parts = [text("The sea is calm.")]
        else:
            parts = [text(word) for word in ("The sea", " keeps", " no", " secrets.")]
        if "streamGenerateContent" not in request.path:
            return Reply.json(200, reply(*parts, finish="STOP", usage=USAGE))
        ending = reply(text(""), finish="STOP", usage=USAGE)
        return Reply(200, (), events(*(reply(part) for part in parts), ending))
