"""`python -m stream.keys`: makes this machine's keys, and says whose are trusted."""

import difflib
import sys
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from engine.command.cli import run
from engine.command.messages import say
from engine.errors import USAGE_ERROR
from stream.wire.keyring import PUBLIC, SECRET, Keyring

PROG = "python -m stream.keys"


@dataclass(frozen=True)
class New:
    """Make this machine's pair of keys: NAME.key to give away, NAME.key_secret to keep."""

    EXITS: ClassVar = (10, 11)

    name: str
    """What to call this machine: letters, digits, '.', '_' or '-'."""
    keys: str | None = None
    """Folder of the keys; by default KINETOKEN_KEYS, else keys in kinetoken's folder of settings."""


@dataclass(frozen=True)
class Show:
    """Show the folder, this machine's public key and those that are allowed."""

    EXITS: ClassVar = (10, 11)

    keys: str | None = None
    """Folder of the keys; by default KINETOKEN_KEYS, else keys in kinetoken's folder of settings."""


@dataclass(frozen=True)
class Allow:
    """Trust a public key.

    On a producer's machine that of a reader, who may connect at once, without a restart of the producer; on a
    reader's machine that of the producer.
    """

    EXITS: ClassVar = (10, 11)

    key: str
    """A .key file, or the 40 characters of a public key in quotation marks."""
    name: str | None = None
    """What to call it; by default the name of the file."""
    keys: str | None = None
    """Folder of the keys; by default KINETOKEN_KEYS, else keys in kinetoken's folder of settings."""


@dataclass(frozen=True)
class Revoke:
    """Trust a key no longer. Producers that run cut its readers off within about a second."""

    EXITS: ClassVar = (10, 11)

    name: str
    """Its name, as `list` shows it."""
    keys: str | None = None
    """Folder of the keys; by default KINETOKEN_KEYS, else keys in kinetoken's folder of settings."""


def new(config: New, stop: threading.Event) -> None:
    """Make a pair of keys."""
    keyring = Keyring(config.keys)
    identity = keyring.create(config.name)
    print(identity.public.decode())
    say(
        f"made {identity.name}{PUBLIC}, to give to those you trust, and {identity.name}{SECRET}, to keep here, "
        f"in {keyring.folder}",
        "keys made",
    )


def show(config: Show, stop: threading.Event) -> None:
    """Print the folder's keys, one a line."""
    keyring = Keyring(config.keys)
    print(f"folder   {keyring.folder}")
    if keyring.exists:
        identity = keyring.identity()
        print(f"own      {identity.public.decode()}  {identity.name}")
    for name, public in keyring.allowed().items():
        print(f"allowed  {public.decode()}  {name}")


def allow(config: Allow, stop: threading.Event) -> None:
    """Trust a public key."""
    keyring = Keyring(config.keys)
    name, public = keyring.allow(config.key, config.name)
    print(public.decode())
    say(f"allowed {name} in {keyring.folder}", "key allowed")


def revoke(config: Revoke, stop: threading.Event) -> None:
    """Trust a key no longer."""
    keyring = Keyring(config.keys)
    keyring.revoke(config.name)
    say(f"revoked {config.name} in {keyring.folder}", "key revoked")


COMMANDS: dict[str, tuple[Callable[[Any, threading.Event], None], type[Any]]] = {
    "new": (new, New),
    "list": (show, Show),
    "allow": (allow, Allow),
    "revoke": (revoke, Revoke),
}

HELP = f"""\
usage: {PROG} new NAME | list | allow KEY [--name NAME] | revoke NAME   (each with --keys DIR; see {PROG} new --help)

Makes this machine's pair of CURVE keys, and says whose keys are trusted.

on the producer's machine:   {PROG} new studio
on the reader's machine:     {PROG} new laptop
                             {PROG} allow studio.key     (brought from the producer's machine)
on the producer's machine:   {PROG} allow laptop.key     (brought from the reader's machine)
                             python -m stream.producer --camera 0 --bind tcp://0.0.0.0:5555
on the reader's machine:     python -m stream.subscriber --connect tcp://studio:5555"""


def main(argv: Sequence[str], prog: str = PROG) -> int:
    """Run a command line; return its exit code. prog: how the command was called."""
    told = HELP.replace(PROG, prog)
    name = argv[0] if argv else ""
    if name in COMMANDS:
        command, config = COMMANDS[name]
        return run(command, config, prog=f"{prog} {name}", examples=told.partition("\n\n")[2], argv=argv[1:])
    if name in ("-h", "--help"):
        print(told)
        return 0
    near = difflib.get_close_matches(name, COMMANDS, 1)
    hint = f"did you mean {near[0]}?" if near else f"say what to do: {', '.join(COMMANDS)}"
    print(f"error: {f'{prog} has no command {name!r}: ' if name else ''}{hint} (see {prog} --help)", file=sys.stderr)
    return USAGE_ERROR


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
