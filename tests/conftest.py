"""What all tests share: nothing here may depend on how fast the machine is."""

import random
import sys
from collections.abc import Callable

import pytest
from hypothesis import HealthCheck, settings

settings.register_profile(
    "house", deadline=None, suppress_health_check=[HealthCheck.too_slow], print_blob=True
)
settings.load_profile("house")


def pytest_runtest_setup() -> None:
    """What a test draws must not hang on which tests ran before it: the generators of torch, where it
    is loaded (the tests of the pages do without), and of Python begin from one seed."""
    random.seed(0)
    if torch := sys.modules.get("torch"):
        torch.manual_seed(0)


@pytest.fixture
def forbidden(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Whoever makes the command line read data fails; to be called."""
    from mmtutor.cli.data import Source

    def read(*_: object, **__: object) -> None:
        raise AssertionError("data were read")

    return lambda: monkeypatch.setattr(Source, "rows", read)
