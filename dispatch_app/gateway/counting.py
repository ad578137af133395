"""`POST /v1/messages/count_tokens`: how long a prompt is, by the estimate that rules go by. No model is asked."""

import msgspec

from dispatch_app.gateway.answers import send_json
from dispatch_app.gateway.anthropic_request import parse_count
from dispatch_app.gateway.exchange import Exchange


async def count_tokens(exchange: Exchange) -> None:
    """Tell the estimate of one prompt."""
    _, _, body = await exchange.open()
    told = {"input_tokens": parse_count(body).input_tokens}
    await send_json(exchange.send, msgspec.json.encode(told), headers=exchange.headers())
