from django.apps import AppConfig
from django.db.models.signals import post_migrate


class DispatchConfig(AppConfig):
    """The data plane: what happens, and what it cost."""

    name = "dispatch_app"
    label = "dispatch_app"
    verbose_name = "Dispatches"

    def ready(self) -> None:
        post_migrate.connect(install_ledger_functions, sender=self)


def install_ledger_functions(*, using: str, **_: object) -> None:
    """Bring the ledger's SQL functions up to date after a migrate; its tables are the migrations' business."""
    from django.db import connections

    from dispatch_app.ledger.functions import FUNCTIONS_SQL

    connection = connections[using]
    if "ledger_sweep" in connection.introspection.table_names():
        with connection.cursor() as cursor:
            cursor.execute(FUNCTIONS_SQL)
