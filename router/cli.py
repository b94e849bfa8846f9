"""The command `router`: calls, and what there is to call, from a shell.

Standard output has what was asked for and nothing else; logs, tables of attempts and errors go
to standard error.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, TypeVar

import click

from router import table
from router.ending import Commands, exit_code
from router.errors import RouterError

if TYPE_CHECKING:
    from router.parameters import Parameter, Parameters
    from router.router import Router, Stream
    from router.types import Attempt, Completion, Model, Trace

Command = TypeVar("Command", bound=Callable[..., Any])
Output: TypeAlias = Literal["json", "console"]

LEVELS: tuple[Literal["warning", "info", "debug"], ...] = ("warning", "info", "debug")
"""What is logged, by the number of `-v`."""

CALL_ARGUMENTS = ("model", "messages", "stream", "policy", "extra_body", "extra_headers")
PROBE = [{"role": "user", "content": "Hi"}]
PROBE_SECONDS = 30.0
"""The deadline of a probe: what a model takes to load, and then to say a word."""


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="pluggable-router")
def main() -> None:
    """Get completions from many model providers, and see what there is."""


# -- options


def _json_option(command: Command) -> Command:
    return click.option("--json", "as_json", is_flag=True, help="Write JSON.")(command)


def _config_option(command: Command) -> Command:
    return click.option(
        "--config",
        type=click.Path(path_type=Path),
        envvar="ROUTER_CONFIG",
        show_envvar=True,
        metavar="FILE",
        help="The router.toml to use; none by default.",
    )(command)


def _log_options(command: Command) -> Command:
    verbose = click.option("-v", "--verbose", count=True, help="Log more: info; twice for debug.")
    output = click.option(
        "--log",
        type=click.Choice(["console", "json"]),
        default="console",
        help="How events are logged on standard error.",
    )
    return verbose(output(command))


def _assigned(ctx: click.Context, option: click.Parameter, given: Sequence[str]) -> dict[str, Any]:
    """What is given as `name=value`, the value JSON where it is that, else text."""
    values: dict[str, Any] = {}
    for each in given:
        name, equals, text = each.partition("=")
        if not equals or not name.isidentifier():
            raise click.BadParameter(f"{each!r} is not NAME=VALUE", ctx, option)
        values[name] = _value(text)
    return values


def _parameters(
    ctx: click.Context, option: click.Parameter, given: Sequence[str]
) -> dict[str, Any]:
    """The parameters of a call."""
    parameters = _assigned(ctx, option, given)
    if names := [name for name in parameters if name in CALL_ARGUMENTS]:
        raise click.BadParameter(f"{names[0]} is not a parameter of a target", ctx, option)
    return parameters


def _model_option(command: Command) -> Command:
    return click.option(
        "-m",
        "--model",
        "models",
        metavar="MODEL",
        multiple=True,
        required=True,
        help="A target (provider/model), a model or a route. Several: the next when one fails.",
    )(command)


def _parameter_option(command: Command) -> Command:
    return click.option(
        "-p",
        "--parameter",
        "parameters",
        metavar="NAME=VALUE",
        multiple=True,
        callback=_parameters,
        help="A parameter of the target; the value is JSON, or else text. See `router params`.",
    )(command)


def _value(text: str) -> Any:
    import msgspec

    try:
        return msgspec.json.decode(text.encode())
    except (msgspec.DecodeError, UnicodeEncodeError):
        return text


def _open(config: Path | None, log: Output = "console", verbose: int = 0, **given: Any) -> Router:
    """The router that the options describe, with its log on standard error."""
    from router.logging import configure
    from router.router import Router

    configure(log, level=LEVELS[min(verbose, len(LEVELS) - 1)])
    return Router(**given) if config is None else Router.from_config(config, **given)


# -- chat


@main.command()
@click.argument("prompt", required=False)
@_model_option
@_parameter_option
@click.option("-s", "--system", metavar="TEXT", help="A system message before the prompt.")
@click.option("--no-stream", is_flag=True, help="Write the answer when it is complete.")
@_json_option
@_config_option
@_log_options
@click.pass_context
def chat(
    ctx: click.Context,
    prompt: str | None,
    models: tuple[str, ...],
    parameters: dict[str, Any],
    system: str | None,
    no_stream: bool,
    as_json: bool,
    config: Path | None,
    log: Output,
    verbose: int,
) -> None:
    """Answer PROMPT by the first MODEL that answers.

    Standard input, unless it is a terminal, is read to its end and stands before PROMPT, or in its
    place.
    """
    messages = [{"role": "user", "content": _prompt(prompt)}]
    if system is not None:
        messages.insert(0, {"role": "system", "content": system})
    # One name may be that of a route; a list is of targets.
    model = models[0] if len(models) == 1 else models
    call: dict[str, Any] = {"model": model, "messages": messages, **parameters}
    with _open(config, log, verbose) as router:
        try:
            completion = _ask(router, call, stream=not no_stream, shown=not as_json)
        except RouterError as error:
            if as_json:
                _write_json(_failure(error))
            elif error.trace is not None and log == "console":
                _write_attempts(error.trace)
            if error.trace is not None and log == "json":
                ctx.exit(exit_code(error))  # the log has told it
            raise
        if as_json:
            _write_json({**completion.to_dict(), "error": None})
        elif log == "console":
            _write_label(router, completion)
            _write_attempts(completion.trace)


def _prompt(argument: str | None) -> str:
    """The argument, behind what stands on standard input."""
    piped = ""
    stdin = sys.stdin
    if stdin is not None and (argument is None or not stdin.isatty()):
        try:
            piped = stdin.buffer.read().decode()
        except UnicodeDecodeError:
            raise click.UsageError("standard input is no UTF-8 text") from None
    prompt = "\n\n".join(part for part in (piped.strip("\n"), argument) if part)
    if not prompt.strip():
        raise click.UsageError("no prompt: give PROMPT, or write it to standard input")
    return prompt


def _ask(router: Router, call: dict[str, Any], *, stream: bool, shown: bool) -> Completion:
    """Make the call; what of the answer is there is shown as it comes, and ends its line."""
    last = "\n"

    def show(text: str) -> None:
        nonlocal last
        if shown and text:
            click.echo(text, nl=False)
            last = text

    try:
        if not stream:
            whole: Completion = router.create_completion(**call)
            show(whole.text)
            return whole
        answer: Stream = router.create_completion(stream=True, **call)
        with answer:
            for text in answer:
                show(text)
            return answer.completion
    finally:
        if not last.endswith("\n"):
            click.echo()


def _failure(error: RouterError) -> dict[str, Any]:
    """What `--json` writes in place of an answer."""
    from router.errors import StreamInterrupted
    from router.types import Trace

    trace = error.trace or Trace(request_id="")
    return {
        "text": None,
        "partial": error.partial.text if isinstance(error, StreamInterrupted) else None,
        "target": None,
        "model": None,
        "finish_reason": None,
        "usage": None,
        **trace.to_dict(),
        "error": error.to_dict(),
    }


def _write_label(router: Router, completion: Completion) -> None:
    """Say what the model is that answered, where its provider says so."""
    provider, _, name = completion.target.partition("/")
    for model in router.models(provider):
        if model.id == name and model.description:
            click.echo(f"answered by {completion.target}: {model.description}", err=True)
    if completion.tool_calls and not completion.text:
        click.echo(
            f"the model asks for {len(completion.tool_calls)} tool calls: see --json", err=True
        )


def _write_attempts(trace: Trace) -> None:
    rows = [_attempt_row(attempt) for attempt in trace.attempts]
    rows += [
        (skipped.target, "passed over", "", "", "", skipped.detail) for skipped in trace.passed_over
    ]
    if rows:
        headings = ("target", "outcome", "latency", "ttft", "tokens", "notes")
        table.write(headings, rows, sys.stderr)


def _attempt_row(attempt: Attempt) -> tuple[str, ...]:
    usage = attempt.usage
    notes = [] if attempt.error is None else [str(attempt.error.args[0])]
    notes += [f"{theirs} for {yours}" for yours, theirs in attempt.renamed.items()]
    notes += [f"without {name}" for name in attempt.dropped]
    notes += [f"{name} unchecked" for name in attempt.unchecked]
    tokens = "" if usage is None else f"{_count(usage.input_tokens)}+{_count(usage.output_tokens)}"
    return (
        attempt.target,
        attempt.outcome,
        _duration(attempt.latency_ms),
        _duration(attempt.ttft_ms),
        tokens,
        "; ".join(notes),
    )


def _count(tokens: int | None) -> str:
    return "?" if tokens is None else str(tokens)


def _duration(milliseconds: float | None) -> str:
    if milliseconds is None:
        return ""
    return f"{milliseconds:.0f} ms" if milliseconds < 1000 else f"{milliseconds / 1000:.2f} s"


# -- what there is


@main.command()
@click.argument("provider", required=False)
@click.option("--refresh", is_flag=True, help="Ask the providers first, with your keys.")
@_json_option
@_config_option
@click.pass_context
def models(
    ctx: click.Context, provider: str | None, refresh: bool, as_json: bool, config: Path | None
) -> None:
    """List the models, of one PROVIDER or of all.

    What providers answered to an earlier --refresh is listed too.
    """
    from router.refresh import ModelCache

    failed = False
    with _open(config, model_cache=ModelCache.default()) as router:
        for each in router.refresh_models(provider) if refresh else ():
            failed = failed or each.error is not None
            told = each.error or f"{each.provider}: {len(each.models)} models"
            click.echo(str(told), err=True)
        found = router.models(provider)
        open_providers = [
            each.name
            for each in router.providers()
            if each.open_models and provider in (None, each.name)
        ]
    if as_json:
        _write_json([_plain(model) for model in found])
    else:
        rows = [_model_row(model) for model in found]
        table.write(("model", "aliases", "context", "takes", "description"), rows, sys.stdout)
    if failed:
        ctx.exit(1)
    if open_providers and not as_json:
        click.echo(f"Other names are passed on by {', '.join(open_providers)}.", err=True)


def _model_row(model: Model) -> tuple[str, ...]:
    abilities = {
        "tools": model.tools,
        "json": model.structured_output,
        "reasoning": model.reasoning,
    }
    takes = [*(model.inputs or ()), *(name for name, able in abilities.items() if able)]
    return (
        f"{model.provider}/{model.id}",
        ", ".join(model.aliases),
        "" if model.context_window is None else str(model.context_window),
        ", ".join(takes),
        model.description or "",
    )


@main.command()
@click.argument("prompt", required=False)
@_model_option
@_parameter_option
@_json_option
@_config_option
def explain(
    prompt: str | None,
    models: tuple[str, ...],
    parameters: dict[str, Any],
    as_json: bool,
    config: Path | None,
) -> None:
    """Say where a call would go, in order, and why not elsewhere; nothing is sent.

    PROMPT counts for its length alone: a target whose context window it exceeds is passed over.
    """
    messages = [{"role": "user", "content": prompt or ""}]
    with _open(config) as router:
        model = models[0] if len(models) == 1 else models
        explanation = router.explain(model, messages, **parameters)
    if as_json:
        _write_json(_plain(explanation))
    else:
        click.echo(str(explanation))


@main.command()
@_model_option
@_json_option
@_config_option
@click.pass_context
def health(ctx: click.Context, models: tuple[str, ...], as_json: bool, config: Path | None) -> None:
    """Ask each MODEL for a token or two, and say which answer; exit 1 when one does not.

    A route is each of its targets. What a router remembers of its targets ends with its process;
    so this asks them.
    """
    with _open(config) as router:
        explained = [router.explain(model, PROBE) for model in models]
        named = [each.target for one in explained for each in one.targets]
        named += [each.target for one in explained for each in one.passed_over]
        found = [_probe(router, target) for target in dict.fromkeys(named)]
    if as_json:
        _write_json(found)
    else:
        headings = ("target", "state", "latency", "error")
        rows = [
            tuple(str(row[key]) for key in ("target", "state", "latency_ms", "error"))
            for row in found
        ]
        table.write(headings, rows, sys.stdout)
    if any(row["state"] != "answers" for row in found):
        ctx.exit(1)


def _probe(router: Router, model: str) -> dict[str, Any]:
    """One short call to a target, without a retry."""
    takes_limit = router.parameters(model).find("max_tokens") is not None
    limit: dict[str, Any] = {"max_tokens": 2} if takes_limit else {}
    began = router.clock()
    row: dict[str, Any] = {"target": model, "state": "answers", "latency_ms": 0, "error": ""}
    try:
        router.create_completion(
            model,
            PROBE,
            policy={"attempts": 1, "deadline": PROBE_SECONDS},
            **limit,
        )
    except RouterError as error:
        row["state"], row["error"] = type(error).__name__, error.message
    row["latency_ms"] = round(1000 * (router.clock() - began))
    return row


@main.command()
@click.argument("name", metavar="[PROVIDER[/MODEL]]", required=False)
@_json_option
@_config_option
def params(name: str | None, as_json: bool, config: Path | None) -> None:
    """List the parameters that a provider or a model takes; of all providers, in a line each."""
    with _open(config) as router:
        names = [each.name for each in router.providers()] if name is None else [name]
        found = {each: router.parameters(each) for each in names}
    if as_json:
        _write_json([_parameters_object(*each) for each in found.items()])
        return
    for each, parameters in found.items():
        # Rows of one wire share its module, which the line names.
        owned = parameters.owner.rpartition(".")[2] == each.partition("/")[0]
        click.echo(str(parameters) if owned else f"{each}: {parameters}")
    if name is not None:
        click.echo()
        headings = ("parameter", "type", "default", "bounds", "kind", "description")
        table.write(headings, [_parameter_row(item) for item in found[name]], sys.stdout)


def _parameter_row(item: Parameter) -> tuple[str, ...]:
    return (
        item.name,
        item.type_name,
        "required" if item.required else "" if item.default is None else repr(item.default),
        ", ".join(f"{bound}={value}" for bound, value in item.bounds.items()),
        item.kind.value,
        item.description or "",
    )


def _parameters_object(name: str, parameters: Parameters) -> dict[str, Any]:
    return {
        "name": name,
        "supports": str(parameters),
        "parameters": [
            {
                "name": item.name,
                "type": item.type_name,
                "required": item.required,
                "default": None if item.required else item.default,
                "bounds": item.bounds,
                "kind": item.kind.value,
                "description": item.description,
            }
            for item in parameters
        ],
        "json_schema": parameters.json_schema(),
    }


@main.command()
@_json_option
@_config_option
def plugins(as_json: bool, config: Path | None) -> None:
    """List the plugins, each with what became of it."""
    with _open(config) as router:
        router.providers()  # loads them all
        found = router.plugins
    if as_json:
        _write_json([_plain(info) for info in found])
        return
    rows = [
        (
            info.name,
            info.status,
            info.distribution or "",
            info.version or "",
            ", ".join(info.providers),
            info.reason or "",
        )
        for info in found
    ]
    headings = ("plugin", "status", "distribution", "version", "providers", "reason")
    table.write(headings, rows, sys.stdout)


@main.command()
@_json_option
@_config_option
@click.pass_context
def doctor(ctx: click.Context, as_json: bool, config: Path | None) -> None:
    """Look for what may keep calls from working here; exit 1 when something is broken."""
    from router.doctor import examine

    findings = examine(config, Path.cwd(), os.environ)
    if as_json:
        _write_json({"findings": [_plain(finding) for finding in findings]})
    else:
        rows = [(finding.status, finding.check, finding.detail) for finding in findings]
        table.write(("status", "check", "detail"), rows, sys.stdout)
    if any(finding.status == "broken" for finding in findings):
        ctx.exit(1)


@main.command()
@click.argument("provider")
@click.option(
    "--samples",
    "file",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="JSON: what its server would answer. See docs/conformance.md.",
)
@click.option(
    "--setting",
    "settings",
    metavar="NAME=VALUE",
    multiple=True,
    callback=_assigned,
    help="A setting of the provider; the value is JSON, or else text.",
)
@_json_option
@click.pass_context
def conformance(
    ctx: click.Context, provider: str, file: Path | None, settings: dict[str, Any], as_json: bool
) -> None:
    """Check that an installed PROVIDER keeps the contract; exit 1 when it does not.

    Nothing is sent: a server's answers come from the samples. It is given a made-up key.
    """
    from router.testing.conformance import examine, installed, read_samples

    samples = read_samples(file) if file is not None else ()
    findings = examine(installed(provider, os.environ), samples, settings)
    if as_json:
        _write_json({"findings": [_plain(finding) for finding in findings]})
    else:
        rows = [
            (finding.status, finding.check, detail)
            for finding in findings
            for detail in finding.details or ("",)
        ]
        table.write(("status", "check", "detail"), rows, sys.stdout)
    if any(finding.status == "failed" for finding in findings):
        ctx.exit(1)


def _plain(value: Any) -> Any:
    import msgspec

    return msgspec.to_builtins(value)


def _write_json(value: Any) -> None:
    click.echo(json.dumps(value, ensure_ascii=False, indent=2, default=repr))
