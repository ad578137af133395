"""Rows that a kill switch can name: each is a click away from the form that stops it."""

from typing import ClassVar
from urllib.parse import urlencode

from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import reverse
from unfold.decorators import action
from unfold.enums import ActionVariant

from policies_app.routing.codes import KillScope

OPERATE_SWITCHES = "policies_app.operate_kill_switch"
"""Who holds this permission may throw and lift kill switches."""


class Stoppable:
    """Adds the action `stop`, which leads to the form with the row filled in and what it would stop above it."""

    kill_scope: ClassVar[KillScope]

    @action(
        description="Stop",
        icon="power_settings_new",
        url_path="stop",
        permissions=(OPERATE_SWITCHES,),
        variant=ActionVariant.DANGER,
    )
    def stop(self, _request: HttpRequest, object_id: str) -> HttpResponse:
        """Go where the row can be stopped."""
        # Scopes of one row are called as the field that names it.
        subject = urlencode({"scope": self.kill_scope.value, self.kill_scope.value: object_id})
        return redirect(f"{reverse('admin:policies_app_killswitch_add')}?{subject}")
