"""The conformance kit: a good provider passes all checks, and each broken one fails one alone."""

from __future__ import annotations

import calendar
import importlib
import json
import logging
import os
import re
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from time import sleep
from typing import Annotated, Any, ClassVar

import pytest
from msgspec import Meta

import router
from router import (
    FEATURE,
    TUNING,
    BadRequest,
    Bearer,
    Call,
    Chunk,
    Cleanup,
    ConfigError,
    ConnectionLost,
    Exchange,
    HttpRequest,
    HttpResponse,
    JSONLines,
    Model,
    Shared,
    ToolCallDelta,
    UpstreamError,
    Usage,
    Wait,
    WireProvider,
    error_for_status,
    provider,
)
from router.testing import conformance
from router.testing.conformance import KEY, Finding, Reply, Sample
from router.testing.conformance.guard import Guard, IoRefused

PACKAGES = Path(router.__file__).parent.parent


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
def test_broken_provider_fails_its_check_and_no_other(
    check: str, kind: type[Sea], keys: set[str]
) -> None:
    findings = conformance.examine(kind, SAMPLES)
    if check == "secrets":
        keys.clear()  # it shows them
    failed = [finding for finding in findings if finding.status == "failed"]
    assert [finding.check for finding in failed] == [check], failed
    assert all(failed[0].details)


def test_every_check_has_a_provider_that_fails_it() -> None:
    assert {check for check, _ in BROKEN} == {check.name for check in conformance.CHECKS}


# -- what is examined, and how


@provider("echo", models=["one"])
def echo(model: str, messages: list[Any], stream: bool) -> Any:
    yield messages[-1]["content"]


def test_blocking_provider_is_examined_as_far_as_can_be() -> None:
    said = Sample(name="echo", messages=[{"role": "user", "content": "Ahoy"}], text="Ahoy")
    without, samples = (statuses(conformance.examine(echo, given)) for given in ((), (said,)))
    made = {"contract", "parameters", "secrets"}
    assert {name for name, status in without.items() if status == "passed"} == made
    made |= {"answers", "cancellation", "isolation"}
    assert {name for name, status in samples.items() if status == "passed"} == made
    assert "failed" not in {*without.values(), *samples.values()}


def test_wire_provider_without_samples_is_examined_with_answers_that_nobody_gives() -> None:
    found = statuses(conformance.examine(Sea))
    assert {name for name, status in found.items() if status == "skipped"} == {
        *("answers", "forms", "splits", "truncation", "isolation")
    }
    assert statuses(conformance.examine(AnyStatus))["garbage"] == "passed"  # for want of an answer
    assert statuses(conformance.examine(Sleeps))["no_io"] == "failed"


class Nowhere(Sea):
    def begin(self) -> None:
        raise ConfigError("no address: set SEA_URL")


def test_provider_that_sends_nothing_is_skipped_without_samples_and_fails_with_them() -> None:
    without = {finding.check: finding for finding in conformance.examine(Nowhere)}
    assert without["garbage"].status == "skipped"
    assert without["garbage"].details == ("it sends nothing: no address: set SEA_URL",)
    assert statuses(conformance.examine(Nowhere, SAMPLES))["answers"] == "failed"


class SignsIn(Sea):
    """Takes all other steps: blocking work, a wait, a token for all."""

    def create_completion(self, model: str, messages: list[Any], stream: bool) -> Exchange:
        assert (yield Call(lambda: Path(__file__).exists()))
        yield Wait(3600)
        token = yield Shared("token", self.token, 60)
        assert token == (yield Shared("token", self.token, 60))
        yield from super().create_completion(model, messages, stream)

    def token(self) -> Any:
        url = "http://sea.invalid/token"
        response = yield HttpRequest("POST", url, form={"key": KEY}, auxiliary=True)
        self.check(response)
        return response.json()["token"]


def test_steps_of_all_kinds_are_played() -> None:
    token = Reply(json={"token": "t"})
    samples = [
        Sample(name="text", stream=stream, replies=[token, *sample.replies], text=sample.text)
        for sample, stream in zip(SAMPLES[:2], (True, False), strict=True)
    ]
    findings = conformance.examine(SignsIn, samples)
    failed = {finding.check: finding.details for finding in findings if finding.status != "passed"}
    assert failed == {}


class ReadsOn(Sea):
    def read(self, response: HttpResponse) -> Exchange:
        jsonlines = JSONLines()
        while True:
            for line in jsonlines.feed((yield response), dict[str, Any]):
                yield from self.take(line)
                if "done" in line:
                    return


def test_exchange_without_an_end_is_told_and_not_waited_for() -> None:
    found = {finding.check: finding for finding in conformance.examine(ReadsOn, SAMPLES)}
    assert (
        found["truncation"]
        .details[0]
        .startswith("text (streamed): cut after 1 of 72 bytes, it has not ended after")
    )
    assert found["garbage"].status == "failed"
    assert found["answers"].status == "passed"


def connect() -> None:
    with socket.socket() as connection:
        connection.connect(("127.0.0.1", 9))


def doze() -> None:
    sleep(0.001)


def run_python() -> None:
    subprocess.run([sys.executable, "--version"])


@pytest.mark.parametrize(
    ("does", "name"),
    [
        (connect, "socket.connect"),
        (run_python, "posixsubprocess.fork_exec"),
        (Path(__file__).exists, "posix.stat"),
        (doze, "time.sleep"),
    ],
)
def test_guard_refuses_before_anything_happens(does: Callable[[], Any], name: str) -> None:
    guard = Guard()
    before = sys.getprofile()
    with pytest.raises(IoRefused), guard.watching():
        does()
    assert guard.refused == [name]
    assert sys.getprofile() is before


class ImportsLate(Sea):
    def begin(self) -> None:
        importlib.reload(calendar)
        self.new_id()
        self.clock()


def test_imports_ids_and_the_time_are_no_io() -> None:
    assert statuses(conformance.examine(ImportsLate, SAMPLES))["no_io"] == "passed"


def test_replies_that_are_too_few_or_too_many_are_told() -> None:
    sample = SAMPLES[1]
    for replies, said in (
        ((), "there is no reply for request 1"),
        ((*sample.replies, Reply()), "1 of its replies were not asked for"),
    ):
        given = Sample(name="text", replies=replies, text=sample.text)
        found = {finding.check: finding for finding in conformance.examine(Sea, [given])}
        assert said in found["answers"].details[0]


def test_instance_keeps_its_own_clock_and_ids() -> None:
    sea = Sea()
    sea.clock = clock = lambda: 5.0
    conformance.examine(sea, SAMPLES)
    assert vars(sea).keys() == {"key", "clock"}
    assert sea.clock is clock


@pytest.mark.parametrize(
    ("sample", "said"),
    [
        ({"error": "Exception"}, "Exception is no error of router.errors"),
        ({"error": "FinishReason"}, "FinishReason is no error of router.errors"),
        ({"end": "[DONE]"}, "its end is not in its last body"),
        ({"replies": [{"text": "a", "json": 1}]}, "a reply has one of text, json and content"),
        ({"reply": []}, "unknown field `reply`"),
        ({"name": 5}, "Expected `str`, got `int` - at `$[0].name`"),
    ],
)
def test_sample_that_cannot_be_used_is_refused(
    tmp_path: Path, sample: dict[str, Any], said: str
) -> None:
    path = tmp_path / "samples.json"
    path.write_text(json.dumps([{"name": "text", **sample}]))
    with pytest.raises(ConfigError) as caught:
        conformance.read_samples(path)
    assert said in caught.value.message


def test_two_samples_of_one_name_and_form_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"the sample text \(streamed\) is there twice"):
        conformance.examine(Sea, SAMPLES[:1] * 2)


MODULE = """
from msgspec import Meta
from router import HttpRequest, WireProvider, error_for_status
from router.testing import conformance
from router.testing.conformance import Reply, Sample


class Plain(WireProvider):
    name = "plain"
    models = ["one"]

    def create_completion(self, model: str, messages: list, stream: bool):
        response = yield HttpRequest("POST", "http://plain.invalid", json=messages)
        if response.status != 200:
            raise error_for_status(response.status, "refused")
        yield response.json(dict[str, str])["text"]


test_conforms = conformance.suite(
    Plain, samples=[Sample(name="hi", replies=[Reply(json={"text": "Hi"})], text="Hi")]
)
"""


def test_suite_is_one_test_for_each_check(tmp_path: Path) -> None:
    (tmp_path / "test_plain.py").write_text(MODULE)
    options = ("-rA", "-p", "no:cacheprovider", "-c", "/dev/null", "--rootdir", str(tmp_path))
    ran = subprocess.run(
        [sys.executable, "-m", "pytest", *options, str(tmp_path)],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(PACKAGES)},
    )
    outcomes = {
        check: outcome
        for outcome, check in re.findall(
            r"^(PASSED|FAILED) .*test_conforms\[(\w+)\]", ran.stdout, re.MULTILINE
        )
    }
    assert outcomes == {
        check.name: "FAILED" if check.name == "garbage" else "PASSED"
        for check in conformance.CHECKS
        if check.name != "forms"
    }
    assert "hi (whole): the body {} makes it raise KeyError: 'text'" in ran.stdout
    assert "no sample is there in both forms" in ran.stdout
