import pytest

from dispatch_app.providers.adapter import Adapter, adapter_of
from policies_app.routing.codes import WireFormat
from tests.dispatch_app.providers.contract import AdapterContract


class TestEveryAdapter(AdapterContract):
    @pytest.fixture(params=WireFormat)
    def adapter(self, request: pytest.FixtureRequest) -> Adapter:
        return adapter_of(request.param)
