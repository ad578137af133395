"""AWS's Signature Version 4, by botocore's signer, for a moment that is given."""

from datetime import UTC, datetime

from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

_SERVICE = "bedrock"
_TIMESTAMP = "%Y%m%dT%H%M%SZ"


def is_access_key(secret: str) -> bool:
    """Whether a secret is `ACCESS_KEY_ID:SECRET_ACCESS_KEY[:SESSION_TOKEN]`, which signs; Bedrock's API keys have no colon."""
    return ":" in secret


def signed_headers(
    *, url: str, body: bytes, media_type: str, secret: str, region: str, now: datetime
) -> dict[str, str]:
    """The headers that sign a POST request; `secret` as in `is_access_key`, `url` as it goes over the wire."""
    key_id, secret_key, token = f"{secret}:".split(":", 3)[:3]
    timestamp = now.astimezone(UTC).strftime(_TIMESTAMP)
    headers = {"x-amz-date": timestamp} | ({"x-amz-security-token": token} if token else {})
    request = AWSRequest(method="POST", url=url, data=body, headers={"content-type": media_type, **headers})
    request.context["timestamp"] = timestamp
    authorization = _authorization(SigV4Auth(Credentials(key_id, secret_key), _SERVICE, region), request)
    return {**headers, "authorization": authorization}


def _authorization(signer: SigV4Auth, request: AWSRequest) -> str:
    """The steps of the signer's `add_auth`, which asks the clock."""
    text = signer.string_to_sign(request, signer.canonical_request(request))
    names = signer.signed_headers(signer.headers_to_sign(request))
    signature = signer.signature(text, request)
    return (
        f"AWS4-HMAC-SHA256 Credential={signer.scope(request)}, SignedHeaders={names}, Signature={signature}"
    )
