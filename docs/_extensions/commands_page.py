"""The page of all commands and their options, made from the command line itself before each build."""

from __future__ import annotations

from pathlib import Path
from typing import Any

PAGE = "reference/commands.md"
INTRODUCTION = """# Commands

Each command prints this help with `-h`. `MODEL` is a registered name (`retail-daily`), an MLflow URI
(`models:/retail-daily@champion`, `runs:/RUN_ID/model`) or an experiment file; it means the champion.

Exit codes: 0 done; 1 something failed, and stderr says what; 2 the input is wrong; 130 interrupted, can be resumed.
"""


def commands_page() -> str:
    """Return the page in Markdown."""
    import typer

    from gridcast.cli import app

    parts = [INTRODUCTION]
    for name, command in typer.main.get_command(app).commands.items():
        below = getattr(command, "commands", None)
        verbs = {f"{name} {verb}": one for verb, one in below.items()} if below else {name: command}
        parts += [_section(words, one) for words, one in verbs.items()]
    return "\n".join(parts)


def _section(name: str, command: Any) -> str:
    """Return the usage, the help and a table of the arguments and options of one command."""
    arguments = [one for one in command.params if one.param_type_name == "argument"]
    options = [one for one in command.params if one.param_type_name == "option" and not one.hidden]
    words = [_word(one) if one.required else f"[{_word(one)}]" for one in arguments]
    usage = " ".join(["gridcast", name, *words, *(["[OPTIONS]"] if options else [])])
    lines = [f"## {name}", "", f"`{usage}`", "", _prose(command.help), ""]
    if command.params:
        lines += ["| | |", "| --- | --- |"]
        lines += [f"| `{_word(one)}` | {_prose(one.help)} |" for one in arguments]
        lines += [f"| {_flags(one)} | {_prose(one.help)}{_default(one)} |" for one in options]
    return "\n".join(lines) + "\n"


def _word(one: Any) -> str:
    """Return the name under which the help shows a value."""
    name = one.metavar or one.name.upper()
    return f"{name}..." if one.nargs == -1 else str(name)


def _flags(one: Any) -> str:
    value = "" if one.is_flag else f" {_word(one)}"
    return ", ".join(f"`{flag}{value}`" for flag in [*one.opts, *one.secondary_opts]).replace("|", "\\|")


def _default(one: Any) -> str:
    is_silent = one.is_flag or one.default in (None, (), []) or "default" in (one.help or "")
    return "" if is_silent else f" (default: `{one.default}`)"


def _prose(text: str | None) -> str:
    return " ".join((text or "").split()).replace("|", "\\|").replace("<", "\\<").replace("*", "\\*")


def _write(app: Any) -> None:
    path, text = Path(app.srcdir, PAGE), commands_page()
    if not path.exists() or path.read_text(encoding="utf-8") != text:
        path.write_text(text, encoding="utf-8")


def setup(app: Any) -> dict[str, bool]:
    """Make the page before each build."""
    app.connect("builder-inited", _write)
    return {"parallel_read_safe": True}
