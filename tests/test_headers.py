import datetime
import email.utils
import math
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.headers import (
    MAX_LIMIT,
    MAX_RETRY_AFTER,
    duration,
    rate_limits,
    request_id,
    retry_after,
)

NOW = 784_111_777.0
"""Sun, 06 Nov 1994 08:49:37 GMT, the date of RFC 9110's examples."""


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry-after": "7"}, 7),
        ({"retry-after": "0"}, 0),
        ({"retry-after": " 1.5 "}, 1.5),
        ({"retry-after-ms": "1500"}, 1.5),
        ({"retry-after-ms": "1500", "retry-after": "9"}, 1.5),
        ({"retry-after-ms": "soon", "retry-after": "9"}, 9),
        ({"retry-after": "1e9"}, MAX_RETRY_AFTER),
        ({"retry-after-ms": "1e12"}, MAX_RETRY_AFTER),
        ({}, None),
    ],
)
def test_retry_after_in_numbers(headers, seconds):
    assert retry_after(headers, NOW) == seconds


@pytest.mark.parametrize(
    "date",
    ["Sun, 06 Nov 1994 08:49:47 GMT", "Sunday, 06-Nov-94 08:49:47 GMT", "Sun Nov  6 08:49:47 1994"],
    ids=["IMF-fixdate", "RFC 850", "asctime"],
)
@pytest.mark.parametrize("zone", ["UTC", "America/New_York", "Asia/Tokyo"])
def test_retry_after_as_each_date_that_http_allows(date, zone, monkeypatch):
    """An asctime date, which has no zone, was read as local time."""
    monkeypatch.setenv("TZ", zone)
    time.tzset()
    try:
        assert retry_after({"retry-after": date}, NOW) == 10
    finally:
        monkeypatch.undo()
        time.tzset()


def test_retry_after_date_counts_from_the_responses_own_date():
    headers = {
        "retry-after": "Sun, 06 Nov 1994 08:50:07 GMT",
        "date": "Sun, 06 Nov 1994 08:50:00 GMT",
    }
    assert retry_after(headers, NOW + 3600) == 7


def test_retry_after_date_that_has_passed_means_now():
    assert retry_after({"retry-after": "Sun, 06 Nov 1994 08:49:00 GMT"}, NOW) == 0


def test_retry_after_date_far_ahead_is_capped():
    assert retry_after({"retry-after": "Sun, 06 Nov 2094 08:49:00 GMT"}, NOW) == MAX_RETRY_AFTER


@pytest.mark.parametrize(
    "value",
    [
        "",
        "-1",
        "nan",
        "inf",
        "-inf",
        "soon",
        "5 seconds",
        "1,5",
        "5\n10",
        "0x10",
        "1_000",
        "\u0665",
        "1e999",
    ],
)
def test_retry_after_that_is_malformed_is_ignored(value):
    assert retry_after({"retry-after": value}, NOW) is None
    assert retry_after({"retry-after-ms": value}, NOW) is None


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        (  # OpenAI and compatible: relative, and only what is used up counts
            {
                "x-ratelimit-remaining-requests": "0",
                "x-ratelimit-reset-requests": "1m30s",
                "x-ratelimit-remaining-tokens": "1000",
                "x-ratelimit-reset-tokens": "2h",
            },
            90,
        ),
        (  # the latest of those that are used up
            {
                "x-ratelimit-remaining-requests": "0",
                "x-ratelimit-reset-requests": "12ms",
                "x-ratelimit-remaining-tokens": "0",
                "x-ratelimit-reset-tokens": "1s",
            },
            1,
        ),
        (  # Anthropic: absolute
            {
                "anthropic-ratelimit-requests-remaining": "0",
                "anthropic-ratelimit-requests-reset": "1994-11-06T08:50:07Z",
            },
            30,
        ),
        (
            {
                "anthropic-ratelimit-requests-remaining": "0",
                "anthropic-ratelimit-requests-reset": "1994-11-06T08:50:07Z",
                "date": "Sun, 06 Nov 1994 08:50:00 GMT",
            },
            7,
        ),
        ({"anthropic-ratelimit-unified-reset": str(2_000_000_000)}, MAX_RETRY_AFTER),
        (  # OpenRouter: milliseconds, which were taken for seconds, and waited for a day
            {"x-ratelimit-remaining": "0", "x-ratelimit-reset": str(1000 * (int(NOW) + 40))},
            40,
        ),
        (
            {
                "x-ratelimit-remaining-requests": "1",
                "x-ratelimit-reset-requests": "1m",
            },
            None,
        ),
        ({"x-ratelimit-remaining-tokens": "0", "x-ratelimit-reset-tokens": "tomorrow"}, None),
        ({"x-ratelimit-remaining-tokens": "0", "x-ratelimit-reset-tokens": "-1s"}, None),
        ({"x-ratelimit-remaining-tokens": "0"}, None),
        ({"anthropic-ratelimit-tokens-reset": "1994-11-06T08:49:00Z"}, None),
        ({"retry-after": "3", "x-ratelimit-reset-requests": "9s"}, 3),
    ],
)
def test_retry_after_from_the_limits_that_are_used_up(headers, seconds):
    assert retry_after(headers, NOW) == seconds


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("12ms", 0.012),
        ("1s", 1),
        ("6m0s", 360),
        ("1h2m3s", 3723),
        ("1.5s", 1.5),
        ("250us", 250e-6),
        ("5ns", 5e-9),
        ("", None),
        (None, None),
        ("5", None),
        ("5 s", None),
        ("5d", None),
        ("-1s", None),
        ("1s!", None),
        ("9" * 400 + "h", None),
    ],
)
def test_duration(text, seconds):
    assert duration(text) == (seconds if seconds is None else pytest.approx(seconds))


TEXTS = st.one_of(
    st.text(max_size=40),
    st.from_regex(r"-?\d{1,400}(\.\d{1,3})?(e\d{1,4})?", fullmatch=True),
    st.from_regex(r"(\d{1,30}(ms|s|m|h)){1,4}", fullmatch=True),
    st.datetimes().map(datetime.datetime.isoformat),
    st.datetimes().map(email.utils.format_datetime),
    st.from_regex(
        r"\w{0,4},? \d{0,9}[ -]\w{0,4}[ -]\d{0,20} [\d:.]{0,12} ?[\w+-]{0,8}", fullmatch=True
    ),
    st.from_regex(r"\d{4}-\d\d-\d\dT\d\d:\d\d(:\d\d)?([+-]\d\d:\d\d|Z)?", fullmatch=True),
)
NAMES = st.sampled_from(
    [
        "retry-after",
        "retry-after-ms",
        "date",
        "x-ratelimit-reset-tokens",
        "x-ratelimit-remaining-tokens",
        "anthropic-ratelimit-requests-reset",
        "ratelimit-reset",
        "x-request-id",
    ]
)


@given(st.dictionaries(NAMES, TEXTS), st.floats(0, 4e9))
def test_retry_after_never_raises_and_stays_within_its_bounds(headers, now):
    seconds = retry_after(headers, now)
    assert seconds is None or 0 <= seconds <= MAX_RETRY_AFTER


@given(st.integers(0, 99), st.integers(0, 59), st.integers(0, 59), st.integers(0, 999))
def test_duration_reads_what_go_writes(hours, minutes, seconds, milliseconds):
    text = f"{hours}h{minutes}m{seconds}s{milliseconds}ms"
    expected = 3600 * hours + 60 * minutes + seconds + milliseconds / 1000
    assert math.isclose(duration(text), expected, abs_tol=1e-9)


@pytest.mark.parametrize(
    ("headers", "found"),
    [
        ({"x-request-id": "req_1"}, "req_1"),
        ({"request-id": "req_2"}, "req_2"),
        ({"x-amzn-requestid": "req_3"}, "req_3"),
        ({"x-request-id": "", "request-id": "req_4"}, "req_4"),
        ({"content-type": "text/html"}, None),
    ],
)
def test_request_id_is_read_from(headers, found):
    assert request_id(headers) == found


@given(st.text(max_size=400))
def test_request_id_can_stand_in_a_log(value):
    """What the server sends was taken as it is: of any length, and with line feeds."""
    found = request_id({"x-request-id": value})
    assert found is None or (len(found) <= 200 and found.isprintable() and found in value)


def test_rate_limits_are_the_headers_that_tell_of_limits():
    told = {
        "x-ratelimit-remaining-requests": "9",
        "anthropic-ratelimit-tokens-reset": "1994-11-06T08:50:07Z",
        "x-trial-endpoint-call-limit": "40",
    }
    others = {"retry-after": "1", "content-type": "text/html", "x-request-id": "limit"}
    assert rate_limits(told | others) == told


@given(st.text(max_size=400))
def test_a_rate_limit_can_stand_in_a_log(value):
    found = rate_limits({"ratelimit": value}).get("ratelimit")
    assert found is None or (len(found) <= MAX_LIMIT and found.isprintable() and found in value)


def test_reset_in_plain_seconds_is_relative() -> None:
    headers = {"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "60"}
    assert retry_after(headers, 1_800_000_000.0) == 60.0
    headers["x-ratelimit-reset-requests"] = "1800000030"
    assert retry_after(headers, 1_800_000_000.0) == 30.0
