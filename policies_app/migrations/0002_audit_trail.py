"""The audit trail, append-only by a trigger of the database."""

import django.core.serializers.json
import django.utils.timezone
from django.db import migrations, models

APPEND_ONLY = """
CREATE FUNCTION refuse_audit_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'the audit trail is append-only' USING ERRCODE = 'restrict_violation';
END $$;
CREATE TRIGGER auditentry_is_append_only BEFORE UPDATE OR DELETE ON policies_app_auditentry
    FOR EACH ROW EXECUTE FUNCTION refuse_audit_change();
"""


class Migration(migrations.Migration):
    dependencies = [
        ("policies_app", "0001_initial"),
    ]

    operations = [
        migrations.CreateModel(
            name="AuditEntry",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("at", models.DateTimeField(default=django.utils.timezone.now)),
                ("author_name", models.CharField(max_length=150)),
                (
                    "action",
                    models.CharField(
                        choices=[
                            ("created", "Created"),
                            ("changed", "Changed"),
                            ("deleted", "Deleted"),
                            ("published", "Published"),
                            ("rolled_back", "Rolled back"),
                            ("imported", "Imported"),
                            ("thrown", "Thrown"),
                            ("lifted", "Lifted"),
                            ("rotated", "Rotated"),
                            ("disabled", "Disabled"),
                            ("secret_set", "Secret set"),
                        ],
                        max_length=16,
                    ),
                ),
                (
                    "subject_type",
                    models.CharField(help_text="Kind of object, such as budget.", max_length=64),
                ),
                ("subject_id", models.CharField(max_length=64)),
                (
                    "subject_name",
                    models.CharField(help_text="What the object was called then.", max_length=500),
                ),
                (
                    "before",
                    models.JSONField(encoder=django.core.serializers.json.DjangoJSONEncoder, null=True),
                ),
                (
                    "after",
                    models.JSONField(encoder=django.core.serializers.json.DjangoJSONEncoder, null=True),
                ),
                ("reason", models.CharField(blank=True, max_length=500)),
            ],
            options={
                "verbose_name_plural": "audit trail",
                "default_permissions": ("view",),
                "indexes": [
                    models.Index(fields=["subject_type", "subject_id", "-at"], name="audit_by_subject"),
                    models.Index(fields=["-at"], name="audit_by_time"),
                ],
            },
        ),
        migrations.RunSQL(APPEND_ONLY, "DROP FUNCTION refuse_audit_change CASCADE;"),
    ]
