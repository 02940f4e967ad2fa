"""What every command shares: flags from a dataclass, one line an error, exit codes and an orderly stop."""

import argparse
import errno
import io
import logging
import math
import os
import re
import sys
import threading
import traceback
import types
from collections.abc import Callable, Sequence
from dataclasses import MISSING, fields
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

import docstring_parser
from jsonargparse import ActionYesNo, ArgumentError, ArgumentParser, DefaultHelpFormatter

from stream.command.lifecycle import Abandoned, stop_on_signal
from stream.command.messages import say, set_up
from stream.errors import EXIT_CODES, KinetokenError, OutputError

C = TypeVar("C")

USAGE_ERROR = 2

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)


def run(
    main: Callable[[C, threading.Event], None],
    config: type[C],
    *,
    prog: str,
    examples: str,
    argv: Sequence[str] | None = None,
) -> int:
    """Parse the command line into a `config`, call `main` with it and a stop event, return the exit code.

    config: a dataclass. Its docstring is the description; the string under a field is the help of its flag,
    `max_persons` becoming `--max-persons`, `from_` `--from` and a bool also `--no-...`. Fields without a default
    are arguments without a flag, in their order. What it says goes as its `log_format` wants it, if it has one.
    ValueError from its `__post_init__` is a usage error. `main` should return soon after the event is set, by
    Ctrl-C or SIGTERM. examples: command lines for --help. argv: by default the arguments of the process.
    """
    set_up("text")
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(line_buffering=True)
    try:
        settings = parse(config, argv, prog=prog, examples=examples)
    except (ArgumentError, ValueError, RecursionError) as error:
        return _fail(f"{_plain(str(error))} (see {prog} --help)", USAGE_ERROR)
    except OSError as error:  # --help and --print-config
        return _full(error)
    set_up(getattr(settings, "log_format", "text"))
    try:
        with stop_on_signal() as stop:
            main(settings, stop)
        if sys.stdout is not None:  # it is None where a shell has closed it
            sys.stdout.flush()
    except Abandoned:
        return 0
    except KinetokenError as error:
        return _fail(str(error), error.exit_code)
    except BrokenPipeError:
        _silence_output()  # whoever read it, such as `head`, has enough
    except Exception as error:
        if isinstance(error, OSError) and error.errno in _FULL and error.filename is None:
            return _full(error)
        traceback.print_exc()
        return _fail(f"unexpected failure, please report it: {error!r}", 1)
    return 0


def parse(config: type[C], argv: Sequence[str] | None, *, prog: str, examples: str = "") -> C:
    """Return the `config` that a command line asks for; as in `run`. Raises ArgumentError, ValueError."""
    # Later arguments win: with the configuration files first, flags win wherever they stand.
    files = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    files.add_argument("--config", action="append", default=[])
    given, rest = files.parse_known_args(argv)
    values = _parser(config, prog, examples).parse_args([f"--config={file}" for file in given.config] + rest)
    settings: type[Any] = config
    given_values = {setting.name: values[setting.name.rstrip("_")] for setting in fields(settings)}
    for setting in fields(settings):
        _check_value(setting.name.rstrip("_").replace("_", "-"), given_values[setting.name], setting.default)
    # In a file, null means a flag that is not given.
    return config(**{name: value for name, value in given_values.items() if value is not None})


def _check_value(flag: str, value: object, default: object) -> None:
    """Raise ValueError for what is a value to Python and none to a user: an empty text, no finite number."""
    if value == "" != default:
        raise ValueError(f"--{flag}: is empty")
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"--{flag} {value}: is no number")


class _Help(argparse.RawDescriptionHelpFormatter, DefaultHelpFormatter):
    """Description and examples as written; after each flag its default, if it has one."""

    def _get_help_string(self, action: argparse.Action) -> str:
        told = action.help or ""
        return told if action.default in (None, False, argparse.SUPPRESS) else f"{told} (default: %(default)s)"


def _parser(config: type[Any], prog: str, examples: str) -> ArgumentParser:
    docs = docstring_parser.parse_from_object(config)
    helps = {param.arg_name: param.description for param in docs.params}
    parser = ArgumentParser(
        prog=prog,
        description=docs.description,
        epilog=f"examples:\n{examples.strip(chr(10))}\n\n{EXIT_CODES}",
        formatter_class=_Help,
        exit_on_error=False,
        allow_abbrev=False,
        print_config="--print-%s",
    )
    types_ = get_type_hints(config)
    for setting in fields(config):
        name, kind = setting.name.rstrip("_"), _without_none(types_[setting.name])
        if setting.default is MISSING:
            many = get_origin(kind) is list
            each, count = (get_args(kind)[0], "+") if many else (kind, None)
            parser.add_argument(name, metavar=name.upper(), type=each, nargs=count, help=helps.get(setting.name))
            continue
        flag = "--" + name.replace("_", "-")
        how = {"action": ActionYesNo(yes_prefix="", no_prefix="no-")} if kind is bool else {"type": kind}
        parser.add_argument(flag, default=setting.default, help=helps.get(setting.name), **how)
    parser.add_argument("--config", action="config", help="YAML file of flags; those given here go before it.")
    return parser


def _without_none(kind: Any) -> Any:
    """Return X for X | None: None is what a flag not given means, not something to type."""
    rest = [each for each in get_args(kind) if each is not types.NoneType]
    return rest[0] if get_origin(kind) in (Union, types.UnionType) and len(rest) == 1 else kind


def _plain(message: str) -> str:
    """Return a parser's message as one line in the user's words."""
    message = re.sub(r'Parser key "(\w+)":', lambda key: "--" + key[1].replace("_", "-") + ":", message)
    message = re.sub(r"<class '(\w+)'>", r"\1", message)
    message = re.sub(r"typing\.Literal\[(.*?)\]", r"one of \1", message)
    message = re.sub(r"Expected an? (.*?)\. Got value: (.*)", r"expected \1, got \2", message)
    return " ".join(message.split())


def _full(error: OSError) -> int:
    _silence_output()
    told = f"standard output takes no more ({error.strerror}): make space or send it elsewhere"
    return _fail(told, OutputError.exit_code)


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
