"""What translation costs: each format of clients with each format of vendors, in CPU, without I/O.

A request and its reply: from the bytes that the client sent to those that the vendor is sent, checks of strangers' JSON and
signatures included, and from the vendor's bytes to the client's. An event of a stream: from the vendor's bytes to the
client's, as the mean over a stream that begins, speaks, calls two tools and ends. Garbage is collected as in a web process.
Each pair has its turn in many rounds, and the quietest counts: what disturbs a single thread that does no I/O is somebody else.
"""

import math
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from time import process_time_ns
from uuid import UUID

from bench import answered, asked
from bench.answered import Answered
from bench.report import Bar, Report
from dispatch_app.collector import spare_the_collector
from dispatch_app.execution.canonical import StreamPart
from dispatch_app.gateway.anthropic_messages import ANTHROPIC_MESSAGES
from dispatch_app.gateway.client_half import ClientHalf
from dispatch_app.gateway.openai_chat import OPENAI_CHAT
from dispatch_app.gateway.openai_responses import OPENAI_RESPONSES
from dispatch_app.providers.adapter import Adapter, Built, Prepared, adapter_of
from dispatch_app.providers.quirks import adapted, dropped
from policies_app.routing.codes import Capability, Tier, WireFormat
from policies_app.routing.types import Candidate, CatalogueModel, Price

RESULTS = Path(__file__).resolve().parent.parent / "var" / "bench"
ROUNDS = 100
REQUESTS_A_PASS = 50
REQUEST_BAR_US, EVENT_BAR_US = 60.0, 15.0

_NOW = datetime(2026, 6, 3, 12, tzinfo=UTC)
_ID = UUID("0197e3a0-7c51-7000-8000-000000000001")
_HEX_ID = _ID.hex


@dataclass(frozen=True, slots=True, kw_only=True)
class Client:
    """A format of clients: its half, and a request in it, plain and streamed."""

    half: ClientHalf
    body: bytes
    streamed_body: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Vendor:
    """What is called, and what it answers. Meets `dispatch_app.providers.adapter.Provider`."""

    wire_format: WireFormat
    answered: Answered
    base_url: str
    secret: str = "vendor-secret"
    api_version: str = ""
    region: str = ""
    id: int = 1
    allow_private_network: bool = False
    connect_timeout_ms: int = 1_000
    first_byte_timeout_ms: int = 10_000
    idle_timeout_ms: int = 10_000
    bills_server_errors: bool = False
    lacks_secret: bool = False


_BEDROCK = "https://bedrock-runtime.eu-west-1.amazonaws.com"
CLIENTS: Mapping[str, Client] = {
    "chat completions": Client(
        half=OPENAI_CHAT, body=asked.chat(stream=False), streamed_body=asked.chat(stream=True)
    ),
    "responses": Client(
        half=OPENAI_RESPONSES, body=asked.response(stream=False), streamed_body=asked.response(stream=True)
    ),
    "anthropic messages": Client(
        half=ANTHROPIC_MESSAGES, body=asked.message(stream=False), streamed_body=asked.message(stream=True)
    ),
}
VENDORS: Mapping[str, Vendor] = {
    "openai": Vendor(
        wire_format=WireFormat.OPENAI_CHAT,
        base_url="https://api.openai.com/v1",
        answered=answered.openai(),
    ),
    "azure": Vendor(
        wire_format=WireFormat.AZURE_OPENAI,
        base_url="https://parcels.openai.azure.com/openai",
        api_version="2024-10-21",
        answered=answered.openai(),
    ),
    "anthropic": Vendor(
        wire_format=WireFormat.ANTHROPIC_MESSAGES,
        base_url="https://api.anthropic.com/v1",
        answered=answered.anthropic(),
    ),
    "gemini": Vendor(
        wire_format=WireFormat.GEMINI,
        base_url="https://generativelanguage.googleapis.com/v1beta",
        answered=answered.gemini(),
    ),
    "bedrock, api key": Vendor(
        wire_format=WireFormat.BEDROCK_CONVERSE, base_url=_BEDROCK, answered=answered.bedrock()
    ),
    "bedrock, signed": Vendor(
        wire_format=WireFormat.BEDROCK_CONVERSE,
        base_url=_BEDROCK,
        secret="AKIDEXAMPLE:wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY:FwoGZXIvYXdzEXAMPLETOKEN",
        answered=answered.bedrock(),
    ),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """A client and a vendor, between whom is translated."""

    client: Client
    vendor: Vendor
    adapter: Adapter
    prepared: Prepared
    candidate: Candidate

    def request_and_reply(self) -> tuple[Built, bytes]:
        """What the vendor is sent, and the body of the client's answer."""
        half, adapter = self.client.half, self.adapter
        prompt = half.parse(self.client.body)
        request = adapted(prompt.request, self.candidate)
        built = adapter.build(request=request, candidate=self.candidate, prepared=self.prepared, now=_NOW)
        dropped(prompt.request, self.candidate)
        reply = adapter.parse_reply(self.vendor.answered.reply, wire_status=200, first_byte_at=0.0)
        body = half.render_reply(
            reply=reply,
            dispatch_id=_HEX_ID,
            created=1_780_000_000,
            model="large",
            usage=reply.usage,
            details=None,
            prompt=prompt,
        )
        return built, body

    def stream(self) -> Callable[[], bytes]:
        """How to translate a stream: what the client is sent of it."""
        prompt = self.client.half.parse(self.client.streamed_body)

        def translated() -> bytes:
            decoder = self.adapter.stream_decoder()
            renderer = self.client.half.render_stream(dispatch_id=_ID, created=1_780_000_000, prompt=prompt)
            usage, said = None, []
            for event in self.vendor.answered.events:
                for part in decoder.feed(event):
                    if isinstance(part, StreamPart):
                        usage = part.usage or usage
                        said.append(renderer.part(part, model="large"))
            list(decoder.close())
            said.append(renderer.end(model="large", usage=usage, details=None, is_verbose=False))
            return b"".join(said)

        return translated


def pairs() -> Iterator[tuple[str, str, Pair]]:
    """Each client with each vendor, and their names."""
    for vendor_name, vendor in VENDORS.items():
        adapter = adapter_of(vendor.wire_format)
        for client_name, client in CLIENTS.items():
            pair = Pair(
                client=client,
                vendor=vendor,
                adapter=adapter,
                prepared=adapter.prepare(vendor),
                candidate=_candidate(vendor.wire_format),
            )
            yield client_name, vendor_name, pair


def measure_translation(report: Report, *, rounds: int = ROUNDS) -> None:
    """Add the figures of every pair, and the bars on the worst."""
    timed = [_TimedPair(*named) for named in pairs()]
    for _ in range(rounds):
        for pair in timed:
            pair.take_a_pass()
    for pair in timed:
        report.add_figures(
            client=pair.client,
            vendor=pair.vendor,
            request_and_reply_us=pair.request_us,
            event_us=pair.event_us,
        )
    report.bars += [
        Bar(
            name="CPU of translating a request and its reply, worst pair",
            figure=max(pair.request_us for pair in timed),
            at_most=REQUEST_BAR_US,
            unit="µs",
        ),
        Bar(
            name="CPU of translating an event of a stream, worst pair",
            figure=max(pair.event_us for pair in timed),
            at_most=EVENT_BAR_US,
            unit="µs",
        ),
    ]


class _TimedPair:
    """A pair, and what its quietest passes took so far."""

    def __init__(self, client: str, vendor: str, pair: Pair) -> None:
        self.client, self.vendor = client, vendor
        self.request_us = self.event_us = math.inf
        self._pair = pair
        self._translate_stream = pair.stream()
        self._events = len(pair.vendor.answered.events)

    def take_a_pass(self) -> None:
        request_us = _us_of(self._pair.request_and_reply, times=REQUESTS_A_PASS)
        self.request_us = min(self.request_us, request_us / REQUESTS_A_PASS)
        self.event_us = min(self.event_us, _us_of(self._translate_stream, times=1) / self._events)


def _us_of(translate: Callable[[], object], *, times: int) -> float:
    started = process_time_ns()
    for _ in range(times):
        translate()
    return (process_time_ns() - started) / 1_000


def _candidate(wire_format: WireFormat) -> Candidate:
    price = Price(
        id=1,
        effective_from=_NOW - timedelta(days=30),
        input_nanos=10**9,
        cached_input_nanos=10**8,
        cache_write_nanos=10**9,
        output_nanos=4 * 10**9,
        reasoning_nanos=4 * 10**9,
    )
    model = CatalogueModel(
        id=1,
        name="large",
        provider_id=1,
        provider="bench",
        wire_format=wire_format,
        wire_name="eu.sandbox.large-20260401-v1:0",
        tier=Tier.FRONTIER,
        capabilities=frozenset(Capability),
        context_window_tokens=128_000,
        max_output_tokens=8_000,
        image_tokens_bound=1_000,
        enabled=True,
        prices=(price,),
    )
    return Candidate(model=model, price=price, output_tokens_limit=600, bound_nanos=10**9, timeout_ms=None)


def main() -> int:
    """Measure translation alone: `python -m bench.translation`."""
    spare_the_collector()
    report = Report(name="translation")
    measure_translation(report)
    return report.finish(RESULTS)


if __name__ == "__main__":
    sys.exit(main())
