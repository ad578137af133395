"""Who may call the management API: staff, by Django's model permissions, and nobody by default."""

from typing import Any, ClassVar

from rest_framework.permissions import BasePermission
from rest_framework.request import Request

_METHOD_VERBS = {
    "GET": "view",
    "HEAD": "view",
    "OPTIONS": "view",
    "POST": "add",
    "PUT": "change",
    "PATCH": "change",
    "DELETE": "delete",
}


class StaffModelPermissions(BasePermission):
    """Lets a member of staff do what the model permissions allow; reading needs the view permission too.

    A view names its model by its queryset. An action that is more than adding or changing a row names its permission in
    the view's `action_permissions`. A view that does neither is closed to everybody.
    """

    message: ClassVar[str] = "Your account may not do this."

    def has_permission(self, request: Request, view: Any) -> bool:
        user = request.user
        if not (user.is_authenticated and user.is_active and user.is_staff):
            return False
        permission = required_permission(method=request.method or "", view=view)
        return permission is not None and user.has_perm(permission)


def required_permission(*, method: str, view: Any) -> str | None:
    """The permission that a call needs, or None if the view does not say, and so is closed."""
    action: str | None = getattr(view, "action", None)
    named: str | None = getattr(view, "action_permissions", {}).get(action)
    if named is not None:
        return named
    verb = _METHOD_VERBS.get(method)
    queryset = getattr(view, "queryset", None)
    if verb is None or queryset is None:
        return None
    options = queryset.model._meta  # noqa: SLF001 - Django's documented API
    return f"{options.app_label}.{verb}_{options.model_name}"
