"""What text-generation-inference 0.9 has against a request, in its words."""

import json
from dataclasses import dataclass
from typing import Any

from emulators.loopback import compact


class Refused(Exception):
    """A request that TGI does not take: the status and the text of its plain answer."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status
        self.text = text


# Name, the Rust type that serde expects, whether null will do.
_FIELDS = (
    ("best_of", "usize", True),
    ("temperature", "f32", True),
    ("repetition_penalty", "f32", True),
    ("top_k", "i32", True),
    ("top_p", "f32", True),
    ("typical_p", "f32", True),
    ("do_sample", "a boolean", False),
    ("max_new_tokens", "u32", False),
    ("return_full_text", "a boolean", True),
    ("stop", "a sequence", False),
    ("truncate", "usize", True),
    ("watermark", "a boolean", False),
    ("details", "a boolean", False),
    ("decoder_input_details", "a boolean", False),
    ("seed", "u64", True),
)


def _fits(value: object, expected: str) -> bool:
    if expected == "a boolean":
        return isinstance(value, bool)
    if expected == "a sequence":
        return isinstance(value, list) and all(isinstance(item, str) for item in value)
    if expected == "f32":
        return isinstance(value, int | float) and not isinstance(value, bool)
    whole = isinstance(value, int) and not isinstance(value, bool)
    return whole and (expected == "i32" or value >= 0)  # type: ignore[operator]  # a number here


def deserialized(raw: bytes) -> dict[str, Any]:
    """The body as serde reads it; raises `Refused` as axum's JSON extractor answers."""
    try:
        body = json.loads(raw)
    except ValueError as error:
        raise Refused(400, f"Failed to parse the request body as JSON: {error}") from error
    complaint = "Failed to deserialize the JSON body into the target type: "
    if not isinstance(body, dict) or not isinstance(body.get("inputs"), str):
        raise Refused(422, complaint + "missing field `inputs`")
    parameters = body.get("parameters", {})
    if not isinstance(parameters, dict):
        raise Refused(422, complaint + "parameters: invalid type")
    for name, expected, nullable in _FIELDS:
        value = parameters.get(name)
        if name not in parameters or (value is None and nullable) or _fits(value, expected):
            continue
        shown = compact(value)
        raise Refused(
            422, f"{complaint}parameters.{name}: invalid type: {shown}, expected {expected}"
        )
    return body


@dataclass(frozen=True, slots=True)
class Limits:
    """What TGI is launched with, in tokens; a token of a prompt is a word here."""

    max_input_length: int = 4096
    max_total_tokens: int = 8192
    max_stop_sequences: int = 4


DEFAULT_NEW_TOKENS = 20  # of TGI before 2.0


def _out_of_range(parameters: dict[str, Any]) -> str | None:
    """The complaint about one parameter on its own, in the order of TGI's validation."""

    def given(name: str) -> Any:
        value = parameters.get(name)
        return 1 if value is None else value

    for name in ("temperature", "repetition_penalty"):
        if given(name) <= 0:
            return f"`{name}` must be strictly positive"
    for name in ("top_p", "typical_p"):
        if parameters.get(name) is not None and not 0 < parameters[name] < 1:
            return f"`{name}` must be > 0.0 and < 1.0"
    for name in ("top_k", "max_new_tokens"):
        if given(name) <= 0:
            return f"`{name}` must be strictly positive"
    return None


def invalid(body: dict[str, Any], limits: Limits) -> str | None:
    """What TGI's validation has against a request, or None."""
    parameters = body.get("parameters", {})
    if complaint := _out_of_range(parameters):
        return complaint
    if (stops := len(parameters.get("stop", ()))) > limits.max_stop_sequences:
        return f"`stop` supports up to {limits.max_stop_sequences} stop sequences. Given: {stops}"
    if not body["inputs"]:
        return "`inputs` cannot be empty"
    truncate = parameters.get("truncate")
    if truncate is not None and not 0 < truncate <= limits.max_input_length:
        return (
            "`truncate` must be strictly positive and less than"
            f" {limits.max_input_length}. Given: {truncate}"
        )
    words = len(body["inputs"].split())
    length = words if truncate is None else min(words, truncate)
    new = parameters.get("max_new_tokens", DEFAULT_NEW_TOKENS)
    if length + new > limits.max_total_tokens:
        return (
            f"`inputs` tokens + `max_new_tokens` must be <= {limits.max_total_tokens}."
            f" Given: {length} `inputs` tokens and {new} `max_new_tokens`"
        )
    if length > limits.max_input_length:
        return f"`inputs` must have less than {limits.max_input_length} tokens. Given: {length}"
    return None
