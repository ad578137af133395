"""Every vendor's emulator with a model that writes, one that embeds where the vendor has any, and a tenant that may call them all."""

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import count
from typing import Any

from policies_app.models import Credential, Model, Provider
from policies_app.routing.codes import Capability, Tier, WireFormat
from policies_app.services.credentials import set_provider_secret
from sandbox.fleet import EMBEDDING, FRONTIER, VendorModel
from sandbox.server import SandboxServer, serve_in_thread
from tests.factories import make_key, make_model, make_policy, make_price, make_provider, make_tenant
from tests.running_servers import publish

AWS_KEY = "AKIDEXAMPLE:wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"
SECRETS: Mapping[WireFormat, str] = {
    WireFormat.OPENAI_CHAT: "vendor-secret-1234",
    WireFormat.AZURE_OPENAI: "vendor-secret-1234",
    WireFormat.ANTHROPIC_MESSAGES: "vendor-secret-1234",
    WireFormat.GEMINI: "vendor-secret-1234",
    WireFormat.BEDROCK_CONVERSE: AWS_KEY,
}
"""What each emulator wants to be shown. Whoever is here is a column of the matrix."""
PATHS: Mapping[WireFormat, str] = {
    WireFormat.AZURE_OPENAI: "/openai",
    WireFormat.BEDROCK_CONVERSE: "",
    WireFormat.GEMINI: "/v1beta",
}
"""Where an emulator has its API, unless it is at `/v1`."""
EMBEDDERS: Mapping[WireFormat, str] = {
    WireFormat.OPENAI_CHAT: EMBEDDING.name,
    WireFormat.AZURE_OPENAI: EMBEDDING.name,
    WireFormat.GEMINI: EMBEDDING.name,
    WireFormat.BEDROCK_CONVERSE: "cohere.embed-v4:0",
}
"""What each vendor calls its model that embeds. Anthropic has none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Vendor:
    """One column: the vendor, and the policies whose only model it serves.

    `policy` is for answers in words, `embedder` for vectors. A vendor that has none has `policy` for either.
    """

    wire_format: WireFormat
    server: SandboxServer
    policy: str
    embedder: str
    _numbers: Iterator[int] = field(default_factory=lambda: count(1))

    @property
    def embeds(self) -> bool:
        return self.embedder != self.policy

    def spare(self, *, embeds: bool) -> str:
        """Create another policy of the same kind: no fault of the one is known of the other. Returns its name."""
        suffix = f"-{next(self._numbers)}"
        return _make_policy(self.wire_format, self.server, suffix=suffix, embeds=embeds and self.embeds)


@dataclass(frozen=True, slots=True, kw_only=True)
class Market:
    key: str
    vendors: tuple[Vendor, ...]


@contextlib.contextmanager
def open_market() -> Iterator[Market]:
    """Start the emulators and create the rows. Processes have yet to catch up with them."""
    with contextlib.ExitStack() as stack:
        vendors = tuple(
            _open(wire_format, stack.enter_context(serve_in_thread(SandboxServer(api_key=secret))))
            for wire_format, secret in SECRETS.items()
        )
        yield Market(key=make_key(make_tenant()).text, vendors=vendors)


def _open(wire_format: WireFormat, server: SandboxServer) -> Vendor:
    policy = _make_policy(wire_format, server)
    return Vendor(
        wire_format=wire_format,
        server=server,
        policy=policy,
        embedder=_make_policy(wire_format, server, embeds=True) if wire_format in EMBEDDERS else policy,
    )


def _make_policy(
    wire_format: WireFormat, server: SandboxServer, *, suffix: str = "", embeds: bool = False
) -> str:
    name = f"{'embed' if embeds else 'matrix'}-{wire_format}{suffix}".replace("_", "-")
    provider = make_provider(
        name,
        wire_format=wire_format,
        base_url=f"{server.origin}{PATHS.get(wire_format, '/v1')}",
        api_version="2024-10-21" if wire_format is WireFormat.AZURE_OPENAI else "",
        region="us-east-1" if wire_format is WireFormat.BEDROCK_CONVERSE else "",
    )
    credential = Credential.objects.create(provider=provider, label="matrix")
    set_provider_secret(credential=credential, secret=SECRETS[wire_format], author_name="matrix")
    model = _make_embedder(provider, EMBEDDERS[wire_format]) if embeds else _make_writer(provider)
    publish(make_policy(name, models=[model], baseline_model=model))
    return name


def _make_writer(provider: Provider) -> Model:
    return _make_model(FRONTIER, provider, wire_name=FRONTIER.name, tier=Tier.FRONTIER)


def _make_embedder(provider: Provider, wire_name: str) -> Model:
    return _make_model(EMBEDDING, provider, wire_name=wire_name, capabilities=[Capability.EMBEDDINGS])


def _make_model(sold: VendorModel, provider: Provider, **fields: Any) -> Model:
    model = make_model(
        f"model-of-{provider.name}",
        provider=provider,
        input_nanos=None,
        context_window_tokens=sold.context_limit_tokens,
        max_output_tokens=sold.output_limit_tokens,
        **fields,
    )
    price = sold.price
    make_price(
        model,
        input_nanos=price.input_nanos,
        output_nanos=price.output_nanos,
        cached_input_nanos=price.cached_input_nanos,
        cache_write_nanos=price.cache_write_nanos,
    )
    return model
