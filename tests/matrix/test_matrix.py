"""The cells of `make matrix`."""

from collections.abc import Callable, Sequence

import pytest

from policies_app.routing.codes import WireFormat
from tests.matrix.cells import Outcome, judge, open_matrix
from tests.matrix.market import EMBEDDERS, SECRETS, Vendor, open_market
from tests.matrix.rows import OFFICIAL, OTHERS, REFUSED, Row
from tests.matrix.troubles import TROUBLES, troubles_of
from tests.running_servers import RunningGateway

pytestmark = pytest.mark.long

Place = tuple[str, str, WireFormat]
Found = tuple[Outcome, str, bool]

EMBEDDING_CLIENTS = {row.name for row in (*OFFICIAL, *OTHERS) if row.embeds}
AZURES_CLIENTS = frozenset({"openai, chat", "openai, embeddings"})
UNASKED = {trouble.name for trouble in TROUBLES if not trouble.reaches_vendor}
"""What goes wrong before there is a vendor."""


def judge_all(
    gateway: RunningGateway, rows: Sequence[Row], *, meet: Callable[[Row, Vendor], bool]
) -> dict[Place, Found]:
    """What became of each cell."""
    with open_market() as market, open_matrix(market, gateway, rows, meet=meet) as matrix:
        verdicts = [(cell, judge(cell, matrix.tap)) for cell in matrix.cells]
    return {
        (cell.client, cell.feature, cell.vendor.wire_format): (
            verdict.outcome,
            verdict.words,
            verdict.is_paid,
        )
        for cell, verdict in verdicts
    }


def expected(place: Place) -> Found:
    client, feature, vendor = place
    if client in EMBEDDING_CLIENTS and vendor not in EMBEDDERS and feature not in UNASKED:
        return Outcome.REFUSED, "embeddings", True
    if (feature, vendor) in REFUSED:
        return Outcome.REFUSED, f"{REFUSED[feature, vendor]} in {vendor}", True
    return Outcome.PASSES, "", True


def is_worth_its_time(row: Row, vendor: Vendor) -> bool:
    """Azure is OpenAI behind other addresses: two clients show it, and the others are for `make matrix`."""
    return vendor.wire_format is not WireFormat.AZURE_OPENAI or row.name in AZURES_CLIENTS


def test_official_clients_get_every_feature_of_every_vendor_or_a_reason_why_not(
    gateway: RunningGateway,
) -> None:
    found = judge_all(gateway, OFFICIAL, meet=is_worth_its_time)

    assert found == {place: expected(place) for place in found}
    assert {vendor for _, _, vendor in found} == set(SECRETS)
    assert len(found) == sum(
        (len(row.features) + len(troubles_of(row))) * (len(SECRETS) - (row.name not in AZURES_CLIENTS))
        for row in OFFICIAL
    )


# LiteLLM's own types warn of each other; that is between them.
@pytest.mark.filterwarnings("ignore")
def test_other_clients_need_no_more_than_where_the_gateway_is(gateway: RunningGateway) -> None:
    """The command-line tool starts a process for each question, and so asks one vendor only."""
    found = judge_all(
        gateway,
        OTHERS,
        meet=lambda row, vendor: (
            is_worth_its_time(row, vendor)
            and (row.name != "llm" or vendor.wire_format is WireFormat.OPENAI_CHAT)
        ),
    )

    assert found == {place: expected(place) for place in found}
    assert {client for client, _, _ in found} == {row.name for row in OTHERS}
