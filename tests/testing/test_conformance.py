"""The conformance kit: a good provider passes all checks, and each broken one fails one alone."""

from __future__ import annotations

import json
import logging
import socket
import threading
import time
from pathlib import Path
from typing import Annotated, Any, ClassVar

import pytest
from msgspec import Meta

from router import (
    FEATURE,
    TUNING,
    BadRequest,
    Bearer,
    Chunk,
    Cleanup,
    ConnectionLost,
    Exchange,
    HttpRequest,
    HttpResponse,
    JSONLines,
    Model,
    ToolCallDelta,
    UpstreamError,
    Usage,
    WireProvider,
    error_for_status,
)
from router.testing import conformance
from router.testing.conformance import Finding, Reply, Sample


class Sea(WireProvider):
    """A wire of lines: a `text`, a `call`, at last a `done`; a whole answer is one such object."""

    name = "sea"
    models: ClassVar[Any] = ["calm"]

    def __init__(self, key: str | None = None) -> None:
        self.key = Bearer(key or "another-key")

    def create_completion(
        self,
        model: str,
        messages: list[Any],
        stream: bool,
        *,
        temperature: Annotated[float | None, TUNING, Meta(ge=0, le=2)] = None,
        max_tokens: Annotated[int, FEATURE, Meta(ge=1)] = 100,
    ) -> Exchange:
        self.begin()
        yield Cleanup(self.forget)
        response = yield HttpRequest(
            "POST",
            self.url(),
            {"Authorization": self.key},
            json={"messages": messages, "max_tokens": max_tokens},
            stream=stream,
        )
        self.check(response)
        if response.streamed:
            yield from self.read(response)
        else:
            yield from self.take(self.whole(response))

    def begin(self) -> None: ...

    def url(self) -> str:
        return "http://sea.invalid/chat"

    def forget(self) -> Any:
        return HttpRequest("DELETE", self.url(), auxiliary=True)

    def check(self, response: HttpResponse) -> None:
        if response.status != 200:
            raise error_for_status(response.status, response.excerpt)

    def whole(self, response: HttpResponse) -> Any:
        return response.json(dict[str, Any])

    def read(self, response: HttpResponse) -> Exchange:
        lines = JSONLines()
        while data := (yield response):
            for line in lines.feed(data, dict[str, Any]):
                yield from self.take(line)
                if "done" in line:
                    return

    def take(self, said: dict[str, Any]) -> Exchange:
        if "error" in said:
            raise UpstreamError(said["error"])
        if "text" in said:
            yield said["text"]
        if "call" in said:
            yield Chunk(tool_call=ToolCallDelta(name="dive", arguments=json.dumps(said["call"])))
        if "done" in said:
            yield self.finish(said)
        elif "text" not in said and "call" not in said:
            raise UpstreamError("neither a piece nor an end")

    def finish(self, said: dict[str, Any]) -> Chunk:
        usage = Usage(input_tokens=3, output_tokens=said.get("tokens"))
        return Chunk(finish_reason=said["done"], usage=usage)


def lines(*said: dict[str, Any]) -> Reply:
    return Reply(text="".join(json.dumps(each, ensure_ascii=False) + "\n" for each in said))


SAMPLES = (
    Sample(
        name="text",
        stream=True,
        replies=(lines({"text": "The sea "}, {"text": "is 🌊."}, {"done": "stop", "tokens": 2}),),
        text="The sea is 🌊.",
    ),
    Sample(
        name="text",
        replies=(Reply(json={"text": "The sea is 🌊.", "done": "stop", "tokens": 2}),),
        text="The sea is 🌊.",
    ),
    Sample(
        name="call",
        stream=True,
        replies=(lines({"call": {"depth": 5}}, {"done": "length", "tokens": 1}),),
        tool_calls=(("dive", '{"depth": 5}'),),
        finish_reason="length",
    ),
    Sample(name="busy", stream=True, replies=(Reply(status=503),), error="Overloaded"),
    Sample(
        name="mid-way",
        stream=True,
        replies=(lines({"text": "The"}, {"error": "the cable broke"}),),
        error="UpstreamError",
    ),
)


def statuses(findings: list[Finding]) -> dict[str, str]:
    return {finding.check: finding.status for finding in findings}


def test_good_provider_passes_every_check() -> None:
    findings = conformance.examine(Sea, SAMPLES)
    assert [finding for finding in findings if finding.status != "passed"] == []
    assert len(findings) == len(conformance.CHECKS)


# -- one that is broken in one way, by check


class OddDefault(Sea):
    def create_completion(
        self,
        model: str,
        messages: list[Any],
        stream: bool,
        *,
        max_tokens: Annotated[int, FEATURE, Meta(ge=1)] = 0,
    ) -> Exchange:
        yield from super().create_completion(model, messages, stream)


class OneModel(Sea):
    models = "calm"


class NoModels(Sea):
    models = ()


class OddModel(Sea):
    models = (Model(id="calm", context_window="large"),)


class Reserved(Sea):
    def create_completion(
        self, model: str, messages: list[Any], stream: bool, *, policy: str = ""
    ) -> Exchange:
        yield from super().create_completion(model, messages, stream)


class NoGenerator(Sea):
    def create_completion(self, model: str, messages: list[Any], stream: bool) -> Any:
        return ["text"]


class OddKind(Sea):
    def create_completion(
        self, model: str, messages: list[Any], stream: bool, *, seed: int | None = None
    ) -> Exchange:
        yield from super().create_completion(model, messages, stream)


class OddBounds(Sea):
    def create_completion(
        self,
        model: str,
        messages: list[Any],
        stream: bool,
        *,
        depth: Annotated[int | None, Meta(ge=5, le=2)] = None,
    ) -> Exchange:
        yield from super().create_completion(model, messages, stream)


class Depth:
    """A type that JSON knows nothing of."""


class NoSchema(Sea):
    def create_completion(
        self, model: str, messages: list[Any], stream: bool, *, depth: Depth | None = None
    ) -> Exchange:
        yield from super().create_completion(model, messages, stream)


class AlwaysStop(Sea):
    def finish(self, said: dict[str, Any]) -> Chunk:
        return Chunk(finish_reason="stop")


class OtherUsage(Sea):
    def whole(self, response: HttpResponse) -> Any:
        return {**super().whole(response), "tokens": 0}


class LinesOfOnePiece(Sea):
    def read(self, response: HttpResponse) -> Exchange:
        while data := (yield response):
            for line in data.splitlines():
                said: Any = HttpResponse(200, {}, line).json(dict[str, Any])
                yield from self.take(said)
                if "done" in said:
                    return


class EndIsEnough(Sea):
    def read(self, response: HttpResponse) -> Exchange:
        jsonlines, began = JSONLines(), False
        while data := (yield response):
            for line in jsonlines.feed(data, dict[str, Any]):
                began = True
                yield from self.take(line)
        if began:
            yield Chunk(finish_reason="stop")


class LossIsAnEnd(Sea):
    def read(self, response: HttpResponse) -> Exchange:
        try:
            yield from super().read(response)
        except ConnectionLost:
            yield Chunk(finish_reason="stop")


class WrongError(Sea):
    def check(self, response: HttpResponse) -> None:
        if response.status == 503:
            raise BadRequest("try again")
        super().check(response)


class NeverAgain(Sea):
    def check(self, response: HttpResponse) -> None:
        if response.status == 503:
            raise error_for_status(503, "busy", retryable=False)
        super().check(response)


class AnyStatus(Sea):
    def check(self, response: HttpResponse) -> None:
        if response.status >= 400:
            raise error_for_status(response.status, response.excerpt)


class OfOneShape(Sea):
    def whole(self, response: HttpResponse) -> Any:
        said = response.json()
        return {"text": said["text"], **said}


class LaxNumbers(Sea):
    def whole(self, response: HttpResponse) -> Any:
        try:
            return json.loads(response.body)
        except ValueError:
            raise UpstreamError("no JSON") from None

    def take(self, said: Any) -> Exchange:
        if not isinstance(said, dict):
            raise UpstreamError("no object")
        yield from super().take(said)


class GoesOn(Sea):
    def read(self, response: HttpResponse) -> Exchange:
        try:
            yield from super().read(response)
        except GeneratorExit:
            yield "one moment"


class RaisesWhenLeft(Sea):
    def read(self, response: HttpResponse) -> Exchange:
        try:
            yield from super().read(response)
        except GeneratorExit:
            raise UpstreamError("left alone") from None


class OddCleanup(Sea):
    def forget(self) -> Any:
        return "DELETE /chat"


class FailingCleanup(Sea):
    def forget(self) -> Any:
        raise KeyError("session")


class ReadsAFile(Sea):
    def begin(self) -> None:
        Path(__file__).read_bytes()


class Sleeps(Sea):
    def begin(self) -> None:
        time.sleep(0)


class StartsAThread(Sea):
    def begin(self) -> None:
        threading.Thread(target=int).start()


class OpensASocket(Sea):
    def check(self, response: HttpResponse) -> None:
        socket.getaddrinfo("localhost", 80)
        super().check(response)


class OneAtATime(Sea):
    def begin(self) -> None:
        self.lines = JSONLines()

    def read(self, response: HttpResponse) -> Exchange:
        while data := (yield response):
            for line in self.lines.feed(data, dict[str, Any]):
                yield from self.take(line)
                if "done" in line:
                    return


class ShowsItsKey(Sea):
    def __repr__(self) -> str:
        return f"Sea({self.key.reveal()})"


class KeyAsText(Sea):
    def __init__(self, key: str | None = None) -> None:
        self.key = f"Bearer {key}"


class KeyInTheUrl(Sea):
    def url(self) -> str:
        return f"{super().url()}?key={self.key.reveal()}"


class LogsItsKey(Sea):
    def begin(self) -> None:
        logging.getLogger("sea").debug("with %s", self.key.reveal())


BROKEN = (
    *(("contract", each) for each in (OddDefault, OneModel, NoModels, OddModel, Reserved)),
    ("contract", NoGenerator),
    *(("parameters", each) for each in (OddKind, OddBounds, NoSchema)),
    ("answers", AlwaysStop),
    ("forms", OtherUsage),
    ("splits", LinesOfOnePiece),
    *(("truncation", each) for each in (EndIsEnough, LossIsAnEnd)),
    *(("errors", each) for each in (WrongError, NeverAgain)),
    *(("garbage", each) for each in (AnyStatus, OfOneShape, LaxNumbers)),
    *(("cancellation", each) for each in (GoesOn, RaisesWhenLeft)),
    *(("cleanup", each) for each in (OddCleanup, FailingCleanup)),
    *(("no_io", each) for each in (ReadsAFile, Sleeps, StartsAThread, OpensASocket)),
    ("isolation", OneAtATime),
    *(("secrets", each) for each in (ShowsItsKey, KeyAsText, KeyInTheUrl, LogsItsKey)),
)


@pytest.mark.parametrize(("check", "kind"), BROKEN, ids=[kind.__name__ for _, kind in BROKEN])
def test_broken_provider_fails_its_check_and_no_other(check: str, kind: type[Sea]) -> None:
    findings = conformance.examine(kind, SAMPLES)
    failed = [finding for finding in findings if finding.status == "failed"]
    assert [finding.check for finding in failed] == [check], failed
    assert all(failed[0].details)


def test_every_check_has_a_provider_that_fails_it() -> None:
    assert {check for check, _ in BROKEN} == {check.name for check in conformance.CHECKS}
