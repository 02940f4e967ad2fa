"""Who gets in: only listed keys, at both sockets, whatever becomes of the guard; and what a reader is told."""

import os
import re
import stat
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import zmq

from curve_samples import PATIENCE, READERS, SOCKETS, Folders, Matrix, Visitor
from engine.command.cli import run
from stream import producer, subscriber
from stream.client import TokenStream
from stream.errors import RefusedError, SecurityError
from stream.publish.control import ControlServer
from stream.publish.publisher import Publisher
from stream.subscribe.control_client import Asker
from stream.wire import security as security_module
from stream.wire.keyring import Keyring
from stream.wire.packets import Packet
from stream.wire.requests import Ping, Pong
from stream.wire.security import Guard, Security, is_local
from wire_samples import hop_of, next_packet

ANY_PORT = "tcp://127.0.0.1:*"
DEADLY = pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")


@pytest.fixture
def folders(tmp_path: Path) -> Folders:
    return Folders(tmp_path)


@pytest.fixture(autouse=True)
def _own_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test finds the keys of whoever runs it."""
    monkeypatch.setenv("KINETOKEN_KEYS", str(tmp_path / "default"))


def security(keyring: Keyring) -> Security:
    return Security(keys=str(keyring.folder))


@contextmanager
def producing(folders: Folders, bind: str = ANY_PORT) -> Iterator[tuple[Publisher, ControlServer]]:
    """Run a publisher and its control socket with keys."""
    closed = security(folders.producer)
    with (
        Publisher(bind, "demo", security=closed) as publisher,
        ControlServer(publisher.history, beside=publisher.address, security=closed) as control,
    ):
        publisher.control = control.told
        yield publisher, control


def until(condition: Callable[[], object], what: str) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, f"waited in vain: {what}"
        time.sleep(0.002)


def knock(guard: Guard, address: str, kind: int, folders: Folders) -> None:
    """Let a listed reader come to a socket whose guard cannot but die of it."""
    with Visitor(address, kind, "listed", folders) as visitor:
        until(lambda: not guard.alive, "the guard is dead")
        visitor.look()
        assert not visitor.let_in


@pytest.fixture
def deadly(monkeypatch: pytest.MonkeyPatch) -> None:
    """The next handshake kills the guard that is asked."""

    def die(*ignored: object) -> None:
        raise RuntimeError("killed by the test")

    monkeypatch.setattr(Guard, "_reply", die)


class TestMatrix:
    @pytest.mark.parametrize("bind", [ANY_PORT, "tcp://[::1]:*", "ipc://{tmp}/tokens"])
    def test_only_the_listed_hears(self, bind: str, folders: Folders, tmp_path: Path) -> None:
        with producing(folders, bind.format(tmp=tmp_path)) as (publisher, control):
            addresses = {"stream": publisher.address, "control": control.address}
            cells = Matrix().run(addresses, folders, 50, lambda: publisher.publish(**hop_of())).cells
        assert set(cells) == {(place, reader) for place in SOCKETS for reader in READERS}
        for (_, reader), seen in cells.items():
            if reader == "listed":
                assert seen.heard >= 50
                assert (seen.holes, seen.failures, seen.let_in) == (0, 0, True)
            else:
                assert (seen.heard, seen.let_in) == (0, False)
                assert seen.failures >= 3

    def test_the_listed_hears_all(self, folders: Folders) -> None:
        with (
            producing(folders) as (publisher, control),
            TokenStream(publisher.address, security=security(folders.listed)) as stream,
            Asker(control.address, security(folders.listed)) as asker,
        ):
            assert publisher.wait_for_subscriber(PATIENCE)
            for _ in range(100):
                publisher.publish(**hop_of())
            assert [next_packet(stream).seq for _ in range(100)] == list(range(100))
            assert isinstance(asker.wait(Ping(id=0, t=1)), Pong)


class TestGuard:
    """What a guard does when it dies, and when its list changes."""

    @DEADLY
    @pytest.mark.usefixtures("deadly")
    def test_a_dead_guard_lets_nobody_in_and_closes_the_stream(self, folders: Folders) -> None:
        with producing(folders) as (publisher, _):
            guard = publisher._outlet._socket.guard
            assert guard is not None
            knock(guard, publisher.address, zmq.SUB, folders)
            with pytest.raises(SecurityError, match=r"guard .* has died"):
                publisher.status(0, {})
            with pytest.raises(SecurityError, match=r"guard .* has died"):
                publisher.publish(**hop_of())
            with Publisher(publisher.address, "demo"):
                pass  # the port is free again

    @DEADLY
    @pytest.mark.usefixtures("deadly")
    def test_a_dead_guard_closes_the_control_socket(self, folders: Folders) -> None:
        with producing(folders) as (publisher, control):
            control.check()
            guard = control._socket.guard
            assert guard is not None
            knock(guard, control.address, zmq.DEALER, folders)
            control._thread.join(PATIENCE)
            with pytest.raises(SecurityError, match=r"guard .* has died"):
                control.check()
            publisher.publish(**hop_of())  # its own guard lives

    @DEADLY
    @pytest.mark.usefixtures("deadly")
    def test_nobody_gets_in_before_the_death_is_noticed(self, folders: Folders) -> None:
        with producing(folders) as (publisher, _):
            guard = publisher._outlet._socket.guard
            assert guard is not None
            knock(guard, publisher.address, zmq.SUB, folders)
            for reader in READERS:
                with Visitor(publisher.address, zmq.SUB, reader, folders) as visitor:
                    for _ in range(50):
                        publisher._outlet._socket.send(b"secret")
                        visitor.look()
                        time.sleep(0.002)
                    assert (visitor.heard, visitor.let_in) == ([], False)

    def test_a_key_is_allowed_while_the_producer_runs(self, folders: Folders) -> None:
        with producing(folders) as (publisher, control):
            for address, kind in ((publisher.address, zmq.SUB), (control.address, zmq.DEALER)):
                with Visitor(address, kind, "unlisted", folders) as before:
                    until(lambda: before.look().failures, "the refusal")
                folders.producer.allow(str(folders.unlisted.folder / "unlisted.key"))
                with Visitor(address, kind, "unlisted", folders) as after:
                    until(lambda: after.look().let_in, "the entry")
                folders.producer.revoke("unlisted")

    @pytest.mark.parametrize("bind", [ANY_PORT, "tcp://0.0.0.0:*", "tcp://[::1]:*", "ipc://{tmp}/tokens"])
    def test_a_revoked_key_is_cut_off_and_the_others_miss_nothing(
        self, bind: str, folders: Folders, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(security_module, "LOOK_S", 0.05)
        folders.producer.allow(str(folders.unlisted.folder / "unlisted.key"), "guest")
        with (
            producing(folders, bind.format(tmp=tmp_path)) as (publisher, control),
            TokenStream(publisher.address, security=security(folders.listed)) as friend,
            Visitor(publisher.address, zmq.SUB, "unlisted", folders) as guest,
            Visitor(control.address, zmq.DEALER, "unlisted", folders) as asker,
        ):
            seqs: list[int] = []

            def go_on() -> bool:
                publisher.publish(**hop_of())
                asker.ask()
                guest.look()
                asker.look()
                while heard := friend.poll(0):
                    if isinstance(heard.message, Packet):
                        seqs.append(heard.message.seq)
                return True

            until(lambda: go_on() and (guest.heard and asker.heard and seqs), "all hear")
            folders.producer.revoke("guest")
            until(lambda: go_on() and (guest.failures and asker.failures), "both links are cut and refused")
            heard, answered, last = len(guest.heard), len(asker.heard), publisher.publish(**hop_of()).seq
            until(lambda: go_on() and seqs[-1] > last, "the other one hears on")
            assert (len(guest.heard), len(asker.heard)) == (heard, answered)
            assert seqs == list(range(seqs[0], seqs[-1] + 1))
            assert friend.total.gaps == 0
            assert not friend.lost

    def test_the_own_key_gets_in(self, folders: Folders) -> None:
        here = Security(keys=str(folders.producer.folder), server_key="producer")
        with producing(folders) as (publisher, _), TokenStream(publisher.address, security=here) as stream:
            assert publisher.wait_for_subscriber(PATIENCE)
            publisher.publish(**hop_of())
            assert next_packet(stream).seq == 0

    def test_no_thread_is_left(self, folders: Folders) -> None:
        before = set(threading.enumerate())
        with producing(folders):
            assert sum(thread.name == "guard" for thread in set(threading.enumerate()) - before) == 2
        until(lambda: not set(threading.enumerate()) - before, "all threads end")


class TestReader:
    """What a reader is told when there is no way in."""

    @pytest.mark.parametrize(
        ("reader", "told"),
        [
            (
                "unlisted",
                r"does not list this reader's key: run there: python -m stream\.keys allow '{key}' --name NAME$",
            ),
            ("wrong server key", "its key is not the expected one, or it has none"),
            ("plain", "lets in listed keys only: read it with --keys DIR and --server-key"),
        ],
    )
    def test_why_it_is_refused(self, reader: str, told: str, folders: Folders) -> None:
        own = folders.unlisted if reader == "unlisted" else folders.listed
        wrong = str(folders.unlisted.folder / "unlisted.key") if reader == "wrong server key" else None
        keys = Security() if reader == "plain" else Security(keys=str(own.folder), server_key=wrong)
        told = told.replace("{key}", re.escape(own.identity().public.decode()))
        with (
            producing(folders) as (publisher, _),
            TokenStream(publisher.address, security=keys) as stream,
            pytest.raises(RefusedError, match=told) as refused,
        ):
            stream.poll(PATIENCE)
        assert own.identity().secret.decode() not in str(refused.value)

    def test_a_producer_without_keys(self, folders: Folders) -> None:
        with (
            Publisher(ANY_PORT, "demo") as publisher,
            TokenStream(publisher.address, security=security(folders.listed)) as stream,
            pytest.raises(RefusedError, match=r"has no keys|or none"),
        ):
            stream.poll(PATIENCE)

    def test_a_producer_that_is_not_there_yet_is_waited_for(self, folders: Folders) -> None:
        with Publisher(ANY_PORT, "demo") as free:
            address = free.address
        with TokenStream(address, security=security(folders.listed)) as stream:
            assert stream.poll(0.3) is None
            with producing(folders, address) as (publisher, _):
                assert publisher.wait_for_subscriber(PATIENCE)
                publisher.publish(**hop_of())
                assert next_packet(stream).seq == 0


class TestAddresses:
    @pytest.mark.parametrize(
        ("address", "local"),
        [
            ("tcp://127.0.0.1:5555", True),
            ("tcp://127.8.9.10:*", True),
            ("tcp://[::1]:5555", True),
            ("tcp://localhost:5555", True),
            ("ipc:///tmp/tokens", True),
            ("inproc://tokens", True),
            ("tcp://0.0.0.0:5555", False),
            ("tcp://*:5555", False),
            ("tcp://[::]:5555", False),
            ("tcp://192.0.2.1:5555", False),
            ("tcp://localhost.example.org:5555", False),
            ("tcp://127.0.0.1.example.org:5555", False),
            ("tcp://127.0.0.1:0;192.0.2.1:5555", False),
            ("tcp://lo:5555", False),
        ],
    )
    def test_which_are_of_this_machine(self, address: str, local: bool) -> None:
        assert is_local(address) is local

    @pytest.mark.parametrize("address", ["tcp://0.0.0.0:*", "tcp://[::]:*", "tcp://*:*"])
    def test_beyond_this_machine_keys_are_needed(self, address: str, tmp_path: Path) -> None:
        both = r"goes beyond this machine: make keys .* --insecure$"
        with pytest.raises(SecurityError, match=both):
            Publisher(address, "demo")
        with Publisher(ANY_PORT, "demo") as publisher, pytest.raises(SecurityError, match=both):
            ControlServer(publisher.history, bind=address)
        with pytest.raises(SecurityError, match=both):
            TokenStream("tcp://192.0.2.1:5555")
        with Publisher(address, "demo", security=Security(insecure=True)):
            pass
        with TokenStream("tcp://192.0.2.1:5555", security=Security(insecure=True)):
            pass

    def test_beyond_this_machine_the_default_folder_is_taken(self, folders: Folders, tmp_path: Path) -> None:
        os.rename(folders.producer.folder, tmp_path / "default")
        with Publisher("tcp://0.0.0.0:*", "demo") as publisher:
            port = publisher.address.rpartition(":")[2]
            with (
                TokenStream(f"tcp://127.0.0.1:{port}") as plain,
                pytest.raises(RefusedError, match="listed keys only"),
            ):
                plain.poll(PATIENCE)
        with Publisher(ANY_PORT, "demo") as publisher, TokenStream(publisher.address):
            assert publisher.wait_for_subscriber(PATIENCE)  # on this machine nobody asked for keys

    @pytest.mark.parametrize(
        ("main", "config", "line", "code"),
        [
            (subscriber.main, subscriber.Config, "--connect tcp://192.0.2.1:5555", 11),
            (subscriber.main, subscriber.Config, "--connect tcp://192.0.2.1:5555 --keys nowhere", 11),
            (subscriber.main, subscriber.Config, "--insecure --server-key x", 2),
            (producer.main, producer.Config, "--demo --bind tcp://0.0.0.0:5555", 11),
            (producer.main, producer.Config, "--demo --insecure --keys nowhere", 2),
        ],
    )
    def test_exit_codes(self, main: Any, config: Any, line: str, code: int, capsys: pytest.CaptureFixture[str]) -> None:
        assert run(main, config, prog="test", examples="", argv=line.split()) == code
        (told,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error")]
        assert "--insecure" in told or "python -m stream.keys new" in told

    def test_a_library_without_curve_is_told(self, folders: Folders, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(zmq, "has", lambda what: what != "curve")
        with pytest.raises(SecurityError, match="built without CURVE"):
            Publisher(ANY_PORT, "demo", security=security(folders.producer))

    def test_settings_that_do_not_go_together(self) -> None:
        for settings in ({"keys": "x"}, {"server_key": "x"}):
            with pytest.raises(ValueError, match="--insecure"):
                Security(insecure=True, **settings)

    @pytest.mark.parametrize("keyed", [False, True])
    def test_a_socket_file_is_for_this_user_alone(self, keyed: bool, folders: Folders, tmp_path: Path) -> None:
        before = os.umask(0)
        try:
            with Publisher(
                f"ipc://{tmp_path}/tokens", "demo", security=security(folders.producer) if keyed else Security()
            ):
                assert stat.S_IMODE((tmp_path / "tokens").stat().st_mode) == 0o600
        finally:
            assert os.umask(before) == 0
