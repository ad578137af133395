"""Vendors that are not who they say are never told anything."""

import pytest

from dispatch_app.execution.errors import UnreachableError
from dispatch_app.providers.transport import Transport
from sandbox.server import SandboxServer
from sandbox.tls import TlsVariant
from tests.dispatch_app.providers.test_upstream import call, reach


@pytest.mark.parametrize("variant", [variant for variant in TlsVariant if variant is not TlsVariant.VALID])
async def test_a_certificate_that_does_not_hold_is_no_vendor_and_nothing_is_sent(
    transport: Transport, variant: TlsVariant
) -> None:
    async with SandboxServer(tls=variant) as server:
        assert server.identity is not None
        transport._tls.load_verify_locations(cadata=server.identity.authority_pem.decode())

        with pytest.raises(UnreachableError) as raised:
            await reach(transport, server.base_url).complete(call())

        assert not raised.value.is_billable
        assert not server.journal.requests


async def test_a_vendor_whose_authority_is_trusted_answers(transport: Transport) -> None:
    async with SandboxServer(tls=TlsVariant.VALID) as server:
        assert server.identity is not None
        transport._tls.load_verify_locations(cadata=server.identity.authority_pem.decode())

        reply = await reach(transport, server.base_url).complete(call())

        assert reply.wire_status == 200


async def test_a_vendor_that_speaks_no_tls_is_unreachable(
    sandbox: SandboxServer, transport: Transport
) -> None:
    with pytest.raises(UnreachableError):
        await reach(transport, sandbox.base_url.replace("http:", "https:")).complete(call())

    assert not sandbox.journal.requests
