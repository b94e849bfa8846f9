"""A fresh process that lists the models, against one that imports what is mandated."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable

from benchmarks.measure import Comparison, children

MANDATED = "import pluggy, requests, structlog"
LISTING = "import router; router.Router().models()"


def comparisons() -> list[Comparison]:
    """The interpreter's own start is in both."""
    return [
        Comparison(
            name="import and list",
            baseline=_python(MANDATED),
            ours=_python(LISTING),
            times=1,
            goal=1.0,
            clock=children,
        )
    ]


def _python(program: str) -> Callable[[], object]:
    return lambda: subprocess.run([sys.executable, "-c", program], check=True)
