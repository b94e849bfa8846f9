import subprocess
import sys

import pytest

import router.testing


def test_every_name_is_there():
    assert sorted(router.testing.__all__) == router.testing.__all__
    assert all(getattr(router.testing, name).__name__ == name for name in router.testing.__all__)


def test_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="FaultServe"):
        router.testing.FaultServe  # noqa: B018 (the look-up is the test)


def test_importing_loads_none_of_it():
    program = "import sys, router.testing; print(*sys.modules)"
    found = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    ).stdout.split()
    assert "router.testing" in found
    assert not [name for name in found if name.startswith("router.testing.")]
