"""Checks of exchanges: what is made of answers, however they come, end and are broken off."""

from __future__ import annotations

import contextlib
import itertools
import random
import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeAlias

import msgspec
from msgspec import Struct

from router.contract import HttpRequest
from router.errors import (
    AMBIGUOUS_STATUSES,
    AuthError,
    ConnectionLost,
    Overloaded,
    PermissionDenied,
    PluginError,
    QuotaExhausted,
    RateLimited,
    RouterError,
    UpstreamError,
)
from router.types import Completion, Usage

from .guard import Guard
from .play import ENDLESS, Outcome, Play
from .samples import Reply, Sample
from .subject import Subject

Find: TypeAlias = Callable[[Subject], Iterator[str]]
"""A check: gives what is wrong, a line each."""

SPLITS = 12
"""Into how many random splits a stream is cut, beside byte by byte."""

CUTS = 120
"""How many beginnings of a body are tried; all of a shorter one."""

STEPS = 200
"""How many steps of an exchange are closed at; the exchanges of samples are shorter."""

HTML = "<!doctype html><html><head><title>Sign in</title></head><body><p>Hello</p></body></html>"

STATUSES: tuple[tuple[int, tuple[type[RouterError], ...]], ...] = (
    (401, (AuthError, PermissionDenied)),
    (429, (RateLimited, QuotaExhausted, Overloaded)),
    (503, (Overloaded, UpstreamError)),
)
"""What some statuses mean whatever the wire, where the body says nothing."""


class Meaning(Struct, frozen=True, kw_only=True):
    """What an answer says, without the ids that differ from one time to the next."""

    text: str
    reasoning: str
    refusal: str
    tool_calls: tuple[tuple[str, Any], ...]
    finish_reason: str | None
    usage: Usage | None

    @classmethod
    def of(cls, completion: Completion) -> Meaning:
        choice = completion.choices[0]
        return cls(
            text=choice.text,
            reasoning=choice.reasoning,
            refusal=choice.refusal,
            tool_calls=tuple((call.name, value_of(call.arguments)) for call in choice.tool_calls),
            finish_reason=choice.finish_reason,
            usage=completion.usage,
        )

    def differences(self, other: Meaning) -> Iterator[str]:
        """In which fields, with both values."""
        for name in self.__struct_fields__:
            mine, theirs = getattr(self, name), getattr(other, name)
            if mine != theirs:
                yield f"{name} is {mine!r}, not {theirs!r}"


def value_of(arguments: str) -> Any:
    """The arguments of a tool call as their JSON value; what is no JSON as it is."""
    try:
        return msgspec.json.decode(arguments.encode())
    except msgspec.DecodeError:
        return arguments


# -- what comes of samples


def answers(subject: Subject) -> Iterator[str]:
    """A sample of an answer comes out as it says."""
    for sample in subject.answers:
        play = subject.play(sample)
        outcome = play.run()
        if outcome.error is not None:
            yield f"{sample.label}: {outcome.says()}"
            continue
        if play.unasked:
            yield f"{sample.label}: {play.unasked} of its replies were not asked for"
        got = Meaning.of(outcome.completion)
        finish = sample.finish_reason or ("stop" if got.finish_reason is not None else None)
        wanted = Meaning(
            text=sample.text,
            reasoning=got.reasoning if sample.reasoning is None else sample.reasoning,
            refusal=got.refusal if sample.refusal is None else sample.refusal,
            tool_calls=tuple((name, value_of(given)) for name, given in sample.tool_calls),
            finish_reason=finish,
            usage=got.usage if sample.usage is None else sample.usage,
        )
        yield from (f"{sample.label}: {each}" for each in got.differences(wanted))


def forms(subject: Subject) -> Iterator[str]:
    """The streamed and the whole sample of one name mean the same."""
    for streamed, whole in pairs(subject):
        one, other = subject.outcome(streamed), subject.outcome(whole)
        if one.error is not None or other.error is not None:
            continue  # told by `answers`
        meanings = Meaning.of(one.completion), Meaning.of(other.completion)
        for difference in meanings[0].differences(meanings[1]):
            yield f"{streamed.name}: streamed, {difference} as whole"


def pairs(subject: Subject) -> list[tuple[Sample, Sample]]:
    """The answers that there is a sample of in both forms: streamed, whole."""
    whole = {sample.name: sample for sample in subject.answers if not sample.stream}
    return [
        (sample, whole[sample.name])
        for sample in subject.answers
        if sample.stream and sample.name in whole
    ]


def errors(subject: Subject) -> Iterator[str]:
    """A refusal is the error that it means; what it says of trying again makes sense."""
    for sample in subject.samples:
        if sample.error is not None:
            error = subject.outcome(sample).error
            yield from (f"{sample.label}: {each}" for each in _misjudged(sample, error))
    for sample, (status, kinds) in itertools.product(subject.questions, STATUSES):
        outcome = subject.outcome(sample, replies=_broken(sample, Reply(status=status)))
        if not isinstance(outcome.error, kinds):
            names = " or ".join(kind.__name__ for kind in kinds)
            yield f"{sample.label}: a {status} without a body is {outcome.says()}, not {names}"


def _misjudged(sample: Sample, error: RouterError | None) -> Iterator[str]:
    if error is None:
        yield f"an answer, not {sample.error}"
        return
    if type(error) is not sample.error_type:
        yield f"{type(error).__name__} ({error.message[:120]}), not {sample.error}"
        return
    if sample.code is not None and error.code != sample.code:
        yield f"its code is {error.code!r}, not {sample.code!r}"
    retryable = type(error).retryable if sample.retryable is None else sample.retryable
    if error.retryable is not retryable:
        yield f"retryable is {error.retryable}, where {sample.error} is {retryable}"
    billed = sample.possibly_billed
    if billed is None and 400 <= (error.status or 0) < 500:
        billed = error.status in AMBIGUOUS_STATUSES
    if billed is not None and error.possibly_billed is not billed:
        yield f"possibly_billed is {error.possibly_billed}, with status {error.status}"


def garbage(subject: Subject) -> Iterator[str]:
    """HTML, nothing, broken JSON, NaN and redirects are typed errors, and no answers."""
    for sample in subject.questions:
        for what, reply in _garbage(sample):
            outcome = subject.outcome(sample, replies=_broken(sample, reply))
            if outcome.error is None:
                yield f"{sample.label}: {what} is taken for the answer {outcome.says()}"
            elif isinstance(outcome.error, PluginError):
                yield f"{sample.label}: {what} makes it raise {outcome.error.message[:120]}"


def _garbage(sample: Sample) -> Iterator[tuple[str, Reply]]:
    html, json = {"content-type": "text/html"}, {"content-type": "application/json"}
    good = sample.last_body
    for status in (301, 302, 307):
        yield f"a redirect ({status})", Reply(status=status, headers=json, content=good)
    for status in (200, 404, 502):
        yield f"a page of HTML ({status})", Reply(status=status, headers=html, text=HTML)
    yield "an empty body", Reply(headers=json)
    yield "a blank body", Reply(headers=json, text="\n \n")
    for text in ('{"', "[", "{}", "null", "[]", '"text"', "7", '{"a": NaN}', "NaN"):
        yield f"the body {text}", Reply(headers=json, text=text)
    yield "an event that is no JSON", Reply(text='data: {"\n\n')
    with_nan = re.sub(rb'(":\s*)-?\d+(?=[,}\s])', rb"\1NaN", good, count=1)
    if with_nan != good:
        yield "NaN in place of a number", Reply(headers=json, content=with_nan)


def _broken(sample: Sample, reply: Reply) -> list[Reply]:
    """The sample's replies with another last one; without any, that one for all requests."""
    return list(sample.with_last(reply).replies) if sample.replies else [reply] * 20


# -- how an answer comes, and does not come


def splits(subject: Subject) -> Iterator[str]:
    """The bytes of a stream may come in any pieces: the answer's are the same."""
    for sample in subject.samples:
        body = sample.last_body
        wanted = subject.outcome(sample)
        for how, pieces in _splits(body):
            got = subject.outcome(sample, pieces=pieces)
            if not _same(got, wanted):
                yield f"{sample.label}: split {how}, it is {got.says()}, not {wanted.says()}"
                break


def _splits(body: bytes) -> Iterator[tuple[str, list[bytes]]]:
    yield "byte by byte", [body[i : i + 1] for i in range(len(body))]
    for number in range(SPLITS if len(body) > 1 else 0):
        draw = random.Random(number)  # noqa: S311  # the same each time
        at = sorted(draw.sample(range(1, len(body)), min(draw.randint(1, 9), len(body) - 1)))
        places = ", ".join(map(str, at))
        yield f"at {places}", [body[i:j] for i, j in itertools.pairwise([0, *at, len(body)])]


def _same(one: Outcome, other: Outcome) -> bool:
    if one.pieces != other.pieces:
        return False
    if one.error is None or other.error is None:
        return one.error is other.error
    return one.error.to_dict() == other.error.to_dict()


def truncation(subject: Subject) -> Iterator[str]:
    """The beginning of an answer is an error or an interruption, and never an answer."""
    for sample in subject.answers:
        body = sample.last_body
        marker = sample.end.encode()
        whole = body.index(marker) + len(marker) if marker else len(body.rstrip())
        wanted = Meaning.of(subject.outcome(sample).completion)
        for at in _cuts(body):
            got = subject.outcome(sample, replies=_broken(sample, _cut(sample, at)))
            complaint = _took_for_whole(got, wanted, ended=at >= whole)
            if complaint is None and at < whole and sample.stream:
                lost = ConnectionLost("the connection was cut")
                got = subject.outcome(sample, pieces=[body[:at], lost])
                complaint = _took_for_whole(got, wanted, ended=False)
            if complaint is not None:
                yield f"{sample.label}: cut after {at} of {len(body)} bytes, {complaint}"
                break


def _cuts(body: bytes) -> Sequence[int]:
    """Where a body is cut: everywhere, or behind its lines and at some other places."""
    if len(body) <= CUTS:
        return range(1, len(body))
    lines = [match.end() for match in re.finditer(rb"\n", body)]
    places = {*lines, *(at - 1 for at in lines), *range(1, len(body), len(body) // CUTS + 1)}
    return sorted(at for at in places if 0 < at < len(body))


def _cut(sample: Sample, at: int) -> Reply:
    last = sample.replies[-1]
    return Reply(status=last.status, headers=last.headers, content=sample.last_body[:at])


def _took_for_whole(got: Outcome, wanted: Meaning, *, ended: bool) -> str | None:
    if got.error is not None:
        return got.error.message if got.error.code == ENDLESS else None
    if not ended:
        return f"it is taken for the answer {got.says()}"
    meaning = msgspec.structs.replace(Meaning.of(got.completion), usage=wanted.usage)
    return None if meaning == wanted else f"it is whole, and becomes another: {got.says()}"


# -- how an exchange is left


def cancellation(subject: Subject) -> Iterator[str]:
    """Closing an exchange at any step raises nothing, and ends it."""
    for sample in subject.exchanges:
        for steps, play in _closed_at_each(subject, sample):
            try:
                play.close()
            except BaseException as error:  # noqa: BLE001  # whatever a provider raises then
                yield f"{sample.label}: closed after {steps} steps, it raises {_told(error)}"
                break


def _closed_at_each(subject: Subject, sample: Sample) -> Iterator[tuple[int, Play]]:
    """The exchange, each time from its beginning, as it stands after one step more."""
    for steps in range(STEPS):
        play = _play(subject, sample)
        if not all(play.step() for _ in range(steps)):
            return
        yield steps, play


def _play(subject: Subject, sample: Sample, guard: Guard | None = None) -> Play:
    """The sample's exchange; without replies, one in which every request is answered the same."""
    replies = None if subject.samples else [Reply(json={})] * 20
    return subject.play(sample, replies=replies, guard=guard)


def cleanup(subject: Subject) -> Iterator[str]:
    """What is left to do when an exchange has ended, in any way, is a request or nothing."""
    for sample in subject.exchanges:
        complaints: dict[str, None] = {}
        for _, play in _closed_at_each(subject, sample):
            _end(play)
            complaints |= dict.fromkeys(_cleaned_up(play))
        play = _play(subject, sample)
        play.run()
        complaints |= dict.fromkeys(_cleaned_up(play))
        yield from (f"{sample.label}: {complaint}" for complaint in complaints)


def _end(play: Play) -> None:
    with contextlib.suppress(BaseException):  # told by `cancellation`
        play.close()


def _cleaned_up(play: Play) -> Iterator[str]:
    for function in play.notes.cleanups:
        try:
            request: Any = function()
        except Exception as error:  # noqa: BLE001  # whatever a provider raises
            yield f"the function of a Cleanup raises {_told(error)}"
            continue
        if not isinstance(request, HttpRequest | None):
            yield f"the function of a Cleanup returns {type(request).__name__}, no HttpRequest"


def no_io(subject: Subject) -> Iterator[str]:
    """No socket, file, sleep, thread or process in the generator: its steps ask for those."""
    for sample in subject.exchanges:
        guard = Guard()
        _play(subject, sample, guard).run()
        yield from (f"{sample.label}: {each}" for each in dict.fromkeys(guard.refused))


def isolation(subject: Subject) -> Iterator[str]:
    """Two exchanges of one instance at once, step by step in turn, do not mix."""
    samples = subject.samples
    for first, second in itertools.pairwise([*samples, samples[0]]) if samples else ():
        alone = [_in_bits(subject, sample).run() for sample in (first, second)]
        for lead in (0, 3):
            together = _in_turn([_in_bits(subject, sample) for sample in (first, second)], lead)
            for sample, one, other in zip((first, second), together, alone, strict=True):
                if not _same(one, other):
                    yield (
                        f"{sample.label}, beside another exchange: {one.says()}, not {other.says()}"
                    )
                    return


def _in_bits(subject: Subject, sample: Sample) -> Play:
    body = sample.last_body
    return subject.play(sample, pieces=[body[i : i + 16] for i in range(0, len(body), 16)])


def _in_turn(plays: list[Play], lead: int) -> list[Outcome]:
    for _ in range(lead):
        plays[0].step()
    going = plays
    while going:
        going = [play for play in going if play.step()]
    return [play.outcome for play in plays]


def _told(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
