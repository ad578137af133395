"""The cost pages."""

from collections.abc import AsyncIterator, Iterator
from typing import Any
from uuid import UUID

from asgiref.sync import sync_to_async
from django.core.handlers.asgi import ASGIRequest
from django.http import HttpRequest, HttpResponse, StreamingHttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils import timezone
from django.views.decorators.http import require_safe

from dispatch_app.costs.access import cost_page
from dispatch_app.costs.addresses import (
    cursor_asked_for,
    filter_asked_for,
    month_asked_for,
    query_with,
    stretch_asked_for,
)
from dispatch_app.costs.dispatches import DispatchFilter, list_dispatches, read_story
from dispatch_app.costs.export import export_month
from dispatch_app.costs.months import Month, latest_months
from dispatch_app.costs.overview import SortColumn, Sorting, read_overview
from dispatch_app.costs.tenant_month import read_tenant_month
from dispatch_app.costs.zones import zone_of
from dispatch_app.models import Dispatch
from dispatch_app.rollups.drain import measure_lag
from policies_app.models import Model, Tenant
from policies_app.roles import SEE_COSTS
from policies_app.routing.codes import DispatchStatus, Strategy

MONTHS_OFFERED = 24
LATEST_SHOWN = 10


@require_safe
def home(request: HttpRequest) -> HttpResponse:
    """Lead everyone to the pages that are theirs."""
    is_ops = request.user.is_authenticated and request.user.is_staff and not request.user.has_perm(SEE_COSTS)
    return redirect("admin:index" if is_ops else "costs:tenants")


@require_safe
@cost_page
def show_tenants(request: HttpRequest) -> HttpResponse:
    """All tenants with what they spent in a month."""
    now = timezone.now()
    this_month = Month.of(now.date())
    month = month_asked_for(request, this_month=this_month)
    sorting = Sorting.parse(request.GET.get("sort", ""))
    overview = read_overview(month=month, sorting=sorting, now=now)
    context = {
        "overview": overview,
        "sorting": sorting,
        "heads": [(column, sorting.after_click(column)) for column in SortColumn],
        "is_this_month": month == this_month,
        **_month_context(month, this_month),
    }
    return render(request, "costs/tenants.html", context)


@require_safe
@cost_page
def show_tenant(request: HttpRequest, name: str) -> HttpResponse:
    """One tenant's month."""
    tenant = get_object_or_404(Tenant, name=name)
    now, zone = timezone.now(), zone_of(tenant)
    this_month = Month.of(now.astimezone(zone).date())
    month = month_asked_for(request, this_month=this_month)
    latest = list_dispatches(
        tenant=tenant,
        wanted=DispatchFilter(since=month.begins_at(zone), until=month.ends_at(zone)),
        size=LATEST_SHOWN,
    )
    context = {
        "tenant": tenant,
        "zone": zone,
        "now": now,
        "figures": read_tenant_month(tenant=tenant, month=month, now=now),
        "latest": latest,
        **_month_context(month, this_month),
    }
    return render(request, "costs/tenant.html", context)


@require_safe
@cost_page
def show_dispatches(request: HttpRequest, name: str) -> HttpResponse:
    """One tenant's dispatches of a month or a day, newest first."""
    tenant = get_object_or_404(Tenant, name=name)
    now, zone = timezone.now(), zone_of(tenant)
    this_month = Month.of(now.astimezone(zone).date())
    stretch = stretch_asked_for(request, this_month=this_month)
    wanted = filter_asked_for(request, stretch=stretch, zone=zone)
    page = list_dispatches(tenant=tenant, wanted=wanted, before=cursor_asked_for(request))
    context = {
        "tenant": tenant,
        "zone": zone,
        "now": now,
        "day": stretch.day,
        "wanted": wanted,
        "page": page,
        "statuses": list(DispatchStatus),
        "strategies": list(Strategy),
        "models": Model.objects.order_by("name").values_list("name", flat=True),
        "next_query": query_with(request, before=page.next_cursor),
        "first_query": query_with(request, before=None),
        "is_continued": "before" in request.GET,
        **_month_context(stretch.month, this_month),
    }
    return render(request, "costs/dispatches.html", context)


@require_safe
@cost_page
def show_dispatch(request: HttpRequest, dispatch_id: UUID) -> HttpResponse:
    """One dispatch: why it went where it went, its attempts, and what it cost."""
    related = Dispatch.objects.select_related("tenant", "policy", "model")
    dispatch = get_object_or_404(related, pk=dispatch_id)
    zone = zone_of(dispatch.tenant)
    context = {
        "story": read_story(dispatch),
        "dispatch": dispatch,
        "tenant": dispatch.tenant,
        "zone": zone,
        "now": timezone.now(),
        "month": Month.of(dispatch.created_at.astimezone(zone).date()),
    }
    return render(request, "costs/dispatch.html", context)


@require_safe
@cost_page
def export_tenant(request: HttpRequest, name: str) -> StreamingHttpResponse:
    """One tenant's month as CSV."""
    tenant = get_object_or_404(Tenant, name=name)
    this_month = Month.of(timezone.now().astimezone(zone_of(tenant)).date())
    month = month_asked_for(request, this_month=this_month)
    parts = export_month(tenant=tenant, month=month)
    is_async = isinstance(request, ASGIRequest)
    return StreamingHttpResponse(
        _from_thread(parts) if is_async else parts,
        content_type="text/csv; charset=utf-8; header=present",
        headers={"Content-Disposition": f'attachment; filename="{tenant.name}-{month}.csv"'},
    )


async def _from_thread(parts: Iterator[str]) -> AsyncIterator[str]:
    """The same parts for the event loop. Without this, Django would collect them all before it sends the first."""
    take_next = sync_to_async(lambda: next(parts, None))
    while (part := await take_next()) is not None:
        yield part


def _month_context(month: Month, this_month: Month) -> dict[str, Any]:
    offered = latest_months(last=this_month, count=MONTHS_OFFERED)
    return {
        "month": month,
        "months": offered if month in offered else sorted([*offered, month], reverse=True),
        "next_month": month.following if month < this_month else None,
        "lag": measure_lag(),
    }
