from django.apps import AppConfig


class PoliciesConfig(AppConfig):
    """The control plane: what may happen."""

    name = "policies_app"
    label = "policies_app"
    verbose_name = "Policies"
