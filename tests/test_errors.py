import copy
import inspect
import json
import pickle
import re

import pytest

from router import (
    AllTargetsFailed,
    Attempt,
    AuthError,
    BadRequest,
    Choice,
    Completion,
    ConfigError,
    ConnectFailed,
    ConnectionLost,
    ModelNotFound,
    Overloaded,
    PayloadTooLarge,
    PermissionDenied,
    ProtocolError,
    QuotaExhausted,
    RateLimited,
    RouterError,
    StreamInterrupted,
    Timeout,
    Trace,
    TransportError,
    UpstreamError,
    error_for_status,
    errors,
)

CLASSES = [
    value
    for value in vars(errors).values()
    if isinstance(value, type) and issubclass(value, RouterError)
]
FIELDS = {
    "provider": "groq",
    "target": "groq/llama",
    "status": 429,
    "code": "rate_limit_exceeded",
    "request_id": "req_1",
    "retry_after": 2.5,
}


def make(kind: type[RouterError]) -> RouterError:
    """An error of that class with everything that one can be told."""
    match kind.__name__:
        case "AllTargetsFailed":
            error = AllTargetsFailed("both failed", [make(RateLimited), make(Timeout)])
            for name, value in FIELDS.items():
                setattr(error, name, value)
            return error
        case "Timeout":
            return Timeout("too slow", phase="idle", **FIELDS)
        case "StreamInterrupted":
            partial = Completion(
                choices=(Choice(text="Half a"),),
                target="a/b",
                model="b",
                trace=Trace(request_id="1"),
            )
            return StreamInterrupted("cut", partial=partial, cause=make(ConnectionLost), **FIELDS)
    return kind("what happened", **FIELDS)


def drawn() -> dict[str, str]:
    """Each class in the tree of the module's docstring, with its parent."""
    parents: dict[str, str] = {}
    path: list[str] = []
    for line in errors.__doc__.splitlines():
        if found := re.match(r"([│ ]*(?:[├└]── )?)([A-Z]\w+)", line):
            depth = len(found[1]) // 4
            path[depth:] = [found[2]]
            if depth:
                parents[found[2]] = path[depth - 1]
    return parents


def test_tree_in_the_docstring_is_that_of_the_classes():
    assert drawn() == {
        kind.__name__: kind.__bases__[0].__name__ for kind in CLASSES if kind is not RouterError
    }


@pytest.mark.parametrize("kind", CLASSES, ids=lambda kind: kind.__name__)
def test_error_has_what_its_documentation_says(kind):
    """`ConnectionLost.partial` was documented, and was not there."""
    error = make(kind)
    for parent in kind.__mro__[:-1]:
        if parent.__module__ != errors.__name__:
            continue
        attributes = (inspect.getdoc(parent) or "").partition("Attributes:\n")[2]
        for names in re.findall(r"^ {4}(\w[\w, ]*):", attributes, re.MULTILINE):
            for name in names.split(", "):
                assert hasattr(error, name), f"{parent.__name__}.{name}"


@pytest.mark.parametrize("kind", CLASSES, ids=lambda kind: kind.__name__)
def test_error_keeps_what_it_is_told(kind):
    error = make(kind)
    assert {name: getattr(error, name) for name in FIELDS} == FIELDS
    assert error.trace is None
    assert error.attempts == ()
    assert str(error).startswith(error.message if kind is AllTargetsFailed else "groq/llama: ")


def pickled(value):
    return pickle.loads(pickle.dumps(value))


@pytest.mark.parametrize("kind", CLASSES, ids=lambda kind: kind.__name__)
@pytest.mark.parametrize("way", [copy.copy, copy.deepcopy, pickled])
def test_error_can_be_sent_to_another_process(kind, way):
    """Those whose constructor wants more than a message broke the pool of processes instead."""
    error = make(kind)
    attempt = Attempt(
        number=1, target="a/b", provider="a", model="b", outcome="failed", started_ms=0, error=error
    )
    error.trace = Trace(request_id="1", attempts=(attempt,))
    again = way(error)
    assert type(again) is kind
    assert again.to_dict() == error.to_dict()
    assert str(again) == str(error)
    assert again.trace.request_id == "1"
    if way is not copy.copy:
        assert again.attempts[0].error is again
    if isinstance(error, Timeout):
        assert again.phase == error.phase
    if isinstance(error, StreamInterrupted):
        assert again.partial.text == "Half a"
        assert again.cause.to_dict() == error.cause.to_dict()
    if isinstance(error, AllTargetsFailed):
        assert [type(each) for each in again.exceptions] == [RateLimited, Timeout]


@pytest.mark.parametrize("kind", CLASSES, ids=lambda kind: kind.__name__)
@pytest.mark.parametrize("way", [copy.copy, copy.deepcopy, pickled])
def test_trace_that_holds_an_error_that_holds_it_can_be_sent_without_it(kind, way):
    error = make(kind)
    attempt = Attempt(
        number=1, target="a/b", provider="a", model="b", outcome="failed", started_ms=0, error=error
    )
    trace = error.trace = Trace(request_id="1", attempts=(attempt,))
    again = way(trace)
    assert again.to_dict() == trace.to_dict()
    assert again.attempts[0].error.trace.to_dict() == trace.to_dict()
    assert way(attempt).error.to_dict() == error.to_dict()


@pytest.mark.parametrize("kind", CLASSES, ids=lambda kind: kind.__name__)
def test_error_as_a_dict_is_json_and_says_its_type(kind):
    """What ran out of a Timeout, and what the server said of another try, were left out."""
    error = make(kind)
    error.should_retry = False
    told = json.loads(json.dumps(error.to_dict()))
    assert told["type"] == kind.__name__
    assert told.items() >= {**FIELDS, "should_retry": False}.items()
    assert told["phase"] == ("idle" if kind is Timeout else None)


def test_errors_are_retryable_and_billed_as_the_matrix_says():
    """Rows of the fault matrix; what never left this machine, or was refused, is never billed."""
    retryable = {kind.__name__ for kind in CLASSES if make(kind).retryable}
    assert retryable == {
        "PluginError", "PluginLoadError", "AuthError", "PermissionDenied", "ModelNotFound",
        "QuotaExhausted", "RateLimited", "Overloaded", "UpstreamError", "ProtocolError",
        "TransportError", "ConnectFailed", "ConnectionLost", "TLSFailed", "Timeout",
        "AllTargetsFailed",
    }  # fmt: skip
    billed = {kind.__name__ for kind in CLASSES if make(kind).possibly_billed}
    assert billed == {
        "ProtocolError", "ConnectionLost", "Timeout", "DeadlineExceeded", "StreamInterrupted",
        "Cancelled", "AllTargetsFailed",
    }  # fmt: skip


def test_error_says_otherwise_where_it_knows_better():
    error = UpstreamError("x", retryable=False, possibly_billed=True)
    assert (error.retryable, error.possibly_billed) == (False, True)
    assert not Timeout("x", phase="connect").possibly_billed
    assert Timeout("x", phase="first_token").possibly_billed


@pytest.mark.parametrize(
    ("status", "kind", "billed"),
    [
        (204, UpstreamError, False),
        (301, ProtocolError, False),
        (307, ProtocolError, False),
        (400, BadRequest, False),
        (401, AuthError, False),
        (402, QuotaExhausted, False),
        (403, PermissionDenied, False),
        (404, ModelNotFound, False),
        (408, Timeout, True),
        (409, UpstreamError, False),
        (413, PayloadTooLarge, False),
        (418, BadRequest, False),
        (422, BadRequest, False),
        (429, RateLimited, False),
        (499, UpstreamError, True),
        (500, UpstreamError, False),
        (502, UpstreamError, True),
        (503, Overloaded, False),
        (504, Timeout, True),
        (524, UpstreamError, True),
        (529, Overloaded, False),
        (599, UpstreamError, False),
    ],
)
def test_status_stands_for(status, kind, billed):
    error = error_for_status(status, "it said", code="c")
    assert type(error) is kind
    assert (error.status, error.possibly_billed) == (status, billed)
    assert error.code == ("redirect" if 300 <= status < 400 else "c")
    assert "it said" in error.message


def failed() -> AllTargetsFailed:
    return AllTargetsFailed(
        "all 3 targets failed:",
        [
            RateLimited("slow down", target="a/1", retry_after=3),
            ConnectFailed("refused", target="b/2"),
            AuthError("set B_KEY", target="c/3"),
        ],
    )


def test_all_targets_failed_is_caught_by_what_its_targets_raised():
    caught: list[ExceptionGroup[RouterError]] = []

    def call():
        try:
            raise failed()
        except* RateLimited as group:
            caught.append(group)
        except* TransportError as group:
            caught.append(group)

    with pytest.raises(AllTargetsFailed) as rest:
        call()
    assert [type(group) for group in caught] == [AllTargetsFailed, AllTargetsFailed]
    assert [[str(error) for error in group.exceptions] for group in caught] == [
        ["a/1: slow down"],
        ["b/2: refused"],
    ]
    assert [type(error) for error in rest.value.exceptions] == [AuthError]


def test_part_of_all_targets_failed_keeps_the_trace_and_judges_for_itself():
    whole = failed()
    whole.trace = Trace(request_id="7")
    limited, others = whole.split(RateLimited)
    assert limited.trace is others.trace is whole.trace
    final = AllTargetsFailed("x", [ConfigError("no"), ConnectionLost("cut")])
    assert (final.retryable, final.possibly_billed) == (True, True)
    config = final.subgroup(ConfigError)
    assert (config.retryable, config.possibly_billed) == (False, False)


def test_all_targets_failed_is_a_router_error_that_says_all():
    with pytest.raises(RouterError) as caught:
        raise failed()
    assert str(caught.value).splitlines() == [
        "all 3 targets failed:",
        "  a/1: slow down",
        "  b/2: refused",
        "  c/3: set B_KEY",
    ]
    assert caught.value.message == "all 3 targets failed:"


def test_error_of_a_single_target_is_caught_by_except_star_as_well():
    caught: list[ExceptionGroup[RouterError]] = []
    try:
        raise ModelNotFound("which?")
    except* RouterError as group:
        caught.append(group)
    assert [type(error) for group in caught for error in group.exceptions] == [ModelNotFound]
