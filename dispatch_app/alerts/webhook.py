"""Alerts as signed HTTP posts.

Connections are opened where those to vendors are, so the same addresses are refused, and no redirect is followed.
"""

import asyncio
import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass

from multidict import CIMultiDict

from dispatch_app.providers.transport import NETWORK_ERRORS, Outgoing, Transport

CONNECT_TIMEOUT_S = 5.0
TOTAL_TIMEOUT_S = 10.0

SIGNATURE_HEADER = "x-signalbox-signature"
TIMESTAMP_HEADER = "x-signalbox-timestamp"
DELIVERY_HEADER = "x-signalbox-delivery"


class NotDeliveredError(Exception):
    """The receiver did not take the alert; the message says why in a few words, and holds nothing of the receiver's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Post:
    """One alert on its way to one webhook."""

    url: str
    allow_private_network: bool
    secret: str
    delivery_id: str
    body: bytes


def sign(*, secret: str, timestamp: int, body: bytes) -> str:
    """The value of the signature header: HMAC-SHA256, in hexadecimal, of the timestamp, a full stop and the body."""
    digest = hmac.new(secret.encode(), f"{timestamp}.".encode() + body, hashlib.sha256)
    return f"v1={digest.hexdigest()}"


async def send_post(post: Post, *, transport: Transport, timestamp: int) -> None:
    """Post it once; nothing of the answer but its status is read.

    :raises NotDeliveredError: unless the receiver answers with a status of 200 to 299 in time.
    """
    if not post.url.startswith("https://") and not post.allow_private_network:
        raise NotDeliveredError("The webhook does without TLS.")
    try:
        async with asyncio.timeout(TOTAL_TIMEOUT_S):
            status = await _status_of(post, transport=transport, timestamp=timestamp)
    except TimeoutError as error:
        raise NotDeliveredError(f"No answer within {TOTAL_TIMEOUT_S:g} seconds.") from error
    except (*NETWORK_ERRORS, OSError) as error:
        raise NotDeliveredError("The connection failed or was refused.") from error
    if not 200 <= status < 300:
        raise NotDeliveredError(f"The answer had the status {status}.")


async def _status_of(post: Post, *, transport: Transport, timestamp: int) -> int:
    request = Outgoing(
        url=post.url,
        headers=CIMultiDict(_headers(post, timestamp=timestamp)),
        body=post.body,
        connect_timeout_s=CONNECT_TIMEOUT_S,
    )
    response = await transport.open(request, allow_private_network=post.allow_private_network)
    await response.stream.aclose()  # type: ignore[union-attr] # the transport's streams are asynchronous
    return response.status_code


def _headers(post: Post, *, timestamp: int) -> Mapping[str, str]:
    return {
        "content-type": "application/json",
        "user-agent": "Signalbox",
        DELIVERY_HEADER: post.delivery_id,
        TIMESTAMP_HEADER: str(timestamp),
        SIGNATURE_HEADER: sign(secret=post.secret, timestamp=timestamp, body=post.body),
    }
