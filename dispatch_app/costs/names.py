"""What ids of the rollups and the log are called. Rows outlive what they point at, so any id may be unknown."""

from collections.abc import Collection, Mapping

from policies_app.models import ApiKey, Model, Policy

NO_POLICY = "Model named by the caller"
NO_MODEL = "No model called"


def model_names(ids: Collection[int]) -> Mapping[int, str]:
    """Names of models by id, for all of `ids`."""
    known = dict(Model.objects.filter(pk__in=ids).values_list("pk", "name"))
    return {key: known.get(key, f"Model {key}") for key in ids} | {0: NO_MODEL}


def policy_names(ids: Collection[int]) -> Mapping[int, str]:
    """Names of policies by id, for all of `ids`."""
    known = dict(Policy.objects.filter(pk__in=ids).values_list("pk", "name"))
    return {key: known.get(key, f"Policy {key}") for key in ids} | {0: NO_POLICY}


def key_labels(tenant_id: int) -> Mapping[int, str]:
    """Labels of a tenant's API keys by id."""
    return dict(ApiKey.objects.filter(tenant_id=tenant_id).values_list("pk", "label"))


def key_label(key_id: int) -> str:
    """What one API key is called."""
    label = ApiKey.objects.filter(pk=key_id).values_list("label", flat=True).first()
    return f"Key {key_id}" if label is None else label
