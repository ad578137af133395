"""The file that stops a machine when there is no time, or no database, to ask for leave."""

import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from dispatch_app.break_glass import LONGEST_REASON, NO_REASON, BreakGlass
from sandbox.server import SandboxServer
from tests.running_servers import RunningGateway, attempt_rows, open_shop

QUESTION = {"model": "auto", "messages": [{"role": "user", "content": "How are you?"}]}
PATIENCE_S = 10.0


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        ("incident 42\n", "incident 42"),
        ("two\nlines", "two lines"),
        ("", NO_REASON),
        ("\x1b[31m", "[31m"),
        ("x" * 9999, "x" * LONGEST_REASON),
    ],
)
def test_while_the_file_is_there_its_words_are_the_reason(tmp_path: Path, words: str, reason: str) -> None:
    glass = BreakGlass(state_dir=tmp_path)
    glass.look()
    assert not glass.is_broken

    (tmp_path / "kill").write_text(words)
    glass.look()
    assert glass.reason == reason

    (tmp_path / "kill").unlink()
    glass.look()
    assert not glass.is_broken


def test_other_words_are_read_again(tmp_path: Path) -> None:
    glass = BreakGlass(state_dir=tmp_path)
    (tmp_path / "kill").write_text("drill")
    glass.look()

    (tmp_path / "kill").write_text("no drill")
    glass.look()

    assert glass.reason == "no drill"


def test_what_cannot_be_read_stops_all_the_same(tmp_path: Path) -> None:
    (tmp_path / "kill").mkdir()
    glass = BreakGlass(state_dir=tmp_path)

    glass.look()

    assert glass.reason == NO_REASON


def test_a_folder_that_is_not_there_stops_nothing(tmp_path: Path) -> None:
    glass = BreakGlass(state_dir=tmp_path / "nowhere")

    glass.look()

    assert not glass.is_broken


@pytest.mark.processes
def test_a_process_admits_nothing_from_the_file_s_coming_to_its_going(
    start_gateways: Callable[..., Sequence[RunningGateway]], vendor: SandboxServer, tmp_path: Path
) -> None:
    shop = open_shop(vendor)
    (gateway,) = start_gateways(1, SIGNALBOX_STATE_DIR=str(tmp_path))
    assert gateway.post("/v1/chat/completions", shop.key, json=QUESTION).status_code == 200

    (tmp_path / "kill").write_text("incident 42")
    _await(lambda: gateway.get("/readyz").status_code == 503)
    assert gateway.get("/readyz").json() == {"status": "not ready", "missing": ["leave to admit"]}
    refused = gateway.post("/v1/chat/completions", shop.key, json=QUESTION)
    streamed = gateway.post("/v1/chat/completions", shop.key, json=QUESTION | {"stream": True})

    assert [answer.status_code for answer in (refused, streamed)] == [503, 503]
    assert refused.json()["error"]["code"] == "killed"
    assert refused.json()["error"]["message"] == "Everything is stopped: incident 42"
    assert gateway.post("/v1/chat/completions", "wrong key", json=QUESTION).status_code == 401
    assert len(attempt_rows()) == 1

    (tmp_path / "kill").unlink()
    _await(lambda: gateway.get("/readyz").status_code == 200)
    assert gateway.post("/v1/chat/completions", shop.key, json=QUESTION).status_code == 200


def _await(holds: Callable[[], bool]) -> None:
    give_up_at = time.monotonic() + PATIENCE_S
    while not holds():
        assert time.monotonic() < give_up_at
        time.sleep(0.02)
