"""A chat-ui: the terms, the conversation, and the events of the TGI behind it."""

from __future__ import annotations

from typing import Any

from router import Usage
from router.testing.conformance import Reply, Sample

from . import TEXT, events

COOKIE = {"set-cookie": "hf-chat=5e551011; Path=/; HttpOnly; Secure; SameSite=None"}
OPENING = (
    Reply(status=303, headers={**COOKIE, "location": "/"}),
    Reply(headers=COOKIE, json={"conversationId": "64b1f0c2d9e8a7"}),
)


def token(text: str, special: bool = False, **rest: Any) -> dict[str, Any]:
    told = {"id": 1, "text": text, "logprob": -0.5, "special": special}
    return {"token": told, "generated_text": None, "details": None, **rest}


DETAILS = {"finish_reason": "eos_token", "generated_tokens": 4, "seed": None}
ANSWER = events(
    *[token(text) for text in TEXT],
    token("<|endoftext|>", special=True, generated_text="".join(TEXT), details=DETAILS),
)

SAMPLES = (
    Sample(
        name="text",
        stream=True,
        replies=(*OPENING, ANSWER),
        text="".join(TEXT),
        usage=Usage(output_tokens=4),
        end="}}",
    ),
    Sample(
        name="text",
        replies=(*OPENING, ANSWER),
        text="".join(TEXT),
        usage=Usage(output_tokens=4),
        end="}}",
    ),
    Sample(
        name="overloaded",
        stream=True,
        replies=(*OPENING, events({"error": "Model is overloaded", "error_type": "overloaded"})),
        error="Overloaded",
    ),
    Sample(
        name="terms",
        replies=(Reply(json={"message": "the site is closed"}, status=403),),
        error="PermissionDenied",
    ),
)
