from django.apps import AppConfig
from django.db.models.signals import post_migrate


class DispatchConfig(AppConfig):
    """The data plane: what happens, and what it cost."""

    name = "dispatch_app"
    label = "dispatch_app"
    verbose_name = "Dispatches"

    def ready(self) -> None:
        post_migrate.connect(install_functions, sender=self)


def install_functions(*, using: str, **_: object) -> None:
    """Bring the SQL functions of ledger and limits up to date after a migrate; tables are the migrations' business."""
    from django.db import connections

    from dispatch_app.ledger.functions import FUNCTIONS_SQL as LEDGER_SQL
    from dispatch_app.limits.functions import FUNCTIONS_SQL as LIMITS_SQL

    connection = connections[using]
    tables = connection.introspection.table_names()
    with connection.cursor() as cursor:
        if "ledger_sweep" in tables:
            cursor.execute(LEDGER_SQL)
        if "rate_limit_level" in tables:
            cursor.execute(LIMITS_SQL)
