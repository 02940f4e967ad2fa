"""A folder of CURVE keys: one's own pair, and the public keys of those one trusts."""

import logging
import os
import re
import struct
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import platformdirs
import zmq
from zmq.auth import load_certificate
from zmq.utils import z85

from engine.spec import NAME
from stream.errors import SecurityError

VARIABLE = "KINETOKEN_KEYS"
"""The environment variable that names the folder where no flag does."""

PUBLIC, SECRET = ".key", ".key_secret"

_log = logging.getLogger(__name__)

_CURVE_KEY = re.compile(r"[0-9a-zA-Z.\-:+=^!/*?&<>()\[\]{}@%$#]{40}")


class Identity(NamedTuple):
    """A key pair and its name; the keys as 40 characters of Z85."""

    name: str
    public: bytes
    secret: bytes

    def __repr__(self) -> str:
        """Return a text without the secret, whoever prints it."""
        return f"Identity({self.name!r}, {self.public!r})"


class Keyring:
    """The keys in a folder; a folder is one identity, in as many programs as share it.

    `NAME.key` and `NAME.key_secret` are its own pair, `allowed/*.key` the public keys that may read from it or, to
    a reader, of the producers it trusts. The files are certificates as pyzmq and czmq read them. The folder and
    the secret must be closed to other users, as ssh wants it.

    folder: by default the environment's KINETOKEN_KEYS, else `keys` in the user's folder of settings.
    """

    def __init__(self, folder: str | Path | None = None) -> None:
        chosen = folder or os.environ.get(VARIABLE) or platformdirs.user_config_path("kinetoken") / "keys"
        self.folder = Path(os.path.expanduser(chosen))
        self._allowed = self.folder / "allowed"
        self._odd: set[Path] = set()  # files that were named

    @property
    def exists(self) -> bool:
        """Whether there is a key pair, whatever state it is in."""
        return bool(self._secrets())

    def create(self, name: str) -> Identity:
        """Make the folder's key pair. Raises SecurityError if it has one, or cannot hold one."""
        _check_name(name)
        if there := self._secrets():
            raise SecurityError(
                f"{self.folder} already holds the keys of {there[0].stem}: a folder is one identity; "
                "choose another with --keys"
            )
        public, secret = zmq.curve_keypair()
        while public.startswith(b"-"):  # on a command line it would look like a flag
            public, secret = zmq.curve_keypair()
        try:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            _check_closed(self.folder)
            # The secret last: as long as it is not there, there is no pair.
            _write(self.folder / f"{name}{PUBLIC}", _certificate(public), 0o644)
            _write(self.folder / f"{name}{SECRET}", _certificate(public, secret), 0o600)
        except OSError as error:
            raise SecurityError(f"cannot write keys to {self.folder}: {error.strerror or error}") from error
        return Identity(name, public, secret)

    def identity(self) -> Identity:
        """Return the folder's own pair. Raises SecurityError if it is missing, damaged or open to other users."""
        secrets = self._secrets()
        if not secrets:
            if self.folder.exists() and not os.access(self.folder, os.R_OK | os.X_OK):
                raise SecurityError(f"cannot read {self.folder}: it must belong to the user that this runs as")
            raise SecurityError(f"no keys in {self.folder}: make them with python -m stream.keys new NAME{self._flag}")
        if len(secrets) > 1:
            names = ", ".join(path.stem for path in secrets)
            raise SecurityError(f"{self.folder} holds the keys of {names}: a folder is one identity; move the others")
        _check_closed(self.folder)
        _check_closed(secrets[0])
        public, secret = _load(secrets[0])
        try:
            fits = secret is not None and zmq.curve_public(secret) == public
        except (ValueError, zmq.ZMQError):
            fits = False
        if secret is None or not fits:
            raise SecurityError(f"{secrets[0]} is damaged: its two keys do not belong together; make new ones")
        return Identity(secrets[0].stem, public, secret)

    def allowed(self) -> dict[str, bytes]:
        """Return the trusted public keys by name. Raises SecurityError for a damaged file."""
        return {path.stem: _load(path)[0] for path in self._allowed_files()}

    def readers(self) -> frozenset[bytes]:
        """Return the public keys that may connect: those allowed, and the folder's own. Never raises.

        A damaged file lets nobody in, and is named once in the log; `allowed` raises for it.
        """
        keys = set()
        for path in (*self._allowed_files(), *self._secrets()):
            try:
                keys.add(_load(path)[0])
            except SecurityError as error:
                if path not in self._odd:
                    self._odd.add(path)
                    _log.warning("%s; it is left out", error)
        return frozenset(keys)

    def stamp(self) -> object:
        """Return what changes whenever a key is allowed or revoked; cheap to ask for."""
        facts: list[tuple[str | int, ...]] = []
        try:
            with os.scandir(self._allowed) as entries:
                for entry in entries:
                    try:
                        stat = entry.stat()
                    except OSError:  # such as a link to nowhere: an editor's lock
                        facts.append((entry.name,))
                        continue
                    facts.append((entry.name, stat.st_ino, stat.st_mtime_ns, stat.st_size))
        except OSError:
            return None
        return sorted(facts)

    def allow(self, source: str, name: str | None = None) -> tuple[str, bytes]:
        """Trust a public key, given as a .key file or as its 40 characters; return its name and the key.

        name: by default that of the file. Raises SecurityError if it is no key, or the name or key is taken.
        """
        public = parse_public(source)
        if name is None:
            if public == source.encode():
                raise SecurityError("a key by itself has no name: give one with --name")
            name = Path(source).stem
        _check_name(name)
        for known, key in self.allowed().items():
            if (known == name) != (key == public):
                why = "is allowed with another key" if known == name else f"would be the key of {known} again"
                raise SecurityError(f"{name} {why}: revoke {known} first, or choose another --name")
        try:
            self._allowed.mkdir(mode=0o700, parents=True, exist_ok=True)
            _check_closed(self.folder)
            _write(self._allowed / f"{name}{PUBLIC}", _certificate(public), 0o644)
        except OSError as error:
            raise SecurityError(f"cannot write to {self._allowed}: {error.strerror or error}") from error
        return name, public

    def revoke(self, name: str) -> None:
        """Trust a key no longer. Raises SecurityError if there is none of that name."""
        try:
            (self._allowed / f"{_check_name(name)}{PUBLIC}").unlink()
        except FileNotFoundError:
            known = ", ".join(path.stem for path in self._allowed_files()) or "nobody"
            raise SecurityError(f"{name} is not allowed in {self.folder}; allowed: {known}") from None
        except OSError as error:
            raise SecurityError(f"cannot revoke {name}: {error.strerror or error}") from error

    def server_key(self, source: str | None) -> bytes:
        """Return a producer's public key: a file, 40 characters or the name of one allowed here, or of the own.

        source: None for the only key that is allowed. Raises SecurityError.
        """
        allowed = self.allowed()
        if source is None:
            if len(allowed) == 1:
                return next(iter(allowed.values()))
            many = f"{len(allowed)} keys are allowed ({', '.join(allowed)})" if allowed else "no key is allowed"
            raise SecurityError(
                f"which producer? {many} in {self.folder}: give the producer's public key with --server-key, "
                f"or python -m stream.keys allow FILE{self._flag}"
            )
        if self.exists and source == self.identity().name:
            return self.identity().public  # a producer on this machine
        return allowed[source] if source in allowed else parse_public(source)

    @property
    def _flag(self) -> str:
        """The flag that names this folder to another command, if it needs one."""
        return "" if self.folder == Keyring().folder else f" --keys {self.folder}"

    def _secrets(self) -> list[Path]:
        return sorted(self.folder.glob(f"*{SECRET}"))

    def _allowed_files(self) -> list[Path]:
        # What begins with a dot is not a key's name but an editor's, or half written.
        return sorted(path for path in self._allowed.glob(f"*{PUBLIC}") if not path.name.startswith("."))


def parse_public(source: str) -> bytes:
    """Return the public key in a .key file, or of 40 characters. Raises SecurityError."""
    path = Path(source)
    with suppress(ValueError):  # "~" and what cannot be a user's name
        path = Path(os.path.expanduser(source))
    if path.suffix == SECRET:
        raise SecurityError(f"{source} is a secret: it stays where it was made; give {path.stem}{PUBLIC}")
    if not path.is_file() and _CURVE_KEY.fullmatch(source):
        return _check_key(source.encode(), source)
    public, secret = _load(path)
    if secret is not None:
        raise SecurityError(f"{source} holds a secret key: it stays where it was made; give the public one")
    return public


def _load(path: Path) -> tuple[bytes, bytes | None]:
    if path.exists() and not path.is_file():  # such as a pipe, which would never end
        raise SecurityError(f"{path} is not a file: give a .key file as python -m stream.keys new makes it")
    try:
        public, secret = load_certificate(path)
    except OSError as error:
        why = error.strerror or "no such file, nor 40 characters of a key"
        raise SecurityError(f"cannot read the key {path}: {why}") from error
    except ValueError as error:
        raise SecurityError(f"{path} holds no key: give a .key file as python -m stream.keys new makes it") from error
    return _check_key(public, str(path)), secret


def _check_key(public: bytes, where: str) -> bytes:
    try:
        sound = _CURVE_KEY.fullmatch(public.decode()) is not None and len(z85.decode(public)) == 32
    except (ValueError, struct.error):
        sound = False
    if not sound:
        raise SecurityError(f"{where}: not a public key: it has 40 characters of Z85")
    return public


def _check_name(name: str) -> str:
    if not re.fullmatch(NAME, name):
        raise SecurityError(f"{name!r} cannot name a key: use 1 to 64 letters, digits, '.', '_' or '-'")
    return name


def _check_closed(path: Path) -> None:
    """Raise SecurityError if other users may look into a file or folder."""
    try:
        mode = path.stat().st_mode & 0o777
    except OSError as error:
        raise SecurityError(f"cannot read {path}: {error.strerror or error}") from error
    if os.name == "posix" and mode & 0o077:
        tight = "700" if path.is_dir() else "600"
        raise SecurityError(f"{path} is open to other users (mode {mode:03o}): chmod {tight} {path}")


def _certificate(public: bytes, secret: bytes | None = None) -> str:
    """Return a certificate in the format of czmq (ZPL)."""
    kind = "secret: keep it on this machine" if secret else "public: give it to those you trust"
    lines = [f"# CURVE key of kinetoken, {kind}", "metadata", "curve", f'    public-key = "{public.decode()}"']
    if secret:
        lines.append(f'    secret-key = "{secret.decode()}"')
    return "\n".join(lines) + "\n"


def _write(path: Path, text: str, mode: int) -> None:
    """Write a whole file under its name, or nothing; nobody else can open it before it has its mode."""
    handle, draft = tempfile.mkstemp(dir=path.parent, prefix=".draft-")  # made with mode 600
    try:
        with os.fdopen(handle, "w") as file:
            file.write(text)
        os.chmod(draft, mode)
        os.replace(draft, path)
    except BaseException:
        os.unlink(draft)
        raise
