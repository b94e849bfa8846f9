"""A page of the documentation as a reader tries it: its programs and commands run, in order.

A `python` block is a program; those of one page share their names, as if typed one after another.
The `text` block right behind it is all that it prints, errors and logs included; without one it
prints nothing. In a `console` block, `$ router ...` is run. In what is shown, `...` stands for
anything on its line. All other blocks (`shell`, `toml`, ...) are only read.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Mapping
from itertools import zip_longest
from pathlib import Path
from typing import NamedTuple

import router

FENCE = re.compile(r"^```([\w.]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
END = "--- end of a block ---"

# Runs the programs in one process. What breaks is told with the page and its line.
DRIVER = f"""
import json, sys
names = {{"__name__": "__main__"}}
for origin, line, program in json.load(sys.stdin):
    exec(compile("\\n" * line + program, origin, "exec"), names)
    print({END!r})
"""

# Nothing but loopback has an address; names fail as they do on a machine without a network.
OFFLINE = """
import ipaddress, socket
_getaddrinfo = socket.getaddrinfo
def getaddrinfo(host, *args, **kwargs):
    try:
        local = host in (None, "", "localhost") or ipaddress.ip_address(host).is_loopback
    except ValueError:
        local = False
    if not local:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
    return _getaddrinfo(host, *args, **kwargs)
socket.getaddrinfo = getaddrinfo
"""


class Block(NamedTuple):
    """A fenced block: `line` is that of its fence, `shown` the `text` block right behind it."""

    language: str
    line: int
    text: str
    shown: str


class Page:
    """A page, with its servers' addresses replaced by those that are there.

    Args:
        path: The file.
        addresses: What stands in the page, with what is to stand there.
    """

    def __init__(self, path: Path, addresses: Mapping[str, str] | None = None) -> None:
        self.path = path
        self.text = path.read_text()
        for address, actual in (addresses or {}).items():
            self.text = self.text.replace(address, actual)

    @property
    def blocks(self) -> list[Block]:
        """All fenced blocks, in order."""
        found = list(FENCE.finditer(self.text))
        blocks = []
        for fence, behind in zip_longest(found, found[1:]):
            shown = ""
            if behind and behind[1] == "text":
                between = self.text[fence.end() : behind.start()]
                shown = "" if between.strip() else behind[2]
            line = self.text.count("\n", 0, fence.start()) + 1
            blocks.append(Block(fence[1], line, fence[2], shown))
        return blocks

    @property
    def programs(self) -> list[Block]:
        """The `python` blocks."""
        return [block for block in self.blocks if block.language == "python"]

    @property
    def commands(self) -> list[Block]:
        """Each `$ router ...` of the `console` blocks, with what it writes as `shown`."""
        commands = []
        for block in self.blocks:
            if block.language == "console":
                for prompt in block.text.split("\n$ ") if block.text.startswith("$ ") else ():
                    command, _, shown = prompt.removeprefix("$ ").partition("\n")
                    if command.startswith("router "):
                        commands.append(Block("console", block.line, command, shown))
        return commands

    def run(self, folder: Path) -> list[tuple[str, Block]]:
        """What each program and each command printed, errors included.

        Args:
            folder: An empty one, in which they run.

        Raises:
            AssertionError: A program raised, or a command failed.
        """
        (folder / "sitecustomize.py").write_text(OFFLINE)
        environment = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join([str(folder), str(Path(router.__file__).parents[1])]),
            "PYTHONWARNINGS": "error",
            "COLUMNS": "200",
        }
        work = folder / "work"
        work.mkdir()

        def output(arguments: list[str], given: str) -> str:
            ran = subprocess.run(
                arguments,
                input=given,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                cwd=work,
                env=environment,
                text=True,
            )
            assert ran.returncode == 0, f"{self.path.name}: {ran.stdout}"
            return ran.stdout

        results: list[tuple[str, Block]] = []
        if programs := self.programs:
            given = json.dumps([(self.path.name, each.line, each.text) for each in programs])
            printed = output([sys.executable, "-u", "-c", DRIVER], given).split(f"{END}\n")
            results += zip(printed, programs, strict=False)
        for command in self.commands:
            script = str(Path(sys.executable).with_name("router"))
            results.append((output([script, *shlex.split(command.text)[1:]], ""), command))
        return results


def as_shown(printed: str, shown: str) -> list[str]:
    """The printed lines, each as the page shows it where that allows for it."""
    wanted = [line.rstrip() for line in shown.splitlines()]
    lines = [line.rstrip() for line in printed.splitlines()]
    for number, (line, pattern) in enumerate(zip(lines, wanted, strict=False)):
        if re.fullmatch(".*".join(map(re.escape, pattern.split("..."))), line):
            lines[number] = pattern
    return lines
