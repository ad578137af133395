from django.apps import AppConfig


class DispatchConfig(AppConfig):
    """The data plane: what happens, and what it cost."""

    name = "dispatch_app"
    label = "dispatch_app"
    verbose_name = "Dispatches"
