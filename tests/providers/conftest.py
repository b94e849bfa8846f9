from collections.abc import Iterator

import pytest
from emulators import llamacpp


@pytest.fixture(scope="session")
def llama_server() -> Iterator[llamacpp.LlamaServer]:
    """llama.cpp's own server, one for all tests; a test that needs it is skipped without it."""
    if (reason := llamacpp.missing()) is not None:
        pytest.skip(reason)
    with llamacpp.LlamaServer() as server:
        yield server
