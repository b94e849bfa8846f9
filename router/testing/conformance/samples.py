"""Samples: what a server would answer to one exchange, and what is to come of it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct, field

from router import errors
from router.errors import ConfigError, RouterError
from router.types import FinishReason, Usage

QUESTION: tuple[dict[str, Any], ...] = (
    {"role": "user", "content": "Write one sentence about the sea."},
)


class Reply(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One response of the server; at most one of `text`, `json` and `content` is its body.

    Attributes:
        status: The HTTP status.
        headers: Names in lower case.
        text: The body as text: server-sent events, lines of JSON.
        json: The body as the value that it is the JSON of.
        content: The body as bytes; in a file of samples, as base64.
    """

    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    text: str = ""
    json: Any = None
    content: bytes = b""

    @property
    def body(self) -> bytes:
        """The bytes of the body."""
        if self.json is not None:
            return msgspec.json.encode(self.json)
        return self.content or self.text.encode()


class Sample(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One exchange: what is asked, the server's responses, and the answer or the error.

    A streamed and a whole sample of one `name` are the same answer in two forms, and must come out
    the same. A blocking provider's sample has no replies: it is a call that can be made.

    Attributes:
        name: What it is called in a report.
        replies: The responses, in the order in which the exchange asks for them.
        stream: Whether the caller asks for a stream.
        model: The model that is asked; by default the first that is advertised.
        messages: Dicts of the OpenAI API; by default a question.
        parameters: Of the call, under any of their common names.
        text: The answer's text.
        tool_calls: Name and arguments of each; the arguments are JSON, and compared as such.
        finish_reason: How the answer ends; by default by `stop`, or by nothing that is said of it.
        reasoning, refusal, usage: Of the answer; `None` where it is not compared.
        end: What stands in the last body where the answer is whole: the text of its terminal
            marker. By default the last body is whole at its end alone.
        error: In place of an answer: the name of its class in `router.errors`.
        code, retryable, possibly_billed: The error's; by default the code is not compared, and
            the others are what the class and the status say.
    """

    name: str
    replies: Sequence[Reply] = ()
    stream: bool = False
    model: str | None = None
    messages: Sequence[Mapping[str, Any]] = QUESTION
    parameters: Mapping[str, Any] = field(default_factory=dict)
    text: str = ""
    tool_calls: Sequence[tuple[str, str]] = ()
    finish_reason: FinishReason | None = None
    reasoning: str | None = None
    refusal: str | None = None
    usage: Usage | None = None
    end: str = ""
    error: str | None = None
    code: str | None = None
    retryable: bool | None = None
    possibly_billed: bool | None = None

    @property
    def label(self) -> str:
        """What a report calls it: its name, and its form."""
        return f"{self.name} ({'streamed' if self.stream else 'whole'})"

    @property
    def last_body(self) -> bytes:
        """The body that holds the answer."""
        return self.replies[-1].body if self.replies else b""

    @property
    def error_type(self) -> type[RouterError] | None:
        """The class of the error that it is a sample of."""
        return None if self.error is None else getattr(errors, self.error)

    def with_last(self, reply: Reply) -> Sample:
        """The same with another last response."""
        return msgspec.structs.replace(self, replies=(*self.replies[:-1], reply))


def check_samples(samples: Iterable[Sample]) -> tuple[Sample, ...]:
    """The samples, when each can be used.

    Raises:
        ConfigError: Two have one name and one form, an error is none of `router.errors`, a body is
            given twice, or the end is not in the body.
    """
    checked: dict[str, Sample] = {}
    for sample in samples:
        where = f"the sample {sample.label}"
        if sample.label in checked:
            raise ConfigError(f"{where} is there twice")
        kind = getattr(errors, sample.error, None) if sample.error is not None else RouterError
        if not (isinstance(kind, type) and issubclass(kind, RouterError)):
            raise ConfigError(f"{where}: {sample.error} is no error of router.errors")
        for reply in sample.replies:
            if bool(reply.text) + (reply.json is not None) + bool(reply.content) > 1:
                raise ConfigError(f"{where}: a reply has one of text, json and content")
        if sample.end.encode() not in sample.last_body:
            raise ConfigError(f"{where}: its end is not in its last body")
        checked[sample.label] = sample
    return tuple(checked.values())


def read_samples(path: Path) -> tuple[Sample, ...]:
    """The samples of a file: a JSON list of objects with the fields of `Sample`.

    Raises:
        ConfigError: The file cannot be read, is no such list, or a sample cannot be used.
    """
    try:
        samples = msgspec.json.decode(path.read_bytes(), type=list[Sample])
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from None
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: {error}") from None
    return check_samples(samples)
