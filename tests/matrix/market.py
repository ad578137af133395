"""Every vendor's emulator with a model of its own, and a tenant that may call them all."""

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import count

from policies_app.models import Credential
from policies_app.routing.codes import Tier, WireFormat
from policies_app.services.credentials import set_provider_secret
from sandbox.fleet import FRONTIER
from sandbox.server import SandboxServer, serve_in_thread
from tests.factories import make_key, make_model, make_policy, make_price, make_provider, make_tenant
from tests.running_servers import publish

AWS_KEY = "AKIDEXAMPLE:wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"
SECRETS: Mapping[WireFormat, str] = {
    WireFormat.OPENAI_CHAT: "vendor-secret-1234",
    WireFormat.ANTHROPIC_MESSAGES: "vendor-secret-1234",
    WireFormat.GEMINI: "vendor-secret-1234",
    WireFormat.BEDROCK_CONVERSE: AWS_KEY,
}
"""What each emulator wants to be shown. Whoever is here is a column of the matrix."""
PATHS: Mapping[WireFormat, str] = {WireFormat.BEDROCK_CONVERSE: "", WireFormat.GEMINI: "/v1beta"}
"""Where an emulator has its API, unless it is at `/v1`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Vendor:
    """One column: the vendor, and the policy whose only model it serves."""

    wire_format: WireFormat
    server: SandboxServer
    policy: str
    _numbers: Iterator[int] = field(default_factory=lambda: count(1))

    def spare(self) -> str:
        """Create another policy of the same kind: no fault of the one is known of the other. Returns its name."""
        return _make_policy(self.wire_format, self.server, suffix=f"-{next(self._numbers)}")


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
    return Vendor(wire_format=wire_format, server=server, policy=_make_policy(wire_format, server))


def _make_policy(wire_format: WireFormat, server: SandboxServer, *, suffix: str = "") -> str:
    provider = make_provider(
        f"matrix-{wire_format}{suffix}".replace("_", "-"),
        wire_format=wire_format,
        base_url=f"{server.origin}{PATHS.get(wire_format, '/v1')}",
        region="us-east-1" if wire_format is WireFormat.BEDROCK_CONVERSE else "",
    )
    credential = Credential.objects.create(provider=provider, label="matrix")
    set_provider_secret(credential=credential, secret=SECRETS[wire_format], author_name="matrix")
    model = make_model(
        f"frontier-of-{wire_format}{suffix}".replace("_", "-"),
        provider=provider,
        input_nanos=None,
        wire_name=FRONTIER.name,
        tier=Tier.FRONTIER,
        context_window_tokens=FRONTIER.context_limit_tokens,
        max_output_tokens=FRONTIER.output_limit_tokens,
    )
    price = FRONTIER.price
    make_price(
        model,
        input_nanos=price.input_nanos,
        output_nanos=price.output_nanos,
        cached_input_nanos=price.cached_input_nanos,
        cache_write_nanos=price.cache_write_nanos,
    )
    name = f"matrix-{wire_format}{suffix}".replace("_", "-")
    publish(make_policy(name, models=[model], baseline_model=model))
    return name
