from django.apps import AppConfig, apps
from django.db.models.signals import post_migrate


class PoliciesConfig(AppConfig):
    """The control plane: what may happen."""

    name = "policies_app"
    label = "policies_app"
    verbose_name = "Control plane"

    def ready(self) -> None:
        from policies_app.roles import install_roles

        # After the app that migrates last, so that the permissions on every model are there.
        post_migrate.connect(install_roles, sender=apps.get_app_config("dispatch_app"))
