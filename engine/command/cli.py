"""The command line that every command has: flags from a dataclass, one line an error, exit codes, an orderly stop.

jsonargparse reads the flags and the files. It gives its errors as text alone, so `_plain` puts that text into the words
of a user; nothing depends on it but the wording.
"""

import argparse
import difflib
import errno
import io
import json
import logging
import math
import os
import re
import sys
import tempfile
import threading
import traceback
import types
from collections.abc import Callable, Iterator, Sequence
from dataclasses import MISSING, Field, field, fields, is_dataclass
from pathlib import Path
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

import docstring_parser
from jsonargparse import ActionYesNo, ArgumentError, ArgumentParser, DefaultHelpFormatter

from engine.command.extras import missing_package
from engine.command.lifecycle import Abandoned, abandon_on_signal, stop_on_signal
from engine.command.messages import LogFormat, say, set_up
from engine.errors import EXIT_CODES, STOPPED, USAGE_ERROR, KinetokenError, OutputError

C = TypeVar("C")

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)

_EVERYWHERE = (0, 1, USAGE_ERROR)
"""Exit codes that every command has."""


POSITIONAL = {"positional": True}
"""Metadata of a field that is an argument without a flag although it has a default."""


def run(
    main: Callable[[C, threading.Event], None],
    config: type[C],
    *,
    prog: str,
    examples: str,
    argv: Sequence[str] | None = None,
    batch: bool = False,
) -> int:
    """Parse the command line into a `config`, call `main` with it and a stop event, return the exit code.

    config: a dataclass. Its docstring is the description; the string under a field is the help of its flag,
    `max_persons` becoming `--max-persons`, `from_` `--from`, a bool also `--no-...`, and a list takes several words.
    Fields without a default, and those with the metadata POSITIONAL, are arguments without a flag, in their order. Its
    class variable GROUPS, if it has one, gives the headings of the help and the fields under each; EXITS the exit codes
    that the command has besides 0, 1 and 2. ValueError from its `__post_init__` is a usage error.

    `main` should return soon after the event is set, by Ctrl-C, SIGTERM or a closed terminal. batch: it has an end of
    its own, so a signal breaks it off where it is, with an exit code that says so. examples: command lines for --help.
    argv: by default the arguments of the process.
    """
    set_up("text")
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(line_buffering=True)
    try:
        settings, log_format = _read(config, argv, prog, examples)
    except (ArgumentError, ValueError, RecursionError) as error:
        return _fail(f"{_plain(str(error))} (see {prog} --help)", USAGE_ERROR)
    except OSError as error:  # --help and --print-config
        return _full(error)
    set_up(log_format)
    try:
        with abandon_on_signal() if batch else stop_on_signal() as stop:
            main(settings, stop)
        if sys.stdout is not None:  # it is None where a shell has closed it
            sys.stdout.flush()
    except Abandoned:
        return _fail("stopped", STOPPED) if batch else 0
    except KinetokenError as error:
        return _fail(str(error), error.exit_code)
    except BrokenPipeError:
        _silence_output()  # the reader, such as `head`, has enough
    except Exception as error:
        if isinstance(error, OSError) and error.errno in _FULL and error.filename is None:
            return _full(error)
        if isinstance(error, FileNotFoundError) and not _has_temporary_folder():
            return _fail(f"{error.strerror}: set TMPDIR to a folder that can be written to", OutputError.exit_code)
        if isinstance(error, ModuleNotFoundError) and (missing := missing_package(error)):
            return _fail(str(missing), missing.exit_code)
        traceback.print_exc()
        return _fail(f"unexpected failure, please report it: {error!r}", 1)
    return 0


def parse(config: type[C], argv: Sequence[str] | None, *, prog: str, examples: str = "") -> C:
    """Return the `config` that a command line asks for; as in `run`. Raises ArgumentError, ValueError."""
    return _read(config, argv, prog, examples)[0]


def repeated() -> Any:
    """Return the default of a flag that may be given several times, `tuple[X, ...]`: none. A file may hold one X."""
    return field(default=(), metadata={"repeated": True})


def is_writable(file: Path) -> bool:
    """Whether a file may be written or made here, asked before the minutes of work that fill it. It is not touched."""
    if file.is_dir() or not file.parent.is_dir():
        return False
    return os.access(file if file.exists() else file.parent, os.W_OK)


def need_writable(file: Path | None) -> None:
    """Raise OutputError where there is a file to write, and it cannot be written."""
    if file is not None and not is_writable(file):
        raise OutputError(f"{file} cannot be written: name another file, in a folder that exists")


def _read(config: type[C], argv: Sequence[str] | None, prog: str, examples: str) -> tuple[C, LogFormat]:
    """Return the configuration and how the command is to say things."""
    # Later arguments win: with the configuration files first, flags win wherever they stand.
    files = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    files.add_argument("--config", action="append", default=[])
    given, rest = files.parse_known_args(sys.argv[1:] if argv is None else argv)
    parser = _parser(config, prog, examples)
    rest = _gather_repeated(config, rest)
    try:
        values = parser.parse_args([f"--config={file}" for file in given.config] + _arguments_first(parser, rest))
    except ArgumentError as error:
        raise ValueError(f"{error}{_did_you_mean(str(error), parser)}") from None
    settings: type[Any] = config
    given_values = {setting.name: values[setting.name.rstrip("_")] for setting in fields(settings)}
    for setting in fields(settings):
        if setting.metadata.get("repeated"):
            value = given_values[setting.name]
            given_values[setting.name] = tuple(value) if isinstance(value, list | tuple) else (value,)
    for setting in fields(settings):
        _check_value(setting.name.rstrip("_").replace("_", "-"), given_values[setting.name], setting.default)
    # In a file, null means a flag that is not given.
    made = config(**{name: value for name, value in given_values.items() if value is not None})
    return made, values.get("log_format") or "text"


def _gather_repeated(config: type[Any], argv: Sequence[str]) -> list[str]:
    """Return a command line in which a flag that may be given several times stands once, with a list."""
    kinds = get_type_hints(config)
    texts = {
        f"--{setting.name.rstrip('_').replace('_', '-')}": get_args(kinds[setting.name])[0] is str
        for setting in fields(config)
        if setting.metadata.get("repeated")
    }
    lists: dict[str, list[str]] = {}
    rest: list[str] = []
    words = list(argv)
    while words:
        word = words.pop(0)
        flag, equals, value = word.partition("=")
        if flag not in texts or not (equals or (words and not words[0].startswith("--"))):
            rest.append(word)
        else:
            lists.setdefault(flag, []).append(value if equals else words.pop(0))
    for flag, values in lists.items():
        rest.append(f"{flag}=[{', '.join(json.dumps(value) if texts[flag] else value for value in values)}]")
    return rest


def _arguments_first(parser: ArgumentParser, argv: Sequence[str]) -> list[str]:
    """Return a command line with the arguments that have no flag before the flags, wherever they stood."""
    flags = {name: action for action in parser._actions for name in action.option_strings}
    words: list[str] = []
    rest: list[str] = []
    takes: str | int | None = 0
    for word in argv:
        if word.startswith("-") and word != "-" and not _is_number(word):
            name, equals, _ = word.partition("=")
            takes = 0 if equals else flags[name].nargs if name in flags else 1
            takes = 1 if takes is None else takes
            if isinstance(flags.get(name), ActionYesNo):
                takes = 0
            rest.append(word)
        elif takes in ("+", "*") or (isinstance(takes, int) and takes > 0):
            takes = takes - 1 if isinstance(takes, int) else takes
            rest.append(word)
        else:
            words.append(word)
    return words + rest


def _is_number(word: str) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return True


def _did_you_mean(message: str, parser: ArgumentParser) -> str:
    """Return a hint at the flag that was meant, if a message is of one that there is not."""
    if "nrecognized arguments" not in message:
        return ""
    flags = [name for action in parser._actions for name in action.option_strings if name.startswith("--")]
    for word in message.split():
        if word.startswith("--") and (near := difflib.get_close_matches(word.partition("=")[0], flags, 1)):
            return f": did you mean {near[0]}?"
    return ""


def _check_value(flag: str, value: object, default: object) -> None:
    """Raise ValueError for what is a value to Python and none to a user: an empty text, no finite number."""
    if (value == "" != default) or (isinstance(value, tuple) and "" in value):
        raise ValueError(f"--{flag}: is empty")
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"--{flag} {value}: is not a number")


class _Help(argparse.RawDescriptionHelpFormatter, DefaultHelpFormatter):
    """Description and examples as written; after each flag its default, if it has one."""

    def _get_help_string(self, action: argparse.Action) -> str:
        told = action.help or ""
        if action.default in (None, False, [], argparse.SUPPRESS):
            return told
        if isinstance(action.default, list | tuple):
            return f"{told} (default: {' '.join(map(str, action.default))})"
        return f"{told} (default: %(default)s)"


def exit_codes_of(config: type[Any]) -> list[int]:
    """Return the exit codes that a command has, by its configuration."""
    return sorted({*_EVERYWHERE, *getattr(config, "EXITS", EXIT_CODES)})


def _parser(config: type[Any], prog: str, examples: str) -> ArgumentParser:
    docs = docstring_parser.parse_from_object(config)
    documented = (
        docstring_parser.parse_from_object(each).params for each in reversed(config.__mro__) if is_dataclass(each)
    )
    helps = {param.arg_name: param.description for params in documented for param in params}
    codes = "\n".join(f"  {code:<3} {EXIT_CODES[code]}" for code in exit_codes_of(config))
    parser = ArgumentParser(
        prog=prog,
        description=docs.description,
        epilog=f"examples:\n{examples.strip(chr(10))}\n\nexit codes:\n{codes}",
        formatter_class=_Help,
        exit_on_error=False,
        allow_abbrev=False,
        print_config="--print-%s",
    )
    types_ = get_type_hints(config)
    headings = {heading: parser.add_argument_group(heading) for heading in getattr(config, "GROUPS", {})}
    groups = {name: headings[heading] for heading, name in _headings(config)}
    for setting in _in_groups(config):
        name, kind = setting.name.rstrip("_"), _without_none(types_[setting.name])
        default = setting.default if setting.default_factory is MISSING else setting.default_factory()
        many = get_origin(kind) in (list, tuple)
        kind = get_args(kind)[0] if many else kind
        if setting.metadata.get("repeated"):
            many, kind = False, list[kind] | kind  # type: ignore[valid-type]
        told = helps.get(setting.name)
        if default is MISSING:
            parser.add_argument(name, metavar=name.upper(), type=kind, nargs="+" if many else None, help=told)
        elif setting.metadata.get("positional"):
            nargs = "*" if many else "?"
            parser.add_argument(name, metavar=name.upper(), type=kind, nargs=nargs, default=default, help=told)
        else:
            how: dict[str, Any] = {"type": kind, "nargs": "+"} if many else {"type": kind}
            if kind is bool:
                how = {"action": ActionYesNo(yes_prefix="", no_prefix="no-")}
            groups.get(setting.name, parser).add_argument(
                "--" + name.replace("_", "-"), default=default, help=told, **how
            )
    if "log_format" not in types_:
        told = "What is said on standard error: text for people, json for machines, an object a line."
        parser.add_argument("--log-format", type=LogFormat, default="text", help=told)
    if headings:  # what is under no heading comes last
        first, *others = [group for group in parser._action_groups if group.title != "positional arguments"]
        parser._action_groups = [*parser._action_groups[:1], *others, first]
    parser.add_argument("--config", action="config", help="YAML file of flags; those given here go before it.")
    return parser


def _headings(config: type[Any]) -> Iterator[tuple[str, str]]:
    """Yield the heading and the name of every field that is under one."""
    for heading, names in getattr(config, "GROUPS", {}).items():
        yield from ((heading, name) for name in names)


def _in_groups(config: type[Any]) -> list[Field[Any]]:
    """Return the fields in the order of the help: by heading, then the others."""
    order = {name: place for place, (_, name) in enumerate(_headings(config))}
    return sorted(fields(config), key=lambda setting: order.get(setting.name, len(order)))


def _without_none(kind: Any) -> Any:
    """Return X for X | None: None is what a flag not given means, not something to type."""
    rest = [each for each in get_args(kind) if each is not types.NoneType]
    return rest[0] if get_origin(kind) in (Union, types.UnionType) and len(rest) == 1 else kind


def _plain(message: str) -> str:
    """Return a parser's message as one line in the user's words."""
    message = re.sub(r'Parser key "(\w+)":', lambda key: "--" + key[1].replace("_", "-") + ":", message)
    message = re.sub(r"<class '(?:\w+\.)*(\w+)'>", r"\1", message)
    message = re.sub(r"typing\.Literal\[(.*?)\]", r"one of \1", message)
    message = re.sub(r"/--[\w-]+\+", "", message)  # jsonargparse's own way to add to a list
    # Of a flag that may be given several times: X or a list of X.
    message = re.sub(
        r"Does not validate.*\[list\[(\w+)\].*Got value: (.*?)\n.*", r"expected \1, got \2", message, flags=re.S
    )
    message = re.sub(r"Does not validate.*Given value: (.*)", _expected, message, flags=re.S)  # of one of several types
    message = re.sub(r"Expected an? (.*?)\. Got value: (.*)", r"expected \1, got \2", message)
    return " ".join(message.split())


def _expected(message: re.Match[str]) -> str:
    types = [name for name in re.findall(r"- Expected an? (.*)", message[0]) if name != "NoneType"]
    return f"expected {' or '.join(types)}, got {message[1]}"


def _full(error: OSError) -> int:
    _silence_output()
    told = f"cannot write to standard output ({error.strerror}): make space or send it elsewhere"
    return _fail(told, OutputError.exit_code)


def _has_temporary_folder() -> bool:
    """Whether temporary files can be made: a container that is read-only may have no place for them."""
    try:
        tempfile.gettempdir()
    except FileNotFoundError:
        return False
    return True


def _silence_output() -> None:
    """Write standard output nowhere: the exit must not try again to flush what is left of it."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _without_passwords(message: str) -> str:
    """Hide what stands before an @ in anything like an address, also in one that was mistyped or misplaced."""
    return re.sub(r"(\w+:/+)[^\s@]*@", r"\1***@", message)


def _fail(message: str, code: int) -> int:
    line = _without_passwords(" ".join(message.splitlines()))
    say(f"error: {line}", "error", logging.ERROR, exit_code=code)
    return code
