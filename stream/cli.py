"""What every command shares: flags from a dataclass, one line an error, exit codes and an orderly stop."""

import _thread
import argparse
import io
import os
import re
import signal
import sys
import threading
import traceback
import types
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import fields
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

import docstring_parser
from jsonargparse import ActionYesNo, ArgumentError, ArgumentParser, DefaultHelpFormatter

from stream.errors import EXIT_CODES, KinetokenError

C = TypeVar("C")

USAGE_ERROR = 2


def run(
    main: Callable[[C, threading.Event], None],
    config: type[C],
    *,
    prog: str,
    examples: str,
    argv: Sequence[str] | None = None,
) -> int:
    """Parse the command line into a `config`, call `main` with it and a stop event, return the exit code.

    config: a dataclass whose fields all have defaults. Its docstring is the description; the string under a
    field is the help of its flag, `max_persons` becoming `--max-persons` and a bool also `--no-...`.
    ValueError from its `__post_init__` is a usage error. `main` should return soon after the event is set, by
    Ctrl-C or SIGTERM. examples: command lines for --help. argv: by default the arguments of the process.
    """
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(line_buffering=True)
    try:
        settings = parse(config, argv, prog=prog, examples=examples)
    except (ArgumentError, ValueError) as error:
        return _fail(f"{_plain(str(error))} (see {prog} --help)", USAGE_ERROR)
    try:
        with _stop_on_signal() as stop:
            main(settings, stop)
        if sys.stdout is not None:  # it is None where a shell has closed it
            sys.stdout.flush()
    except KinetokenError as error:
        return _fail(str(error), error.exit_code)
    except BrokenPipeError:
        # Whoever read our output, such as `head`, has enough. The exit must not try to flush to them again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except Exception as error:
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
    # In a file, null means a flag that is not given.
    return config(**{name: value for name, value in vars(values).items() if name != "config" and value is not None})


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
        flag, kind = "--" + setting.name.replace("_", "-"), _without_none(types_[setting.name])
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


@contextmanager
def _stop_on_signal() -> Iterator[threading.Event]:
    """Give an event that Ctrl-C and SIGTERM set, instead of what they did before."""
    stop = threading.Event()

    def on_signal(signum: int, frame: types.FrameType | None) -> None:
        # From a thread of its own: the interrupted code may hold the event's lock.
        _thread.start_new_thread(stop.set, ())

    before = {number: signal.signal(number, on_signal) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _without_passwords(message: str) -> str:
    """Hide what stands before an @ in anything like an address, also in one that was mistyped or misplaced."""
    return re.sub(r"(\w+:/+)[^\s@]*@", r"\1***@", message)


def _fail(message: str, code: int) -> int:
    print("error:", _without_passwords(" ".join(message.splitlines())), file=sys.stderr)
    return code
