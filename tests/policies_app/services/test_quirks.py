import pytest
from django.db import IntegrityError, transaction

from policies_app.models import Model
from policies_app.routing.codes import OutputLimitParameter, ReasoningControl, RefusedParameter, SystemRole
from policies_app.routing.quirks import NO_QUIRKS, Quirks
from policies_app.services.catalogue import read_catalogue
from tests.factories import make_model

pytestmark = pytest.mark.django_db


def test_the_catalogue_has_the_quirks_of_each_model():
    make_model("plain")
    make_model(
        "odd",
        system_prefix="Be brief.",
        system_suffix="/no_think",
        system_role="user",
        refused_parameters=["stop", "temperature"],
        output_limit_parameter="max_completion_tokens",
        reasoning_control="budget",
        thinks_unasked=True,
        fixed_parameters={"min_p": 0.1},
    )

    catalogue = read_catalogue()

    assert catalogue["plain"].quirks == NO_QUIRKS
    assert catalogue["odd"].quirks == Quirks(
        system_prefix="Be brief.",
        system_suffix="/no_think",
        system_role=SystemRole.USER,
        refused_parameters=frozenset({RefusedParameter.STOP, RefusedParameter.TEMPERATURE}),
        output_limit_parameter=OutputLimitParameter.MAX_COMPLETION_TOKENS,
        reasoning_control=ReasoningControl.BUDGET,
        thinks_unasked=True,
        fixed_parameters={"min_p": 0.1},
    )


@pytest.mark.parametrize(
    "fields",
    [
        {"system_role": "assistant"},
        {"refused_parameters": ["temperature", "max_tokens"]},
        {"output_limit_parameter": "limit"},
        {"reasoning_control": "none"},
    ],
)
def test_the_database_refuses_quirks_that_nobody_knows(fields):
    make_model("small")

    with pytest.raises(IntegrityError, match="model_quirks_known"), transaction.atomic():
        Model.objects.update(**fields)
