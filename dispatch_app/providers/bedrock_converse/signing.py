"""AWS's Signature Version 4 of one kind of request, for a moment that is given.

Source: "Create a signed AWS API request" of AWS's IAM user guide. Tests hold it against botocore's signer, which costs ten
times as much: see docs/decisions/0009.
"""

import hmac
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
    key_id, secret_key, token = f"{secret}:".split(":", 3)[:3]
    timestamp = _timestamp(now)
    date = timestamp[:8]
    scope = f"{date}/{region}/{_SERVICE}/aws4_request"
    host, path = _host_and_path(url)
    told = {"x-amz-date": timestamp} | ({"x-amz-security-token": token} if token else {})
    # In the order of the alphabet, as they are signed.
    headers = {"content-type": media_type, "host": host, **told}
    names = ";".join(headers)
    lines = "".join([f"{name}:{value}\n" for name, value in headers.items()])
    request = f"POST\n{path}\n\n{lines}\n{names}\n{sha256(body).hexdigest()}"
    text = f"{_ALGORITHM}\n{timestamp}\n{scope}\n{sha256(request.encode()).hexdigest()}"
    signature = _mac(_signing_key(secret_key, date, region), text).hex()
    told["authorization"] = (
        f"{_ALGORITHM} Credential={key_id}/{scope}, SignedHeaders={names}, Signature={signature}"
    )
    return told


def _timestamp(now: datetime) -> str:
    """A moment as `20260603T120000Z`."""
    return now.astimezone(UTC).isoformat()[:19].replace("-", "").replace(":", "") + "Z"


@lru_cache(maxsize=1_024)
def _host_and_path(url: str) -> tuple[str, str]:
    """The host as its header has it, and the path as it is signed: what is quoted in it already is quoted again."""
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2].lower().removesuffix(f":{_USUAL_PORTS.get(parts.scheme)}")
    return host, quote(normpath(f"/{parts.path.lstrip('/')}"), safe="/~")


@lru_cache(maxsize=64)
def _signing_key(secret_key: str, date: str, region: str) -> bytes:
    """The key of one day and region."""
    key = f"AWS4{secret_key}".encode()
    for step in (date, region, _SERVICE, "aws4_request"):
        key = _mac(key, step)
    return key


def _mac(key: bytes, text: str) -> bytes:
    return hmac.digest(key, text.encode(), "sha256")
