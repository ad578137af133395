"""`python -m sandbox`: serve until interrupted."""

import argparse
import asyncio
import math
import os
import signal
import sys
from collections.abc import Sequence

import uvloop

from sandbox.server import SandboxServer


def main(arguments: Sequence[str] | None = None) -> None:
    """Serve on the port asked for and say so in one line."""
    options = _parse(arguments)
    run = uvloop.run if options.fast else asyncio.run
    run(_serve(options))


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m sandbox", description=__doc__)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, required=True, help="0 takes a free port")
    parser.add_argument("--api-key", help="the only key to accept; without it, every key is accepted")
    parser.add_argument(
        "--speed",
        type=float,
        default=float(os.environ.get("SANDBOX_SPEED", "1")),
        help="divides the models' latencies: 1 is life-like, inf has none (environment: SANDBOX_SPEED)",
    )
    parser.add_argument("--fast", action="store_true", help="ready-made replies, for measurements")
    options = parser.parse_args(arguments)
    if not options.speed > 0 or math.isnan(options.speed):
        parser.error("--speed must be above zero")
    return options


async def _serve(options: argparse.Namespace) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for signal_number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(signal_number, stop.set)
    server = SandboxServer(
        host=options.host, port=options.port, speed=options.speed, api_key=options.api_key, fast=options.fast
    )
    try:
        await _serve_until(stop, server)
    except OSError as error:
        sys.exit(f"sandbox: cannot listen on {server.host}:{server.port}: {os.strerror(error.errno or 0)}")


async def _serve_until(stop: asyncio.Event, server: SandboxServer) -> None:
    async with server:
        print(f"sandbox listening on {server.origin}", flush=True)  # noqa: T201 - whoever started the process waits for this line
        await stop.wait()


if __name__ == "__main__":
    main()
