"""What is on paper: its programs run and print what they show, and nothing public goes unsaid."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable
from contextlib import ExitStack
from importlib.metadata import entry_points
from inspect import signature
from pathlib import Path
from typing import Any

import msgspec
import pytest
from emulators import gemini, llamacpp, messages, ollama
from emulators.chat import chunk, delta, message, sse
from emulators.chatui import ChatUI
from emulators.loopback import LoopbackServer, Reply, Request
from pages import Page, as_shown

import router
import router.testing
from router import errors, hookspecs
from router.base import BaseRouter
from router.rules import RULES

ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs"
PAGES = sorted(DOCS.glob("*.md"))
PAPERS = [*sorted(ROOT.glob("*.md")), *PAGES]
TRIED = [path for path in PAPERS if Page(path).programs or Page(path).commands]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
LINK = re.compile(r"\]\((?!\w+:)([^)#\s]*)(?:#([\w-]+))?\)")


WORDS = ("The", " sea", " keeps", " no", " secrets", ".")
"""What the servers answer that stand in for those which a page takes for given."""


class Ollama(LoopbackServer):
    """Ollama's own wire."""

    def handle(self, request: Request) -> Reply:
        ending = ollama.last(prompt_eval_count=12, eval_count=len(WORDS))
        if request.json().get("stream") is False:
            return Reply.json(200, {**ending, "message": {"content": "".join(WORDS)}})
        return Reply(200, (), ollama.lines(*(ollama.added(content=w) for w in WORDS), ending))


class Completions(LoopbackServer):
    """OpenAI's wire."""

    def handle(self, request: Request) -> Reply:
        usage = {"prompt_tokens": 12, "completion_tokens": len(WORDS), "total_tokens": 18}
        if not request.json().get("stream"):
            return Reply.json(200, chunk(message(content="".join(WORDS)), usage=usage))
        events = [chunk(delta(content=word)) for word in WORDS]
        return Reply(200, (), sse(*events, chunk(delta("stop")), chunk(usage=usage)))


class Cohere(LoopbackServer):
    """Cohere's wire; what it is given as a document, it cites."""

    def handle(self, request: Request) -> Reply:
        sent = request.json()
        usage = {"tokens": {"input_tokens": 12, "output_tokens": len(WORDS)}}
        ending = {"finish_reason": "COMPLETE", "usage": usage}
        if not sent["stream"]:
            sources = [
                {"type": "document", "id": each["id"], "document": each["data"]}
                for each in sent.get("documents", ())
            ]
            cited = [{"start": 14, "end": 24, "sources": [each]} for each in sources]
            said = {"content": [{"type": "text", "text": "".join(WORDS)}], "citations": cited}
            return Reply.json(200, {"message": said, **ending})
        events = [
            {"type": "content-delta", "delta": {"message": {"content": {"text": word}}}}
            for word in WORDS
        ]
        return Reply(200, (), sse(*events, {"type": "message-end", "delta": ending}))


class Messages(LoopbackServer):
    """Anthropic's wire."""

    def handle(self, request: Request) -> Reply:
        blocks = [messages.text(word) for word in WORDS]
        usage = {"input_tokens": 12, "output_tokens": len(WORDS)}
        if request.json().get("stream"):
            return Reply(200, (), messages.stream(*blocks, size=100, usage=usage))
        return Reply(200, (), messages.whole(*blocks, usage=usage))


SERVERS: dict[str, tuple[str, Callable[[], LoopbackServer]]] = {
    "anthropic.md": ("http://127.0.0.1:8080", Messages),
    "README.md": ("http://127.0.0.1:11434", Ollama),
    "cohere.md": ("http://127.0.0.1:8080", Cohere),
    "gemini.md": ("http://127.0.0.1:8080", gemini.Sea),
    "h2o.md": ("http://127.0.0.1:3000", lambda: ChatUI(tokens=WORDS)),
    "ollama.md": ("http://127.0.0.1:11434", Ollama),
    "openai.md": ("http://127.0.0.1:8080", Completions),
    "plugins.md": ("http://127.0.0.1:11434", Ollama),
}
"""By page, the address in it and the server that stands there."""


@pytest.fixture
def everything() -> str:
    """All pages of docs/, as one text."""
    return "\n".join(page.read_text() for page in PAGES)


def rows(text: str, heading: str) -> list[list[str]]:
    """The cells of the one table whose first heading is that, without its head."""
    tables = re.findall(r"(?:^\|.*\|\n)+", text, re.MULTILINE)
    [table] = [table for table in tables if table.startswith(f"| {heading} |")]
    lines = [line[1:-1].split("|") for line in table.splitlines()]
    return [[cell.strip() for cell in line] for line in lines[2:]]


def coded(name: str, text: str) -> bool:
    """Whether a text has a name in code."""
    return re.search(rf"`[^`\n]*\b{re.escape(name)}\b[^`\n]*`", text) is not None


# -- the programs


@pytest.mark.parametrize("path", TRIED, ids=lambda path: path.name)
def test_programs_of_a_page_print_what_it_shows(path: Path, tmp_path: Path) -> None:
    installed = {entry.name: entry.value for entry in entry_points(group="router.plugins")}
    declared = PROJECT["entry-points"]["router.plugins"]
    for name in {"h2o", path.stem} & declared.keys():
        if installed.get(name) != declared[name]:
            pytest.skip(f"no router finds {name}: the package is not installed, or was before")
    with ExitStack() as stack:
        addresses = {}
        if path.name in SERVERS:
            address, server = SERVERS[path.name]
            addresses[address] = stack.enter_context(server()).url
        page = Page(path, addresses)
        tried = [*page.programs, *page.commands]
        if any("local/smollm2" in each.text for each in tried) and (why := llamacpp.missing()):
            pytest.skip(why)
        results = page.run(tmp_path)
    assert len(results) == len(tried)
    for printed, block in results:
        shown = [line.rstrip() for line in block.shown.splitlines()]
        assert as_shown(printed, block.shown) == shown, f"{path.name}, line {block.line}"


def test_what_a_page_shows_has_no_program_in_a_language_that_is_not_run() -> None:
    known = {"python", "text", "console", "shell", "toml"}
    for path in PAPERS:
        assert {block.language for block in Page(path).blocks} <= known, path.name


def test_the_first_screen_of_the_readme_has_a_program_and_its_output() -> None:
    install, program, output = Page(ROOT / "README.md").blocks[:3]
    assert "pip install" in install.text
    assert len(program.text.splitlines()) <= 12
    assert program.shown == output.text
    assert output.line + len(output.text.splitlines()) + 1 <= 25


@pytest.mark.parametrize(
    ("printed", "shown", "fits"),
    [
        ("1. a/b in 3 ms: x\n", "1. a/b in ... ms: x\n", True),
        ("1. a/b in 3 ms: x\n", "1. a/b in ... ms\n", False),
        ("a\nb\n", "...\n", False),
        ("", "...\n", False),
        ("b\na\n", "a\nb\n", False),
        ("a  \n", "a\n", True),
    ],
)
def test_three_dots_stand_for_anything_on_their_line(printed: str, shown: str, fits: bool) -> None:
    assert (as_shown(printed, shown) == shown.splitlines()) is fits


def test_a_page_that_prints_something_else_is_found_out(tmp_path: Path) -> None:
    path = tmp_path / "page.md"
    path.write_text(
        "```python\nx = 1\nprint(x)\n```\n\n```text\n2\n```\n\n"
        "```python\nprint(x)\n```\n\nProse.\n\n```text\n1\n```\n\n"
        "```console\n$ router --version\nrouter, version ...\n$ ls\nanything\n```\n"
    )
    [first, second, third] = Page(path).run(tmp_path)
    assert (first[0], first[1].shown) == ("1\n", "2\n")
    assert (second[0], second[1].shown) == ("1\n", "")
    assert as_shown(*[third[0], third[1].shown]) == ["router, version ..."]


def test_a_page_reaches_no_host_but_loopback(tmp_path: Path) -> None:
    path = tmp_path / "page.md"
    path.write_text(
        "```python\nimport socket\n"
        "for host in ('example.org', '192.0.2.1'):\n"
        "    try:\n        socket.create_connection((host, 80), timeout=1)\n"
        "    except socket.gaierror as error:\n        print(error.strerror)\n```\n"
    )
    [(printed, _)] = Page(path).run(tmp_path)
    assert printed == 2 * "Name or service not known\n"


# -- nothing public goes unsaid (of events: tests/test_logging.py; of settings: test_config.py)


def test_every_public_name_is_documented(everything: str) -> None:
    names = [*router.__all__, *router.testing.__all__]
    assert [name for name in names if not coded(name, everything)] == []


def test_every_hook_is_documented_with_its_arguments() -> None:
    documented = [row[0] for row in rows((DOCS / "plugins.md").read_text(), "hook")]
    hooks = {n: hook for n, hook in vars(hookspecs).items() if hasattr(hook, "router_spec")}
    told = [f"`{name}({', '.join(signature(hook).parameters)})`" for name, hook in hooks.items()]
    assert documented == told


def test_every_method_and_field_is_in_the_reference() -> None:
    page = (DOCS / "reference.md").read_text()
    results = (router.Completion, router.Trace, router.Attempt, router.PassedOver, router.Target)
    names = [name for name in vars(BaseRouter) if not name.startswith("_")]
    names += [name for kind in (router.Router, router.Stream) for name in methods(kind)]
    names += [name for kind in results for name in (*kind.__struct_fields__, *methods(kind))]
    assert [name for name in names if not coded(name, page)] == []


def methods(kind: type) -> list[str]:
    """The public methods and properties of a class, without those that only its own house uses."""
    inside = {"transport"}
    return [
        name
        for name, value in vars(kind).items()
        if not name.startswith("_")
        and name not in inside
        and (callable(value) or isinstance(value, property))
    ]


def test_every_argument_of_the_router_is_in_the_reference() -> None:
    page = (DOCS / "reference.md").read_text()
    told = [name for row in rows(page, "argument") for name in re.findall(r"`(\w+)`", row[0])]
    assert sorted(told) == sorted(set(signature(BaseRouter.__init__).parameters) - {"self"})


# -- tables that must say what the code does


def test_the_page_of_errors_draws_the_tree() -> None:
    tree = [
        block.text for block in Page(DOCS / "errors.md").blocks if "RouterError\n├" in block.text
    ]
    assert tree
    assert tree[0] in f"{errors.__doc__}"


def test_the_page_of_errors_has_each_with_its_flags() -> None:
    table = rows((DOCS / "errors.md").read_text(), "error")
    kinds = {
        kind.__name__: kind
        for kind in vars(errors).values()
        if isinstance(kind, type)
        and issubclass(kind, errors.RouterError)
        and kind is not errors.RouterError
    }
    assert [row[0].strip("`") for row in table] == list(kinds)
    said = {"yes": True, "no": False}
    decided_each_time = {"StreamInterrupted", "AllTargetsFailed"}
    for row in table:
        name, retryable, billed = row[0].strip("`"), row[3], row[4]
        if name not in decided_each_time:
            assert said[retryable] is kinds[name].retryable, name
        if billed in said:
            assert said[billed] is kinds[name].possibly_billed, name
    assert errors.Timeout("slow", phase="idle").possibly_billed
    assert not errors.Timeout("slow", phase="connect").possibly_billed


def test_the_fault_table_is_that_of_the_rules() -> None:
    table = rows((DOCS / "reliability.md").read_text(), "error")
    assert [row[:6] for row in table] == [fault_row(key, rule) for key, rule in RULES.items()]
    assert all(row[6] for row in table)


def fault_row(key: Any, rule: router.Rule) -> list[str]:
    """A rule as the page has it."""
    kind, detail = key if isinstance(key, tuple) else (key, None)
    return [
        f"`{kind.__name__}`" + (f" (`{detail}`)" if detail is not None else ""),
        rule.again.replace("_", " "),
        rule.elsewhere.replace("_", " "),
        rule.cools,
        "" if rule.seconds is None else f"{rule.seconds:g} s",
        f"{rule.base:g} s" if rule.again in ("once", "last") else "",
    ]


def test_the_table_of_the_policy_has_each_field_with_its_default() -> None:
    table = rows((DOCS / "reliability.md").read_text(), "field")
    fields = msgspec.structs.fields(router.Policy)
    assert [row[:2] for row in table] == [
        [
            f"`{each.name}`",
            str(each.default).join('""' if isinstance(each.default, str) else ["", ""]),
        ]
        for each in fields
    ]


# -- the pages as a whole


def test_the_index_leads_to_every_page() -> None:
    index = (DOCS / "index.md").read_text()
    assert [page.name for page in PAGES if f"({page.name})" not in index] == ["index.md"]


@pytest.mark.parametrize("path", PAPERS, ids=lambda path: path.name)
def test_links_lead_somewhere(path: Path) -> None:
    for name, anchor in LINK.findall(path.read_text()):
        target = (path.parent / name) if name else path
        assert target.exists(), name
        if anchor:
            assert anchor in anchors(target.read_text()), f"{name}#{anchor}"


def anchors(text: str) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_contributing_names_files_and_targets_that_exist() -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text()
    paths = re.findall(r"`((?:router|providers|tests|docs|\.ci)/[\w/.]*)`", text)
    assert paths
    packages = Path(router.__file__).parents[1]  # elsewhere, where the wheel is tested
    assert [
        path for path in paths if not any((at / path).exists() for at in (ROOT, packages))
    ] == []
    made = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert set(re.findall(r"\$ make ([a-z-]+)", text)) <= set(made)


def test_the_changelog_has_the_form_of_keep_a_changelog() -> None:
    text = (ROOT / "CHANGELOG.md").read_text()
    kinds = {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}
    assert set(re.findall(r"^### (.+)$", text, re.MULTILINE)) <= kinds
    headings = re.findall(r"^## (.+)$", text, re.MULTILINE)
    assert headings
    assert all(
        re.fullmatch(r"\[Unreleased\]|\[[\d.]+\] - \d{4}-\d\d-\d\d", each) for each in headings
    )
