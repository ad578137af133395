"""The data plane as an ASGI application: its routes, its lifespan, and the one place where errors become answers."""

import logging
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager

from starlette.routing import BaseRoute, Route, Router
from starlette.types import ASGIApp, Receive, Scope, Send

from dispatch_app.execution.errors import DispatchError, ErrorCode
from dispatch_app.gateway.answers import send_error
from dispatch_app.gateway.anthropic_messages import ANTHROPIC_MESSAGES
from dispatch_app.gateway.body import ClientHungUpError
from dispatch_app.gateway.chat import chat
from dispatch_app.gateway.client_half import ClientHalf
from dispatch_app.gateway.counting import count_tokens
from dispatch_app.gateway.embeddings import embeddings
from dispatch_app.gateway.errors import RequestError
from dispatch_app.gateway.exchange import Exchange
from dispatch_app.gateway.health import healthz, readyz
from dispatch_app.gateway.models import list_models, retrieve_model
from dispatch_app.gateway.native import dispatch, explain
from dispatch_app.gateway.openai_chat import OPENAI_CHAT
from dispatch_app.gateway.openai_responses import OPENAI_RESPONSES
from dispatch_app.gateway.services import Services
from dispatch_app.gateway.stopping import ending_in_time

logger = logging.getLogger(__name__)

DRAIN_S = 1.0
"""For dispatches whose client is gone. All others have had their time before."""
PATHS = ("/v1/", "/healthz", "/readyz")
"""What the data plane answers for; every other address is the control plane's."""

Answer = Callable[[Exchange], Awaitable[None]]
Lifetime = Callable[[], AbstractAsyncContextManager[Services]]


class Gateway:
    """Serves for as long as the services that `lifetime` opens are open."""

    def __init__(self, *, lifetime: Lifetime) -> None:
        self._lifetime = lifetime
        self._services: Services | None = None
        self._router = Router(
            routes=self._routes(), default=self._endpoint(_not_found), redirect_slashes=False
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._live(receive, send)
        else:
            await self._router(scope, receive, send)

    def _routes(self) -> list[BaseRoute]:
        answers: list[tuple[str, str, Answer]] = [
            ("POST", "/v1/chat/completions", chat),
            ("POST", "/v1/responses", chat),
            ("POST", "/v1/embeddings", embeddings),
            ("POST", "/v1/messages", chat),
            ("POST", "/v1/messages/count_tokens", count_tokens),
            ("POST", "/v1/dispatch", dispatch),
            ("POST", "/v1/explain", explain),
            ("GET", "/v1/models", list_models),
            ("GET", "/v1/models/{model:path}", retrieve_model),
            ("GET", "/healthz", healthz),
            ("GET", "/readyz", readyz),
        ]
        return [Route(path, endpoint=self._endpoint(answer, method)) for method, path, answer in answers]

    def _endpoint(self, answer: Answer, method: str | None = None) -> ASGIApp:
        return _Endpoint(gateway=self, answer=answer, method=method)

    async def _live(self, receive: Receive, send: Send) -> None:
        """The lifespan protocol. At its end no new request comes in any more; those in flight are finished."""
        await receive()
        phase = "startup"
        try:
            async with self._lifetime() as services:
                self._services = services
                await send({"type": "lifespan.startup.complete"})
                phase = "shutdown"
                with ending_in_time(services.owners, grace_s=services.limits.shutdown_s):
                    await receive()
                await services.owners.drain(timeout_s=DRAIN_S)
        except Exception as error:
            logger.exception("Unable to complete the data plane's %s.", phase)
            await send({"type": f"lifespan.{phase}.failed", "message": type(error).__name__})
        else:
            await send({"type": "lifespan.shutdown.complete"})

    async def answer(self, answer: Answer, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request; whatever is raised becomes an error in the caller's format."""
        if self._services is None:
            raise RuntimeError("The server did not start the lifespan.")
        half = _half_of(scope)
        exchange = Exchange.begin(self._services, scope, receive, send, half=half)
        try:
            await answer(exchange)
        except ClientHungUpError:
            return
        except DispatchError as error:
            await _tell(exchange, error)
        except Exception:
            logger.exception("Unable to answer request %s.", exchange.id)
            failure = DispatchError(status=500, code=ErrorCode.INTERNAL_ERROR)
            await _tell(exchange, failure)
        finally:
            exchange.close()


class _Endpoint:
    """One route's ASGI application. Starlette calls instances as they are, without its request and response objects."""

    def __init__(self, *, gateway: Gateway, answer: Answer, method: str | None) -> None:
        self._gateway = gateway
        self._answer = answer
        self._method = method

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        # The server leaves the body out of what answers a HEAD.
        method = "GET" if scope["method"] == "HEAD" else scope["method"]
        answer = self._answer if self._method in {None, method} else _wrong_method
        await self._gateway.answer(answer, scope, receive, send)


async def _not_found(_exchange: Exchange) -> None:
    raise RequestError(status=404, code=ErrorCode.NOT_FOUND)


async def _wrong_method(_exchange: Exchange) -> None:
    raise RequestError(status=405, code=ErrorCode.METHOD_NOT_ALLOWED)


def _half_of(scope: Scope) -> ClientHalf:
    """Which format a caller speaks: its address says so, and where both have the same one, Anthropic's clients name a version."""
    path = scope["path"]
    if path == "/v1/responses":
        return OPENAI_RESPONSES
    if path.startswith("/v1/messages"):
        return ANTHROPIC_MESSAGES
    is_shared = path.startswith("/v1/models")
    if is_shared and any(name == b"anthropic-version" for name, _ in scope["headers"]):
        return ANTHROPIC_MESSAGES
    return OPENAI_CHAT


async def _tell(exchange: Exchange, error: DispatchError) -> None:
    await send_error(
        exchange.send, error, body=exchange.render_error(error), headers=exchange.final_headers()
    )
