"""The Health page of the admin, the part of it that browsers fetch again every two seconds, and what monitoring reads."""

import hmac

from django.conf import settings
from django.contrib import admin
from django.contrib.auth.decorators import permission_required
from django.http import Http404, HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe
from prometheus_client import CONTENT_TYPE_LATEST

from dispatch_app.health.metrics import exposition
from dispatch_app.health.targets import read_fleet
from policies_app.roles import SEE_HEALTH

OPERATE_SWITCHES = "policies_app.operate_kill_switch"


@require_safe
@permission_required(SEE_HEALTH, raise_exception=True)
def show_health(request: HttpRequest) -> HttpResponse:
    """How each target fares."""
    context = admin.site.each_context(request) | {"title": "Health"} | _fleet_context(request)
    return TemplateResponse(request, "admin/health/page.html", context)


@require_safe
@permission_required(SEE_HEALTH, raise_exception=True)
def show_live_part(request: HttpRequest) -> HttpResponse:
    """What changes of the page, without the rest of it."""
    return TemplateResponse(request, "admin/health/_fleet.html", _fleet_context(request))


@require_safe
@never_cache
def show_metrics(request: HttpRequest) -> HttpResponse:
    """Prometheus' text, for whoever shows the token of the settings.

    :raises Http404: without a token in the settings. A scraper on loopback gets no exception: behind a proxy, everybody is.
    """
    if not settings.METRICS_TOKEN:
        raise Http404
    shown = request.headers.get("Authorization", "").encode()
    if not hmac.compare_digest(shown, f"Bearer {settings.METRICS_TOKEN}".encode()):
        return HttpResponse(status=401, headers={"WWW-Authenticate": "Bearer"})
    return HttpResponse(exposition(), content_type=CONTENT_TYPE_LATEST)


def _fleet_context(request: HttpRequest) -> dict[str, object]:
    return {"fleet": read_fleet(), "may_stop": request.user.has_perm(OPERATE_SWITCHES)}
