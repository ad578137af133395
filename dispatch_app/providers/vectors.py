"""Vendors' vectors as a reply. Performs no I/O."""

import asyncio
import binascii
from collections.abc import Sequence

import msgspec

from dispatch_app.execution.canonical import Reply, Request
from dispatch_app.execution.errors import InvalidReplyError
from dispatch_app.execution.vectors import Vector, is_sound, size_of
from policies_app.routing.types import Usage

VECTORS_A_TURN = 16

_decode = msgspec.json.Decoder(str | list[float]).decode


async def reply_of(
    written: Sequence[msgspec.Raw],
    *,
    request: Request,
    model: str,
    usage: Usage | None,
    wire_status: int,
    first_byte_at: float,
) -> Reply:
    """The reply that gives the vectors that a vendor has `written`, as numbers or in base 64.

    To read thousands takes a good part of a second, so that other requests have their turn in between.

    :raises InvalidReplyError: unless there is one for each text, and all are sound and of one size: that which was asked for.
    """
    if len(written) != len(request.fields["input"]):
        raise InvalidReplyError(wire_status=wire_status, usage=usage)
    vectors: list[Vector] = []
    try:
        for index, vector in enumerate(written):
            if index % VECTORS_A_TURN == VECTORS_A_TURN - 1:
                await asyncio.sleep(0)
            vectors.append(_read(vector))
    except (msgspec.DecodeError, ValueError) as error:
        raise InvalidReplyError(wire_status=wire_status, usage=usage) from error
    sizes = {size_of(vector) for vector in vectors}
    if sizes != {request.fields.get("dimensions") or max(sizes)}:
        raise InvalidReplyError(wire_status=wire_status, usage=usage)
    return Reply(
        model=model,
        choices=[],
        usage=usage,
        wire_status=wire_status,
        first_byte_at=first_byte_at,
        vectors=vectors,
    )


def _read(written: msgspec.Raw) -> Vector:
    """One vector.

    :raises msgspec.DecodeError: if it is neither numbers nor a text.
    :raises ValueError: if it is no base 64, or not sound.
    """
    told = _decode(written)
    vector = binascii.a2b_base64(told, strict_mode=True) if isinstance(told, str) else told
    if not is_sound(vector):
        raise ValueError("no sound vector")
    return vector
