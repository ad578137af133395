import pytest


@pytest.fixture
def figures(transactional_db: None) -> None:
    """The rollups' own transactions commit."""
