"""Who may see the cost pages, and what browsers may do with them."""

from collections.abc import Callable
from functools import wraps
from typing import Concatenate, ParamSpec

from django.contrib.auth.decorators import login_required, permission_required
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.views.decorators.cache import never_cache

from policies_app.roles import SEE_COSTS

P = ParamSpec("P")
View = Callable[Concatenate[HttpRequest, P], HttpResponseBase]

CONTENT_SECURITY_POLICY = "; ".join(
    (
        "default-src 'none'",
        "style-src 'self'",
        "script-src 'self'",
        "img-src 'self'",
        "form-action 'self'",
        "base-uri 'none'",
        "frame-ancestors 'none'",
    )
)


def strict_content(view: View[P]) -> View[P]:
    """Have browsers load nothing but this site's own files, and run nothing that stands in the page itself."""

    @wraps(view)
    def strict(request: HttpRequest, /, *args: P.args, **kwargs: P.kwargs) -> HttpResponseBase:
        response = view(request, *args, **kwargs)
        response.headers["Content-Security-Policy"] = CONTENT_SECURITY_POLICY
        return response

    return strict


def cost_page(view: View[P]) -> View[P]:
    """Ask for a log-in and for the permission to see costs, and keep what is shown out of every cache."""
    permitted = permission_required(SEE_COSTS, raise_exception=True)(view)
    return never_cache(strict_content(login_required(permitted)))
