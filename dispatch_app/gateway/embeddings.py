"""`POST /v1/embeddings`: vectors of texts, as a dispatch like any other."""

from dispatch_app.gateway.answers import send_json
from dispatch_app.gateway.exchange import Exchange, carry_out, inputs_of
from dispatch_app.gateway.openai_embeddings import parse_embeddings, render_embeddings
from dispatch_app.gateway.repeats import keep, once
from dispatch_app.gateway.trace import dispatch_details


async def embeddings(exchange: Exchange) -> None:
    """Answer one request."""
    caller, key, body = await exchange.open()
    prompt = parse_embeddings(body)
    inputs = inputs_of(caller, prompt.metadata)
    exchange.make_claim(caller, key=key, body=body)

    async def answer() -> None:
        dispatch = await exchange.admit(key=key, prompt=prompt, inputs=inputs)
        reply = await carry_out(exchange, dispatch)
        told = await render_embeddings(
            reply=reply,
            model=dispatch.progress.model_name,
            # Clients want a count in any case: where the vendor gave none, it is what was charged.
            input_tokens=dispatch.progress.past[-1].settlement.usage.tokens,
            details=dispatch_details(exchange, dispatch) if caller.wants_trace else None,
            prompt=prompt,
        )
        await keep(exchange, told)
        await send_json(exchange.send, told, headers=exchange.final_headers())

    await once(exchange, answer)
