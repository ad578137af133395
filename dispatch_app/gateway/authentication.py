"""Who calls: an API key, looked up by its public id and proved by its secret."""

import hmac
from collections.abc import Mapping
from datetime import datetime

from dispatch_app.execution.errors import ErrorCode
from dispatch_app.gateway.errors import RequestError
from dispatch_app.snapshot.types import ServedKey
from policies_app.api_key_format import parse_key, secret_digest

_SCHEME = "bearer "
_NO_DIGEST = bytes(32)


def authenticate(
    authorization: str | None, *, keys: Mapping[str, ServedKey], pepper: bytes, now: datetime
) -> ServedKey:
    """Return the key that an Authorization header presents.

    An unknown id costs as much as a known one: its secret is compared all the same.

    :raises RequestError: for whatever is not a usable key; what is wrong with it is not said.
    """
    if authorization is None or authorization[: len(_SCHEME)].lower() != _SCHEME:
        raise _refused()
    parsed = parse_key(authorization[len(_SCHEME) :].strip())
    if parsed is None:
        raise _refused()
    key = keys.get(parsed.public_id)
    expected = _NO_DIGEST if key is None else key.secret_hmac
    is_proved = hmac.compare_digest(secret_digest(secret=parsed.secret, pepper=pepper), expected)
    if key is None or not is_proved or not _is_usable(key, now):
        raise _refused()
    return key


def _is_usable(key: ServedKey, now: datetime) -> bool:
    return key.enabled and key.tenant.enabled and (key.expires_at is None or key.expires_at > now)


def _refused() -> RequestError:
    return RequestError(status=401, code=ErrorCode.INVALID_API_KEY)
