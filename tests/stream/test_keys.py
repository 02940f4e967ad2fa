"""The folder of keys and its command: closed to others, hard to get wrong, and never showing a secret."""

import os
import stat
import subprocess
import sys
from contextlib import suppress
from itertools import pairwise
from pathlib import Path

import pytest
import zmq
import zmq.auth
from hypothesis import example, given
from hypothesis import strategies as st

from stream.errors import SecurityError
from stream.keys import main
from stream.wire.keyring import Keyring, parse_public

KEY, OTHER = "fYT%0Wl@JUWP{@/hHlAu*TI1@o*T(m*Endarjpd?", "hLHv2b:U79D7NlY<$C-10&AJ*UtoiFe(&O(x!F/%"


@pytest.fixture(autouse=True)
def _default(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KINETOKEN_KEYS", str(tmp_path / "default"))


@pytest.fixture
def keyring(tmp_path: Path) -> Keyring:
    keyring = Keyring(tmp_path / "keys")
    keyring.create("studio")
    return keyring


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


class TestFolder:
    def test_a_path_that_looks_like_a_key_is_a_path(
        self, keyring: Keyring, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        other = Keyring(tmp_path / "other").create("other")
        monkeypatch.chdir(tmp_path)
        name = "x" * (len(other.public) - len(".key")) + ".key"
        Path(name).write_bytes((tmp_path / "other" / "other.key").read_bytes())
        assert keyring.allow(name)[1] == other.public

    @pytest.mark.parametrize("umask", [0, 0o022, 0o077])
    def test_nobody_else_may_look(self, umask: int, tmp_path: Path) -> None:
        before = os.umask(umask)
        try:
            keyring = Keyring(tmp_path / "deep" / "keys")
            keyring.create("studio")
            keyring.allow(KEY, "laptop")
        finally:
            os.umask(before)
        assert mode(keyring.folder) == mode(keyring.folder / "allowed") == 0o700
        assert mode(keyring.folder / "studio.key_secret") == 0o600
        assert sorted(path.name for path in keyring.folder.rglob("*")) == [
            "allowed",
            "laptop.key",
            "studio.key",
            "studio.key_secret",
        ]

    @pytest.mark.parametrize("loose", [0o640, 0o604, 0o620, 0o666])
    def test_a_secret_open_to_others_is_refused(self, loose: int, keyring: Keyring) -> None:
        secret = keyring.folder / "studio.key_secret"
        secret.chmod(loose)
        with pytest.raises(SecurityError, match=rf"open to other users \(mode {loose:03o}\): chmod 600 {secret}$"):
            keyring.identity()
        secret.chmod(0o400)
        assert keyring.identity().name == "studio"

    def test_a_folder_open_to_others_is_refused(self, keyring: Keyring) -> None:
        keyring.folder.chmod(0o750)
        for use in (keyring.identity, lambda: keyring.allow(KEY, "laptop")):
            with pytest.raises(SecurityError, match=f"chmod 700 {keyring.folder}$"):
                use()

    def test_other_programs_read_the_files(self, keyring: Keyring) -> None:
        identity = keyring.identity()
        keyring.allow(KEY, "laptop")
        assert zmq.auth.load_certificate(keyring.folder / "studio.key_secret") == (identity.public, identity.secret)
        assert zmq.auth.load_certificate(keyring.folder / "studio.key") == (identity.public, None)
        assert zmq.auth.load_certificates(keyring.folder / "allowed") == {KEY.encode(): True}

    def test_files_of_other_programs_are_read(self, tmp_path: Path) -> None:
        tmp_path.chmod(0o700)
        _, secret = zmq.auth.create_certificates(tmp_path, "theirs")
        os.chmod(secret, 0o600)
        identity = Keyring(tmp_path).identity()
        assert zmq.curve_public(identity.secret) == identity.public

    def test_the_environment_names_the_default(self, tmp_path: Path) -> None:
        assert Keyring().folder == tmp_path / "default"
        assert Keyring(tmp_path / "other").folder == tmp_path / "other"

    def test_a_folder_is_one_identity(self, keyring: Keyring) -> None:
        before = keyring.identity()
        with pytest.raises(SecurityError, match=r"already holds the keys of studio: a folder is one identity"):
            keyring.create("other")
        with pytest.raises(SecurityError, match="already holds"):
            keyring.create("studio")
        assert keyring.identity() == before
        (keyring.folder / "other.key_secret").write_text("", encoding="utf-8")
        with pytest.raises(SecurityError, match="holds the keys of other, studio"):
            keyring.identity()

    def test_without_keys_it_says_how_to_make_them(self, tmp_path: Path) -> None:
        with pytest.raises(SecurityError, match=r"make them with python -m stream\.keys new NAME$"):
            Keyring().identity()
        with pytest.raises(SecurityError, match=rf"stream\.keys new NAME --keys {tmp_path}/other$"):
            Keyring(tmp_path / "other").identity()

    @pytest.mark.parametrize("damage", ["", "metadata\ncurve\n", 'curve\n    public-key = "short"\n', "\x00\xff"])
    def test_damage_is_told_and_lets_nobody_in(self, damage: str, keyring: Keyring) -> None:
        keyring.allow(KEY, "laptop")
        (keyring.folder / "allowed" / "torn.key").write_text(damage, encoding="utf-8")
        with pytest.raises(SecurityError, match=r"torn\.key"):
            keyring.allowed()
        assert keyring.readers() == {KEY.encode(), keyring.identity().public}
        secret = keyring.folder / "studio.key_secret"
        secret.write_text(damage, encoding="utf-8")
        with pytest.raises(SecurityError, match=r"studio\.key_secret"):
            keyring.identity()

    def test_a_pair_that_does_not_fit_is_damage(self, keyring: Keyring) -> None:
        secret = keyring.folder / "studio.key_secret"
        secret.write_text(
            secret.read_text(encoding="utf-8").replace(keyring.identity().public.decode(), KEY), encoding="utf-8"
        )
        with pytest.raises(SecurityError, match="do not belong together"):
            keyring.identity()

    @pytest.mark.parametrize("odd", [".#laptop.key", "lock.key"])
    def test_an_odd_file_does_not_hide_what_changes(
        self, keyring: Keyring, odd: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        keyring.allow(KEY, "laptop")
        (keyring.folder / "allowed" / odd).symlink_to("user@machine.1234:5678")  # as editors lock files
        own = keyring.identity().public
        before = keyring.stamp()
        assert keyring.readers() == keyring.readers() == {KEY.encode(), own}
        keyring.allow(OTHER, "guest") if odd.startswith(".") else (keyring.folder / "allowed" / "laptop.key").unlink()
        assert keyring.stamp() != before
        assert keyring.readers() == ({KEY.encode(), OTHER.encode(), own} if odd.startswith(".") else {own})
        assert len([told for told in caplog.messages if odd in told]) == (not odd.startswith("."))

    def test_every_change_shows_in_the_stamp(self, keyring: Keyring) -> None:
        stamps = [keyring.stamp()]
        keyring.allow(KEY, "laptop")
        stamps.append(keyring.stamp())
        keyring.revoke("laptop")
        stamps.append(keyring.stamp())
        keyring.allow(OTHER, "laptop")
        stamps.append(keyring.stamp())
        (keyring.folder / "allowed" / "laptop.key").write_text("torn", encoding="utf-8")
        stamps.append(keyring.stamp())
        assert all(one != other for one, other in pairwise(stamps))

    def test_a_public_key_never_looks_like_a_flag(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        pairs = iter([(b"-" + b"x" * 39, b"y" * 40), (KEY.encode(), b"y" * 40)])
        monkeypatch.setattr(zmq, "curve_keypair", lambda: next(pairs))
        assert Keyring(tmp_path / "keys").create("studio").public == KEY.encode()


class TestTrust:
    def test_names_and_keys_stay_one_to_one(self, keyring: Keyring) -> None:
        keyring.allow(KEY, "laptop")
        assert keyring.allow(KEY, "laptop") == ("laptop", KEY.encode())  # once more is no harm
        with pytest.raises(SecurityError, match="laptop is allowed with another key: revoke laptop first"):
            keyring.allow(OTHER, "laptop")
        with pytest.raises(SecurityError, match="phone would be the key of laptop again"):
            keyring.allow(KEY, "phone")
        assert keyring.allowed() == {"laptop": KEY.encode()}

    def test_a_secret_is_never_taken(self, keyring: Keyring, tmp_path: Path) -> None:
        secret = keyring.folder / "studio.key_secret"
        disguised = tmp_path / "studio.key"
        disguised.write_text(secret.read_text(encoding="utf-8"), encoding="utf-8")
        for source in (secret, disguised):
            with pytest.raises(SecurityError, match="it stays where it was made"):
                keyring.allow(str(source), "x")

    @pytest.mark.parametrize("name", ["", "a/b", "../x", ".hidden", "x" * 65, "a b", "a\n"])
    def test_bad_names(self, name: str, keyring: Keyring) -> None:
        for use in (lambda: keyring.allow(KEY, name), lambda: keyring.revoke(name), lambda: keyring.create(name)):
            with pytest.raises(SecurityError, match=r"cannot name a key|already holds"):
                use()

    def test_revoking_a_stranger_names_the_others(self, keyring: Keyring) -> None:
        with pytest.raises(SecurityError, match="allowed: nobody"):
            keyring.revoke("laptop")
        keyring.allow(KEY, "laptop")
        with pytest.raises(SecurityError, match=r"phone is not allowed in .*; allowed: laptop$"):
            keyring.revoke("phone")
        keyring.revoke("laptop")
        assert keyring.allowed() == {}

    def test_which_producer(self, keyring: Keyring, tmp_path: Path) -> None:
        with pytest.raises(SecurityError, match=r"which producer\? no key is allowed .* --server-key"):
            keyring.server_key(None)
        keyring.allow(KEY, "laptop")
        assert keyring.server_key(None) == keyring.server_key("laptop") == keyring.server_key(KEY) == KEY.encode()
        assert keyring.server_key("studio") == keyring.identity().public
        assert keyring.server_key(str(keyring.folder / "studio.key")) == keyring.identity().public
        keyring.allow(str(keyring.folder / "studio.key"))
        with pytest.raises(SecurityError, match=r"2 keys are allowed \(laptop, studio\)"):
            keyring.server_key(None)

    @given(st.text(max_size=60))
    @example("~nobody-of-this-name")
    @example("\0")
    @example("~\0")
    @example("~\ud800")
    def test_no_text_is_taken_for_a_key_by_mistake(self, text: str) -> None:
        key = None
        with suppress(SecurityError):
            key = parse_public(text)
        assert key is None or key == text.encode()


class TestCommand:
    def test_two_machines(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        studio, laptop = (str(tmp_path / name) for name in ("a", "b"))
        assert main(["new", "studio", "--keys", studio]) == 0
        public = capsys.readouterr().out.strip()
        assert main(["new", "laptop", "--keys", laptop]) == 0
        assert main(["allow", f"{laptop}/laptop.key", "--keys", studio]) == 0
        assert main(["allow", public, "--name", "studio", "--keys", laptop]) == 0
        capsys.readouterr()
        assert main(["list", "--keys", studio]) == 0
        shown = capsys.readouterr().out
        assert f"folder   {studio}\nown      {public}  studio\n" in shown
        assert shown.endswith("  laptop\n")
        assert main(["revoke", "laptop", "--keys", studio]) == 0
        capsys.readouterr()
        assert main(["list", "--keys", studio]) == 0
        assert "laptop" not in capsys.readouterr().out
        assert Keyring(laptop).server_key(None) == public.encode()

    @pytest.mark.parametrize(
        ("line", "code", "told"),
        [
            ("", 2, "error: say what to do: new, list, allow, revoke"),
            ("make x", 2, "has no command 'make': say what to do: new, list, allow, revoke"),
            ("revok x", 2, "did you mean revoke?"),
            ("new", 2, "error: "),
            ("new a/b", 11, "cannot name a key"),
            ("allow nonsense", 11, "no such file, nor 40 characters of a key"),
            (f"allow {KEY}", 11, "give one with --name"),
            ("revoke laptop", 11, "allowed: nobody"),
            ("allow", 2, "error: "),
        ],
    )
    def test_mistakes_are_one_line(self, line: str, code: int, told: str, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(line.split()) == code
        said = capsys.readouterr()
        assert said.out == ""
        assert told in said.err
        assert len(said.err.splitlines()) == 1

    def test_help(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["--help"]) == 0
        assert "python -m stream.keys allow laptop.key" in capsys.readouterr().out

    def test_no_output_shows_the_secret(self, tmp_path: Path) -> None:
        """Neither that of the command nor that of a producer that cannot use the key."""
        said = ""
        commands = [["stream.keys", "new", "studio"], ["stream.keys", "list"], ["stream.keys", "new", "again"]]
        commands.append(["stream.keys", "allow", str(tmp_path / "default" / "studio.key_secret")])
        for module, *flags in commands:
            done = subprocess.run(
                [sys.executable, "-m", module, *flags], capture_output=True, encoding="utf-8", timeout=60
            )
            said += done.stdout + done.stderr
        identity = Keyring().identity()
        assert identity.public.decode() in said
        assert identity.secret.decode() not in said + repr(identity)
