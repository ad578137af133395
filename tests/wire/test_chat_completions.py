"""The official client against a real web process, PostgreSQL and the sandbox vendor."""

from sandbox.server import SandboxServer
from tests.running_servers import RunningGateway, attempt_rows, dispatch_rows, open_shop

QUESTION = [{"role": "user", "content": "What is the capital of France?"}]


def test_the_official_client_gets_a_plain_answer(vendor: SandboxServer, gateway: RunningGateway) -> None:
    shop = open_shop(vendor)
    gateway.catch_up()

    reply = gateway.client(shop.key).chat.completions.create(model="auto", messages=QUESTION)

    assert reply.model == "small"
    assert reply.choices[0].message.content
    assert reply.usage.total_tokens > 0
    (dispatch,) = dispatch_rows()
    assert dispatch["status"] == "succeeded"
    assert dispatch["cost_nanos"] == vendor.ledger.total_nanos > 0


def test_the_official_client_gets_a_streamed_answer(vendor: SandboxServer, gateway: RunningGateway) -> None:
    shop = open_shop(vendor)
    gateway.catch_up()

    chunks = list(
        gateway.client(shop.key).chat.completions.create(
            model="auto", messages=QUESTION, stream=True, stream_options={"include_usage": True}
        )
    )

    assert {chunk.model for chunk in chunks} == {"small"}
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert chunks[-1].usage.total_tokens > 0
    (attempt,) = attempt_rows()
    assert attempt["cost_nanos"] == vendor.ledger.total_nanos > 0
