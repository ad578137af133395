"""Pages of the admin that are not a form over one row: confirmations, comparisons, what is shown once."""

from typing import Any

from django.db.models import Model
from django.http import HttpRequest, QueryDict
from django.template.response import TemplateResponse
from unfold.admin import ModelAdmin


def posted(request: HttpRequest) -> QueryDict | None:
    """What the form on the page was sent with; None when the page is only opened."""
    return request.POST if request.method == "POST" else None


def render_page(
    model_admin: ModelAdmin,
    request: HttpRequest,
    template: str,
    *,
    title: str,
    row: Model | None = None,
    **context: Any,
) -> TemplateResponse:
    """Answer with a page inside the admin's frame, with breadcrumbs to the list, and to the row if there is one."""
    frame = model_admin.admin_site.each_context(request)
    return TemplateResponse(
        request, template, {**frame, "opts": model_admin.opts, "original": row, "title": title, **context}
    )
