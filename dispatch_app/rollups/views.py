"""The admin's page on whether log, budgets and rollups agree."""

from django.contrib import admin, messages
from django.contrib.auth.decorators import permission_required
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.views.decorators.http import require_POST, require_safe

from dispatch_app.rollups.books import read_books
from dispatch_app.rollups.reconcile_runs import reconcile
from policies_app.roles import RUN_RECONCILER, SEE_COSTS, SEE_RECONCILER


@require_safe
@permission_required(SEE_RECONCILER, raise_exception=True)
def show_books(request: HttpRequest) -> HttpResponse:
    """What the last runs found, and what is under way."""
    context = admin.site.each_context(request) | {
        "title": "Reconciliation",
        "books": read_books(),
        "may_run": request.user.has_perm(RUN_RECONCILER),
        "sees_costs": request.user.has_perm(SEE_COSTS),
    }
    return TemplateResponse(request, "admin/reconcile/page.html", context)


@require_POST
@permission_required(RUN_RECONCILER, raise_exception=True)
def run_now(request: HttpRequest) -> HttpResponse:
    """Compare at once, and show the page with what came of it."""
    count = len(reconcile().differences)
    if count:
        messages.error(request, f"{count} difference{'s' if count > 1 else ''} found.")
    else:
        messages.success(request, "Log, budgets and rollups agree.")
    return redirect("reconcile:page")
