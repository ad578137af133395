from typing import Any

import pytest

from dispatch_app.gateway.errors import RequestError
from dispatch_app.gateway.headers import header_value, read_headers, usd


def scope(*headers: tuple[str, str]) -> dict[str, Any]:
    return {"headers": [(name.encode(), value.encode("latin-1")) for name, value in headers]}


def test_a_caller_that_says_nothing_says_nothing() -> None:
    caller = read_headers(scope(("x-other", "1")))

    assert (caller.authorization, caller.task, caller.tags, caller.timeout_ms) == (None, None, {}, None)
    assert not caller.wants_trace


def test_headers_say_task_tags_timeout_and_trace() -> None:
    caller = read_headers(
        scope(
            ("x-dispatch-task", "faq"),
            ("x-dispatch-tags", "team=red, region = eu,empty="),
            ("x-request-timeout-ms", "1500"),
            ("x-dispatch-debug", "True"),
        )
    )

    assert caller.task == "faq"
    assert caller.tags == {"team": "red", "region": "eu", "empty": ""}
    assert caller.timeout_ms == 1500
    assert caller.wants_trace


@pytest.mark.parametrize(
    "headers",
    [
        [("authorization", "a"), ("authorization", "b")],
        [("x-dispatch-task", "x" * 65)],
        [("x-dispatch-task", "a\x00b")],
        [("x-dispatch-tags", "novalue")],
        [("x-dispatch-tags", "=x")],
        [("x-dispatch-tags", ",".join(f"k{number}=v" for number in range(17)))],
        [("x-dispatch-tags", f"k={'v' * 257}")],
        [("x-request-timeout-ms", "0")],
        [("x-request-timeout-ms", "-5")],
        [("x-request-timeout-ms", "1.5")],
        [("x-request-timeout-ms", "soon")],
        [("x-request-timeout-ms", "²")],
        [("x-request-timeout-ms", "9" * 30)],
        [("x-request-timeout-ms", "")],
    ],
)
def test_headers_that_make_no_sense_are_refused(headers: list[tuple[str, str]]) -> None:
    with pytest.raises(RequestError) as raised:
        read_headers(scope(*headers))

    assert raised.value.status == 400


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("plain words", b"plain words"),
        ("caf\xe9", b"caf\xe9"),
        ("“quoted” 🌍", b"?quoted? ?"),
        ("two\r\nlines: x\x00", b"two  lines: x "),
        ("x" * 2_000, b"x" * 512),
    ],
)
def test_any_text_fits_into_a_header(text: str, value: bytes) -> None:
    assert header_value(text) == value


@pytest.mark.parametrize(
    ("nanos", "text"),
    [(0, "0.000000000"), (1, "0.000000001"), (1_234_567_890, "1.234567890"), (10**15, "1000000.000000000")],
)
def test_dollars_are_exact(nanos: int, text: str) -> None:
    assert usd(nanos) == text
