"""How a credential fares, in the words of its provider's page."""

import pytest

from dispatch_app.credentials.states import is_held_back, state_of, states_in_words
from dispatch_app.execution.breaker import Cause
from policies_app.models import Credential
from policies_app.routing.codes import HealthState
from policies_app.services.credentials import set_provider_secret
from tests.dispatch_app.health.conftest import own_tables
from tests.dispatch_app.health.target_rows import make_process, make_target
from tests.factories import Fleet, make_fleet

__all__ = ["own_tables"]

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("own_tables")]
NAME = "main …1234"


@pytest.fixture
def fleet() -> Fleet:
    return make_fleet()


@pytest.fixture
def credential(fleet: Fleet) -> Credential:
    credential = Credential.objects.create(provider=fleet.provider, label="main")
    set_provider_secret(credential=credential, secret="sk-main-secret-1234", author_name="ops")
    return credential


def state(credential: Credential) -> str:
    return state_of(credential, states_in_words(credential.provider_id))


def test_one_that_nobody_called_is_told(credential: Credential) -> None:
    assert state(credential) == "not called in the last 15 minutes"
    assert not is_held_back(credential)


def test_one_that_every_process_calls_takes_traffic(fleet: Fleet, credential: Credential) -> None:
    make_target(make_process(), fleet.small, credential=NAME)

    assert state(credential) == "takes traffic"


def test_what_is_held_against_it_is_told_by_model_and_worst_first(
    fleet: Fleet, credential: Credential
) -> None:
    process = make_process()
    blocked = {"credential": NAME, "remaining_s": 41.5}
    limits = {"state": HealthState.COOLING, "cause": Cause.RATE_LIMIT}
    refuses = {"state": HealthState.OPEN, "cause": Cause.CREDENTIAL}
    make_target(process, fleet.small, **limits, **blocked)
    make_target(process, fleet.mid, **refuses, **blocked)
    make_target(process, fleet.frontier, credential="another …9999")

    assert state(credential) == (
        "refused for mid, tried again in 42 s; rate limited for small, tried again in 42 s"
    )
    assert is_held_back(credential)


def test_one_that_cannot_be_used_says_why(fleet: Fleet, credential: Credential) -> None:
    outside = Credential.objects.create(
        provider=fleet.provider, label="outside", environment_variable="NOT_SET_ANYWHERE"
    )
    credential.enabled = False

    assert state(outside) == "out of service: the variable NOT_SET_ANYWHERE is not set"
    assert state(credential) == "off"
