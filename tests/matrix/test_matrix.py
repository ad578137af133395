"""Every cell of `make matrix`."""

from policies_app.routing.codes import WireFormat
from tests.matrix.cells import Outcome, judge, open_matrix
from tests.matrix.market import open_market
from tests.matrix.rows import REFUSED
from tests.running_servers import RunningGateway


def test_every_client_gets_every_feature_of_every_vendor_or_a_reason_why_not(gateway: RunningGateway) -> None:
    with open_market() as market, open_matrix(market, gateway) as matrix:
        verdicts = {
            (cell.client, cell.feature, cell.vendor.wire_format): judge(cell, matrix.tap)
            for cell in matrix.cells
        }

    def expected(feature: str, vendor: WireFormat) -> tuple[Outcome, str, bool]:
        if (feature, vendor) in REFUSED:
            return Outcome.REFUSED, f"{REFUSED[feature, vendor]} in {vendor}", True
        return Outcome.PASSES, "", True

    found = {place: (verdict.outcome, verdict.words, verdict.is_paid) for place, verdict in verdicts.items()}
    assert found == {place: expected(place[1], place[2]) for place in found}
    assert len(found) == 198
