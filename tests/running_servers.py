"""Real web processes for tests: uvicorn on the test database, and a sandbox vendor for them to call.

The rows that a test creates through the ORM are what the processes serve::

    def test_something(vendor, gateway):
        shop = open_shop(vendor)                  # fleet, tenant, policy `auto`, key
        gateway.catch_up()                        # every edit up to here is served from here on
        reply = gateway.client(shop.key).chat.completions.create(model="auto", messages=[…])

`gateway` is one process for many modules, see `tests.shared_gateway`. Tests that kill, stop or need several take
`start_gateways`.
"""

import contextlib
import os
import signal
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import openai
import psycopg
import pytest
from django.conf import settings
from django.db import connection

from policies_app.models import Credential, Model, Policy, PolicyVersion, Provider, Tenant
from policies_app.routing.codes import Tier
from policies_app.routing.document import SCHEMA_VERSION, content_hash, dump
from policies_app.services.credentials import set_provider_secret
from policies_app.services.drafts import draft_document, policies_with_drafts
from sandbox.fleet import FLEET
from sandbox.server import SandboxServer, serve_in_thread
from tests.factories import Fleet, make_key, make_model, make_policy, make_price, make_provider, make_tenant

ROOT = Path(__file__).resolve().parent.parent
START_PATIENCE_S = 30.0
STOP_PATIENCE_S = 30.0
VENDOR_SECRET = "vendor-secret-1234"
NO_TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
"""For clients of plain HTTP: each would take 20 ms of CPU to load the authorities that it trusts."""
ACCESS_KEY = "AKIDEXAMPLE:wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"


@dataclass(slots=True, kw_only=True)
class RunningGateway:
    """One web process. `catch_up` before relying on an edit."""

    process: subprocess.Popen[bytes]
    port: int
    _clients: list[openai.OpenAI] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def client(self, key: str, **options: Any) -> openai.OpenAI:
        """OpenAI's own client, without retries of its own unless asked for."""
        client = openai.OpenAI(
            base_url=f"{self.url}/v1",
            api_key=key,
            http_client=openai.DefaultHttpxClient(verify=NO_TLS),
            **{"max_retries": 0, "timeout": 30} | options,
        )
        self._clients.append(client)
        return client

    def post(self, path: str, key: str | None, **options: Any) -> httpx.Response:
        """Send a plain request."""
        headers = options.pop("headers", {}) | ({} if key is None else {"authorization": f"Bearer {key}"})
        return httpx.post(f"{self.url}{path}", headers=headers, timeout=30, verify=NO_TLS, **options)

    def get(
        self, path: str, key: str | None = None, *, headers: Mapping[str, str] | None = None
    ) -> httpx.Response:
        shown = {} if key is None else {"authorization": f"Bearer {key}"}
        return httpx.get(f"{self.url}{path}", headers={**(headers or {}), **shown}, timeout=30, verify=NO_TLS)

    def catch_up(self) -> None:
        """Wait until the process serves every edit that has been committed."""
        with psycopg.connect(test_conninfo(), autocommit=True) as probe:
            _wait_for(lambda: self._is_current(probe), patience_s=10, what="the snapshot")

    def stop(self, signal_number: signal.Signals = signal.SIGTERM) -> int:
        """End the process; return its exit code."""
        self.close_clients()
        if self.process.poll() is None:
            self.process.send_signal(signal_number)
        try:
            return self.process.wait(timeout=STOP_PATIENCE_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            return self.process.wait()

    def close_clients(self) -> None:
        while self._clients:
            self._clients.pop().close()

    def _is_current(self, probe: psycopg.Connection) -> bool:
        served = probe.execute(
            "SELECT 1 FROM serving_process JOIN control_epoch ON epoch = value WHERE pid = %s",
            (self.process.pid,),
        )
        return served.fetchone() is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class Shop:
    """A tenant with a key and the sandbox's fleet behind the policy `auto`, which falls back from small to frontier."""

    tenant: Tenant
    key: str
    fleet: Fleet
    policy: Policy


def open_shop(vendor: SandboxServer, **key_fields: Any) -> Shop:
    """Create a `Shop`; fields of its key may be given."""
    fleet = make_sandbox_fleet(vendor.base_url)
    policy = make_policy(
        "auto", models=[fleet.small, fleet.mid, fleet.frontier], baseline_model=fleet.frontier
    )
    publish(policy)
    tenant = make_tenant()
    return Shop(tenant=tenant, key=make_key(tenant, **key_fields).text, fleet=fleet, policy=policy)


def make_sandbox_fleet(base_url: str, *, provider: Provider | None = None) -> Fleet:
    """`small`, `mid` and `frontier` as the sandbox serves and bills them."""
    provider = provider or make_provider(base_url=base_url)
    credential = Credential.objects.create(provider=provider, label="test")
    set_provider_secret(credential=credential, secret=VENDOR_SECRET, author_name="test")
    return Fleet(provider=provider, **{tier.value: _sandbox_model(provider, tier) for tier in Tier})


def publish(policy: Policy) -> PolicyVersion:
    """Make the policy's draft live, whether or not it would pass verification."""
    document = draft_document(policies_with_drafts().get(pk=policy.pk))
    version = PolicyVersion.objects.create(
        policy=policy,
        number=policy.versions.count() + 1,
        document=dump(document),
        content_hash=content_hash(document),
        schema_version=SCHEMA_VERSION,
        author_name="test",
    )
    policy.live_version = version
    policy.save(update_fields=["live_version"])
    return version


def test_conninfo() -> str:
    """Where the test database is, for connections and processes of one's own."""
    return psycopg.conninfo.make_conninfo(**_connection_parts())


test_conninfo.__test__ = False  # type: ignore[attr-defined] # its name is no test's


def dispatch_rows() -> list[dict[str, Any]]:
    """The log's dispatches, oldest first."""
    return _rows("SELECT * FROM dispatch ORDER BY created_at, id")


def attempt_rows() -> list[dict[str, Any]]:
    """The log's attempts, oldest first."""
    return _rows("SELECT * FROM attempt ORDER BY created_at, id")


@pytest.fixture(scope="session")
def vendor_of_session() -> Iterator[SandboxServer]:
    with serve_in_thread(SandboxServer()) as server:
        yield server


@pytest.fixture
def vendor(vendor_of_session: SandboxServer) -> SandboxServer:
    """A vendor without latency, faults or memory of other tests."""
    return _made_new(vendor_of_session)


@pytest.fixture(scope="session")
def bedrock_of_session() -> Iterator[SandboxServer]:
    with serve_in_thread(SandboxServer(api_key=ACCESS_KEY)) as server:
        yield server


@pytest.fixture
def bedrock(bedrock_of_session: SandboxServer) -> SandboxServer:
    """Such a vendor that takes nothing but what is signed with `ACCESS_KEY`."""
    return _made_new(bedrock_of_session)


def _made_new(server: SandboxServer) -> SandboxServer:
    server.clear_faults()
    server.ledger.clear()
    server.journal.clear()
    return server


@pytest.fixture
def start_gateways(transactional_db: None) -> Iterator[Callable[..., Sequence[RunningGateway]]]:
    """Start so many web processes of the test's own: `start_gateways(2)`, environment variables by keyword."""
    started: list[RunningGateway] = []

    def start(count: int = 1, *, is_awaited: bool = True, **environment: str) -> Sequence[RunningGateway]:
        running = start_web_processes(count, is_awaited=is_awaited, **environment)
        started.extend(running)
        return running

    yield start
    for running in started:
        running.stop()
    forget(started)


@contextlib.contextmanager
def running_gateway() -> Iterator[RunningGateway]:
    """A web process on the database that the settings name, for those who run without pytest."""
    (running,) = start_web_processes(1)
    try:
        yield running
    finally:
        running.stop()


def start_web_processes(
    count: int, *, is_awaited: bool = True, **environment: str
) -> Sequence[RunningGateway]:
    """Start so many, with these environment variables; returns once all of them serve, unless that is not awaited."""
    gateways = [_spawn(_free_port(), environment) for _ in range(count)]
    for running in gateways if is_awaited else ():
        _wait_for(lambda running=running: _is_ready(running), patience_s=START_PATIENCE_S, what="the gateway")
    return gateways


def _spawn(port: int, environment: dict[str, str]) -> RunningGateway:
    command = [
        sys.executable, "-m", "uvicorn", "routerproject.asgi:application", "--port", str(port), "--loop", "uvloop",
        "--http", "routerproject.connections:Connection", "--no-access-log", "--log-level", "warning", "--timeout-graceful-shutdown", "14",
    ]  # fmt: skip
    process = subprocess.Popen(command, cwd=ROOT, env=os.environ | _environment() | environment)
    return RunningGateway(process=process, port=port)


def forget(stopped: Sequence[RunningGateway]) -> None:
    """Take processes that may have been killed off the list of those that serve: other tests wait for those on it."""
    with psycopg.connect(test_conninfo(), autocommit=True) as connection:
        connection.execute(
            "DELETE FROM serving_process WHERE pid = ANY (%s)", [[running.process.pid for running in stopped]]
        )


def _environment() -> dict[str, str]:
    return {
        # A machine under the load of a whole suite is slow, not gone.
        "LEDGER_PATIENCE_MS": "3000",
        "DATABASE_URL": _database_url(),
        "SECRET_KEY": settings.SECRET_KEY,
        "SIGNALBOX_API_KEY_PEPPER": settings.API_KEY_PEPPER,
        "SIGNALBOX_ENCRYPTION_KEY": settings.ENCRYPTION_KEY,
    }


def _is_ready(running: RunningGateway) -> bool:
    if running.process.poll() is not None:
        raise RuntimeError(f"The gateway ended with exit code {running.process.returncode}.")
    with contextlib.suppress(httpx.TransportError):
        return running.get("/readyz").status_code == 200
    return False


def until(holds: Callable[[], bool], *, patience_s: float = 20.0) -> None:
    """Wait until something holds.

    :raises TimeoutError: if it does not come about.
    """
    _wait_for(holds, patience_s=patience_s, what="what was waited for")


def _wait_for(holds: Callable[[], bool], *, patience_s: float, what: str) -> None:
    give_up_at = time.monotonic() + patience_s
    while not holds():
        if time.monotonic() > give_up_at:
            raise TimeoutError(f"Waited {patience_s} s for {what}.")
        time.sleep(0.02)


def _connection_parts() -> dict[str, str]:
    parameters = connection.get_connection_params()
    names = {"dbname", "user", "password", "host", "port"} & set(parameters)
    return {name: str(parameters[name]) for name in names}


def _database_url() -> str:
    parts = {name: quote(value, safe="") for name, value in _connection_parts().items()}
    login = f"{parts.get('user', '')}:{parts.get('password', '')}".rstrip(":")
    query = "&".join(f"{name}={parts[name]}" for name in ("host", "port") if name in parts)
    return f"postgres://{login}@/{parts['dbname']}?{query}"


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _rows(query: str) -> list[dict[str, Any]]:
    with psycopg.connect(test_conninfo(), row_factory=psycopg.rows.dict_row) as probe:
        return probe.execute(query).fetchall()


def _sandbox_model(provider: Provider, tier: Tier) -> Model:
    wire = FLEET[f"sandbox-{tier}"]
    model = make_model(
        tier.value,
        provider=provider,
        input_nanos=None,
        wire_name=wire.name,
        tier=tier,
        context_window_tokens=wire.context_limit_tokens,
        max_output_tokens=wire.output_limit_tokens,
    )
    make_price(
        model,
        input_nanos=wire.price.input_nanos,
        output_nanos=wire.price.output_nanos,
        cached_input_nanos=wire.price.cached_input_nanos,
        cache_write_nanos=wire.price.cache_write_nanos,
    )
    return model
