"""Template filters of the Health page."""

from django import template

from dispatch_app.health.wording import label_of
from policies_app.routing.codes import HealthState

register = template.Library()

register.filter("label_of", label_of)


@register.filter
def label_type(state: HealthState) -> str:
    """The colour of a state's label, by unfold's names."""
    match state:
        case HealthState.OPEN:
            return "danger"
        case HealthState.HEALTHY:
            return "success"
        case _:
            return "warning"
