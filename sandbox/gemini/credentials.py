"""Who may call: whoever shows an API key, in a header or in the address."""

import hmac
from urllib.parse import parse_qs

from sandbox.errors import ApiError
from sandbox.wire import HttpRequest


def authenticate(request: HttpRequest, *, api_key: str | None) -> None:
    """Check the key; with None, any will do. A wrong one is a bad request to Google, a missing one is forbidden.

    :raises ApiError: if there is none, or it is not the right one.
    """
    query = parse_qs(request.head.target.partition("?")[2])
    shown = request.head.header("x-goog-api-key") or query.get("key", [""])[0]
    if not shown:
        raise ApiError(
            status=403,
            message="Method doesn't allow unregistered callers (callers without established identity). "
            "Please use API Key or other form of API consumer identity to call this API.",
        )
    if api_key is not None and not hmac.compare_digest(shown.encode(), api_key.encode()):
        raise ApiError(
            status=400, message="API key not valid. Please pass a valid API key.", code="API_KEY_INVALID"
        )
