"""The documentation's receiver checks signatures as Signalbox makes them."""

import re
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from dispatch_app.alerts.webhook import SIGNATURE_HEADER, TIMESTAMP_HEADER, sign

GUIDE = Path(__file__).resolve().parents[3] / "docs" / "operations.md"


@pytest.fixture
def is_genuine() -> Callable[[dict[str, str], bytes, str], bool]:
    (sample,) = [
        code for code in re.findall(r"```python\n(.*?)```", GUIDE.read_text(), re.DOTALL) if "hmac" in code
    ]
    names: dict[str, Callable[[dict[str, str], bytes, str], bool]] = {}
    exec(sample, names)
    return names["is_genuine"]


@pytest.mark.parametrize(
    ("age_s", "body", "secret", "verdict"),
    [
        (0, b"{}", "the secret", True),
        (600, b"{}", "the secret", False),
        (0, b"{ }", "the secret", False),
        (0, b"{}", "another", False),
    ],
)
def test_the_sample_takes_what_is_genuine_alone(
    is_genuine: Callable[[dict[str, str], bytes, str], bool],
    age_s: int,
    body: bytes,
    secret: str,
    verdict: bool,
) -> None:
    timestamp = int(time.time()) - age_s
    signature = sign(secret="the secret", timestamp=timestamp, body=b"{}")
    headers = {TIMESTAMP_HEADER: str(timestamp), SIGNATURE_HEADER: signature}

    assert is_genuine(headers, body, secret) is verdict
