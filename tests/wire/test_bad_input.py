"""Whatever a stranger sends: a clear error in OpenAI's format, never a 500, nothing reserved, nothing logged."""

import json
import socket
import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from policies_app.models import ApiKey, Tenant
from sandbox.server import SandboxServer
from tests.factories import make_budget
from tests.running_servers import RunningGateway, Shop, attempt_rows, dispatch_rows, open_shop

QUESTION = [{"role": "user", "content": "Hello"}]
CHAT = "/v1/chat/completions"
BODY_PATHS = [CHAT, "/v1/dispatch", "/v1/explain"]
LIMIT = 10 * 1024 * 1024


@pytest.fixture
def shop(vendor: SandboxServer, gateway: RunningGateway) -> Iterator[Shop]:
    """Afterwards nothing of what was sent may have left a trace."""
    shop = open_shop(vendor)
    make_budget(shop.tenant)
    gateway.catch_up()
    yield shop
    assert dispatch_rows() == attempt_rows() == []
    assert not vendor.journal.requests
    assert gateway.get("/healthz").status_code == 200


def error_of(answer: httpx.Response, status: int, code: str | None = None) -> dict[str, Any]:
    assert answer.status_code == status, answer.text
    error: dict[str, Any] = answer.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert code in {None, error["code"]}
    assert error["message"]
    assert answer.headers["x-request-id"]
    return error


MALFORMED = {
    "empty": b"",
    "no JSON": b"hello",
    "an array": b"[]",
    "cut off": b"{",
    "U+0000": b'{"model":"auto","messages":[{"role":"user","content":"\\u0000"}]}',
    "a lone surrogate": b'{"model":"auto","messages":[{"role":"user","content":"\\ud800"}]}',
    "not UTF-8": b'{"model":"auto","messages":[{"role":"user","content":"\xff"}]}',
    "a name twice": b'{"model":"auto","model":"other","messages":[{"role":"user","content":"x"}]}',
    "NaN": b'{"model":"auto","messages":[],"x":NaN}',
    "an array bomb": b'{"model":"auto","messages":' + b"[" * 200_000 + b"]" * 200_000 + b"}",
    "an object bomb": b'{"a":' * 200_000 + b"1" + b"}" * 200_000,
    "too many values": b'{"model":"auto","messages":[' + b"1," * 200_000 + b"1]}",
}
WRONG: list[dict[str, Any]] = [
    {"messages": []},
    {"messages": [{"role": "user", "content": 5}]},
    {"model": 5},
    {"max_tokens": -1},
    {"max_tokens": 10**30},
    {"n": 0},
    {"n": 10**6},
    {"temperature": 1e300},
    {"user": "x" * 256},
    {"stream_options": "x"},
]
WRONG_NATIVE: list[dict[str, Any]] = [
    {"limits": {"timeout_ms": -1}},
    {"limits": {"output_tokens": 10**30}},
    {"limits": {"nanos": 5}},
    {"tags": {"a": 5}},
    {"tags": {"x\u0001": "y"}},
    {"task": "x" * 65},
    {"stream": True},
]
AMBIGUOUS = [
    b"content-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
    b"content-length: -1\r\n\r\n",
    b"content-length: 5\r\ncontent-length: 6\r\n\r\nhello!",
    b"x: a\x00b\r\n\r\n",
    b" broken\r\n\r\n",
]


@pytest.mark.parametrize("path", BODY_PATHS)
def test_malformed_bodies(gateway: RunningGateway, shop: Shop, path: str) -> None:
    for body in MALFORMED.values():
        error_of(gateway.post(path, shop.key, content=body), 400, "invalid_request")


@pytest.mark.parametrize("path", BODY_PATHS)
def test_wrong_values(gateway: RunningGateway, shop: Shop, path: str) -> None:
    for fields in WRONG:
        body = {"model": "auto", "messages": QUESTION} | fields
        error_of(gateway.post(path, shop.key, json=body), 400, "invalid_request")


def test_wrong_values_of_the_native_endpoint(gateway: RunningGateway, shop: Shop) -> None:
    for fields in WRONG_NATIVE:
        body = {"model": "auto", "messages": QUESTION} | fields
        error = error_of(gateway.post("/v1/dispatch", shop.key, json=body), 400)
        assert error["code"] in {"invalid_request", "unsupported_parameter"}


def test_fields_that_nobody_may_set(gateway: RunningGateway, shop: Shop) -> None:
    for name in ("api_base", "api_key", "extra_headers", "input_cost_per_token"):
        body = {"model": "auto", "messages": QUESTION, name: "http://evil/"}
        assert (
            error_of(gateway.post(CHAT, shop.key, json=body), 400, "unsupported_parameter")["param"] == name
        )


@pytest.mark.parametrize("path", BODY_PATHS)
def test_unknown_models(gateway: RunningGateway, shop: Shop, path: str) -> None:
    for model in ("nothing", "x" * 200, "../etc/passwd", "auto' OR 1=1 --", "🌍"):
        body = {"model": model, "messages": QUESTION}
        error_of(gateway.post(path, shop.key, json=body), 404, "model_not_found")


def test_unknown_keys(gateway: RunningGateway, shop: Shop) -> None:
    for key in (None, "nonsense", "sbx_" + "0" * 43, shop.key[:-1] + "_", "' OR 1=1 --"):
        for path in BODY_PATHS:
            error_of(gateway.post(path, key), 401, "invalid_api_key")
        for path in ("/v1/models", "/v1/models/auto"):
            error_of(gateway.get(path, key), 401, "invalid_api_key")


def test_keys_that_were_switched_off(gateway: RunningGateway, shop: Shop) -> None:
    body = {"model": "auto", "messages": QUESTION}
    ApiKey.objects.update(enabled=False)
    gateway.catch_up()
    error_of(gateway.post(CHAT, shop.key, json=body), 401, "invalid_api_key")

    ApiKey.objects.update(enabled=True)
    Tenant.objects.update(enabled=False)
    gateway.catch_up()
    error_of(gateway.post(CHAT, shop.key, json=body), 401, "invalid_api_key")


def test_headers_that_make_no_sense(gateway: RunningGateway, shop: Shop) -> None:
    body = {"model": "auto", "messages": QUESTION}
    for name, value in [("x-request-timeout-ms", "-1"), ("x-dispatch-tags", "novalue")]:
        error_of(gateway.post(CHAT, shop.key, json=body, headers={name: value}), 400, "invalid_request")


def test_addresses_and_methods_that_do_not_exist(gateway: RunningGateway, shop: Shop) -> None:
    error_of(gateway.get("/v1/nothing", shop.key), 404, "not_found")
    error_of(gateway.get("/v1/", shop.key), 404, "not_found")
    error_of(gateway.get(CHAT, shop.key), 405, "method_not_allowed")
    error_of(gateway.post("/v1/models", shop.key), 405, "method_not_allowed")


def test_a_body_that_announces_its_size_is_refused_unread(gateway: RunningGateway, shop: Shop) -> None:
    head = _head(shop.key, f"content-length: {300 * 1024 * 1024}")
    with socket.create_connection(("127.0.0.1", gateway.port), timeout=5) as connection:
        connection.sendall(head + b"{")

        answer = _read_to_end(connection)

    assert answer.startswith(b"HTTP/1.1 413")
    assert b'"request_too_large"' in answer


def test_a_300_mb_body_is_cut_off_where_it_passes_the_limit(gateway: RunningGateway, shop: Shop) -> None:
    piece = b"x" * 65_536
    chunk = b"%x\r\n%b\r\n" % (len(piece), piece)
    sent, passed_at = 0, None
    with socket.create_connection(("127.0.0.1", gateway.port), timeout=5) as connection:
        connection.sendall(_head(shop.key, "transfer-encoding: chunked"))
        answered = False
        while sent < 300 * 1024 * 1024 and not answered:
            connection.sendall(chunk)
            sent += len(piece)
            if sent > LIMIT and passed_at is None:
                passed_at = time.monotonic()
            if passed_at is not None:
                connection.settimeout(0.1)
                answered = connection.recv(1, socket.MSG_PEEK) == b"H"
        elapsed_s = time.monotonic() - (passed_at or 0)
        connection.settimeout(5)
        answer = _read_to_end(connection)

    assert answered
    assert answer.startswith(b"HTTP/1.1 413")
    assert json.loads(answer.partition(b"\r\n\r\n")[2])["error"]["code"] == "request_too_large"
    assert b"connection: close" in answer.lower()
    assert elapsed_s < 0.1
    assert sent < LIMIT + 2 * 1024 * 1024


def test_a_client_that_hangs_up_within_its_body_leaves_nothing(gateway: RunningGateway, shop: Shop) -> None:
    with socket.create_connection(("127.0.0.1", gateway.port), timeout=5) as connection:
        connection.sendall(_head(shop.key, "content-length: 1000") + b'{"model":')
    time.sleep(0.1)


def test_ambiguous_framing_is_never_served(gateway: RunningGateway, shop: Shop) -> None:
    for rest in AMBIGUOUS:
        with socket.create_connection(("127.0.0.1", gateway.port), timeout=5) as connection:
            connection.sendall(f"POST {CHAT} HTTP/1.1\r\nhost: x\r\n".encode() + rest)
            connection.shutdown(socket.SHUT_WR)

            answer = _read_to_end(connection)

        assert not answer.startswith((b"HTTP/1.1 200", b"HTTP/1.1 500"))


def _head(key: str, framing: str) -> bytes:
    return (
        f"POST {CHAT} HTTP/1.1\r\nhost: 127.0.0.1\r\nauthorization: Bearer {key}\r\n"
        f"content-type: application/json\r\n{framing}\r\n\r\n"
    ).encode()


def _read_to_end(connection: socket.socket) -> bytes:
    answer = b""
    try:
        while piece := connection.recv(65_536):
            answer += piece
    except ConnectionResetError:
        pass  # The rest of a refused body was still on its way.
    return answer
