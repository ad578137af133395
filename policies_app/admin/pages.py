"""Pages of the admin that are not a form over one row: confirmations, comparisons, what is shown once."""

from typing import Any

from django.contrib.admin.utils import unquote
from django.db.models import Model
from django.http import Http404, HttpRequest, QueryDict
from django.template.response import TemplateResponse
from unfold.admin import ModelAdmin


def posted(request: HttpRequest) -> QueryDict | None:
    """What the form on the page was sent with; None when the page is only opened."""
    return request.POST if request.method == "POST" else None


def row_or_404(model_admin: ModelAdmin, request: HttpRequest, object_id: str) -> Any:
    """The row that an address names.

    :raises Http404: if there is none, or the address names nothing that could be one.
    """
    row = model_admin.get_object(request, unquote(object_id))
    if row is None:
        raise Http404
    return row


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
