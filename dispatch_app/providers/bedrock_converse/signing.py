"""AWS's Signature Version 4 of one kind of request, for a moment that is given.

Source: "Create a signed AWS API request" of AWS's IAM user guide. Tests hold it against botocore's signer, which costs
several times as much: see docs/decisions/0009.
"""

import hmac
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from hashlib import sha256
from posixpath import normpath
from urllib.parse import quote, urlsplit

_ALGORITHM = "AWS4-HMAC-SHA256"
_SERVICE = "bedrock"
_USUAL_PORTS = {"http": 80, "https": 443}


def is_access_key(secret: str) -> bool:
    """Whether a secret is `ACCESS_KEY_ID:SECRET_ACCESS_KEY[:SESSION_TOKEN]`, which signs; Bedrock's API keys have no colon."""
    return ":" in secret


def signed_headers(
    *, url: str, body: bytes, media_type: str, secret: str, region: str, now: datetime
) -> dict[str, str]:
    """The headers that sign a POST request; `secret` as in `is_access_key`, `url` as it goes over the wire, without a query."""
    timestamp = _timestamp(int(now.timestamp()))
    day = _of_a_day(url, media_type, secret, region, timestamp[:8])
    request = f"{day.before_the_time}{timestamp}{day.after_the_time}{sha256(body).hexdigest()}"
    text = f"{_ALGORITHM}\n{timestamp}\n{day.scope}\n{sha256(request.encode()).hexdigest()}"
    return {
        "x-amz-date": timestamp,
        **day.token,
        "authorization": f"{day.authorization}{day.signature(text)}",
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class _Day:
    """What the signatures of all requests to one address have in common on one day."""

    keyed: hmac.HMAC
    scope: str
    before_the_time: str
    after_the_time: str
    authorization: str
    token: Mapping[str, str]

    def signature(self, text: str) -> str:
        """The signature of a text. To copy what has taken in the key is cheaper than to take it in."""
        mac = self.keyed.copy()
        mac.update(text.encode())
        return mac.hexdigest()


@lru_cache(maxsize=1_024)
def _of_a_day(url: str, media_type: str, secret: str, region: str, date: str) -> _Day:
    key_id, secret_key, token = f"{secret}:".split(":", 3)[:3]
    scope = (date, region, _SERVICE, "aws4_request")
    key = f"AWS4{secret_key}".encode()
    for part in scope:
        key = hmac.digest(key, part.encode(), "sha256")
    host, path = _host_and_path(url)
    # The headers are signed in the order of the alphabet: behind the time there is only the token.
    names = "content-type;host;x-amz-date" + (";x-amz-security-token" if token else "")
    token_line = f"x-amz-security-token:{token}\n" if token else ""
    return _Day(
        keyed=hmac.new(key, digestmod="sha256"),
        scope="/".join(scope),
        before_the_time=f"POST\n{path}\n\ncontent-type:{media_type}\nhost:{host}\nx-amz-date:",
        after_the_time=f"\n{token_line}\n{names}\n",
        authorization=f"{_ALGORITHM} Credential={key_id}/{'/'.join(scope)}, SignedHeaders={names}, Signature=",
        token={"x-amz-security-token": token} if token else {},
    )


def _host_and_path(url: str) -> tuple[str, str]:
    """The host as its header has it, and the path as it is signed: what is quoted in it already is quoted again."""
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2].lower().removesuffix(f":{_USUAL_PORTS.get(parts.scheme)}")
    return host, quote(normpath(f"/{parts.path.lstrip('/')}"), safe="/~")


@lru_cache(maxsize=16)
def _timestamp(second: int) -> str:
    """A moment as `20260603T120000Z`."""
    return f"{datetime.fromtimestamp(second, UTC):%Y%m%dT%H%M%SZ}"
