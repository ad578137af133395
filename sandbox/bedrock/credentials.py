"""Who may call: whoever signs with AWS's Signature Version 4, or shows an API key."""

import hmac
import re
from datetime import UTC, datetime, timedelta

from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from sandbox.errors import ApiError
from sandbox.wire import HttpRequest

MOST_SKEW = timedelta(minutes=5)

_SIGNATURE = re.compile(
    r"AWS4-HMAC-SHA256 Credential=(?P<key>[^/]+)/(?P<day>\d{8})/(?P<region>[a-z0-9-]+)/bedrock/aws4_request, ?"
    r"SignedHeaders=(?P<headers>[a-z0-9;-]+), ?Signature=(?P<signature>[0-9a-f]{64})"
)
_TIMESTAMP = "%Y%m%dT%H%M%SZ"


def authenticate(request: HttpRequest, *, api_key: str | None) -> None:
    """Check who calls. `api_key` is an API key, or `ACCESS_KEY_ID:SECRET_ACCESS_KEY`; with None, any that is well-formed will do.

    :raises ApiError: if the request shows none, or a wrong one, or its signature does not fit.
    """
    shown = request.head.header("authorization") or ""
    if shown.startswith("Bearer "):
        if api_key is not None and not _equal(shown.removeprefix("Bearer "), api_key):
            raise _refused("AccessDeniedException", "Authentication failed: invalid API key.")
    elif (signature := _SIGNATURE.fullmatch(shown)) is None:
        raise _refused("MissingAuthenticationTokenException", "Missing Authentication Token")
    else:
        _check_signature(request, signature, api_key)


def _check_signature(request: HttpRequest, shown: re.Match[str], api_key: str | None) -> None:
    timestamp = request.head.header("x-amz-date") or ""
    _check_time(timestamp, day=shown["day"])
    if api_key is None:
        return
    key_id, _, secret_key = api_key.partition(":")
    if not _equal(shown["key"], key_id):
        raise _refused(
            "UnrecognizedClientException", "The security token included in the request is invalid."
        )
    signer = SigV4Auth(Credentials(key_id, secret_key), "bedrock", shown["region"])
    if not _equal(shown["signature"], _sign(signer, request, shown["headers"].split(";"), timestamp)):
        raise _refused(
            "InvalidSignatureException",
            "The request signature we calculated does not match the signature you provided.",
        )


def _sign(signer: SigV4Auth, request: HttpRequest, names: list[str], timestamp: str) -> str:
    """What the signature has to be, by what came over the wire."""
    headers = {name: request.head.header(name) or "" for name in names}
    url = f"https://{request.head.header('host')}{request.head.target}"
    received = AWSRequest(method=request.head.method, url=url, data=request.body, headers=headers)
    received.context["timestamp"] = timestamp
    return str(
        signer.signature(signer.string_to_sign(received, signer.canonical_request(received)), received)
    )


def _check_time(timestamp: str, *, day: str) -> None:
    try:
        signed_at = datetime.strptime(timestamp, _TIMESTAMP).replace(tzinfo=UTC)
    except ValueError:
        raise _refused("IncompleteSignatureException", "Date must be in ISO-8601 'basic format'.") from None
    if timestamp[:8] != day or abs(datetime.now(UTC) - signed_at) > MOST_SKEW:
        raise _refused("InvalidSignatureException", "Signature expired.")


def _equal(shown: str, right: str) -> bool:
    return hmac.compare_digest(shown.encode(), right.encode())


def _refused(exception: str, message: str) -> ApiError:
    return ApiError(status=403, message=message, code=exception)
