"""What integration tests share: hosts with addresses of their own."""

import os

import pytest

from tests.integration.network_hosts import why_impossible


@pytest.fixture(scope="session")
def namespaces() -> None:
    """For tests that need network namespaces. Without them they are skipped, or fail where nothing may be."""
    if (reason := why_impossible()) is not None:
        if os.environ.get("COLLEGIUM_NO_SKIPS"):
            pytest.fail(reason)
        pytest.skip(reason)
