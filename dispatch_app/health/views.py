"""The Health page of the admin, and the part of it that browsers fetch again every two seconds."""

from django.contrib import admin
from django.contrib.auth.decorators import permission_required
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.views.decorators.http import require_safe

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


def _fleet_context(request: HttpRequest) -> dict[str, object]:
    return {"fleet": read_fleet(), "may_stop": request.user.has_perm(OPERATE_SWITCHES)}
