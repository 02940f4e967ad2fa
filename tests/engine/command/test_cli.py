"""The shared command line: flags from a dataclass, one line an error, the right exit code, an orderly stop."""

import os
import signal
import tempfile
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pytest

from engine.command.cli import repeated, run
from stream.errors import LogError

Mode = Literal["slow", "fast"]


@dataclass(frozen=True)
class Config:
    """Do nothing in particular."""

    count: int | None = None
    """How many."""
    max_persons: int = 2
    """Most people."""
    rate: Literal["realtime", "max"] = "realtime"
    """Speed."""
    mode: Mode | None = None
    """Kind of speed."""
    loop: bool = False
    """Again and again, 100 % of it."""
    file: str | None = None
    """Where to."""
    seconds: float = 1.0
    """How long."""
    place: tuple[str, ...] = repeated()
    """Where; give it several times."""
    wait: float | Literal["ever"] | None = None
    """How long, or for ever."""
    number: tuple[int, ...] = repeated()
    """Which; give it several times."""

    def __post_init__(self) -> None:
        """Raise ValueError for values out of range."""
        if self.max_persons < 1:
            raise ValueError(f"--max-persons {self.max_persons}: at least 1")


Main = Callable[[Config, threading.Event], None]


def call(*argv: str, main: Main | None = None) -> tuple[int, list[Config]]:
    """Run with these arguments; return the exit code and what `main` was given."""
    given: list[Config] = []

    def keep(config: Config, stop: threading.Event) -> None:
        given.append(config)
        if main:
            main(config, stop)

    return run(keep, Config, prog="python -m test", examples="\n  test --loop\n", argv=argv), given


def test_where_no_temporary_file_can_be_made_the_line_names_tmpdir(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def main(config: Config, stop: threading.Event) -> None:
        with tempfile.TemporaryFile():
            pass

    assert call(main=main)[0] == 0
    capsys.readouterr()
    # As in a container that is read-only.
    monkeypatch.setattr(tempfile, "tempdir", None)
    monkeypatch.setattr(tempfile, "_candidate_tempdir_list", lambda: [str(tmp_path / "absent")])
    assert call(main=main)[0] == 10
    said = capsys.readouterr().err
    assert said.startswith("error: No usable temporary directory found")
    assert said.endswith(": set TMPDIR to a folder that can be written to\n")
    assert said.count("\n") == 1


@pytest.mark.parametrize(
    ("argv", "places", "numbers"),
    [
        (["--place", "a", "--number", "1", "--place=b c", "--number=2"], ("a", "b c"), (1, 2)),
        (["--place", "[x]", "--number", "0"], ("[x]",), (0,)),
        (["--place", '"12"'], ('"12"',), ()),
        (["--config", "one.yaml"], ("a",), (3,)),
        (["--config", "some.yaml"], ("a", "b"), (3, 4)),
        (["--config", "some.yaml", "--number", "5"], ("a", "b"), (5,)),
    ],
)
def test_flags_that_may_be_given_several_times(
    argv: list[str], places: tuple[str, ...], numbers: tuple[int, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("one.yaml").write_text("place: a\nnumber: 3\n", encoding="utf-8")
    Path("some.yaml").write_text("place: [a, b]\nnumber: [3, 4]\n", encoding="utf-8")
    assert call(*argv) == (0, [Config(place=places, number=numbers)])


@pytest.mark.parametrize(
    "argv", [["--number", "x"], ["--number"], ["--number", "--loop"], ["--number", "1", "--number", "x"]]
)
def test_one_of_several_values_that_is_wrong_is_one_line(argv: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert call(*argv)[0] == 2
    said = capsys.readouterr().err
    assert said.startswith("error: ")
    assert said.count("\n") == 1
    assert "--number" in said
    assert "Union" not in said
    assert "+" not in said


def test_flags_become_the_configuration() -> None:
    assert call() == (0, [Config()])
    argv = ["--count", "3", "--max-persons=7", "--rate", "max", "--loop", "--mode", "fast", "--file", "5"]
    assert call(*argv) == (0, [Config(3, 7, "max", "fast", True, "5")])


def test_a_file_gives_flags_and_the_command_line_goes_before_it(tmp_path: Path) -> None:
    file = tmp_path / "run.yaml"
    file.write_text("count: 3\nmax_persons: 4\nloop: true\nmode: slow\n", encoding="utf-8")
    given = Config(count=3, max_persons=4, loop=True, mode="slow")
    assert call("--config", str(file)) == (0, [given])
    expected = (0, [Config(count=3, max_persons=9, mode="slow")])
    assert call("--config", str(file), "--max-persons", "9", "--no-loop") == expected
    assert call("--max-persons", "9", "--no-loop", f"--config={file}") == expected


@pytest.mark.parametrize(
    ("argv", "line"),
    [
        ("--count x", "--count: expected int, got x"),
        ("--count 1.5", "--count: expected int, got 1.5"),
        ("--rate warp", "--rate: expected one of 'realtime', 'max', got warp"),
        ("--mode warp", "--mode: expected one of 'slow', 'fast', got warp"),
        ("--wait long", "--wait: expected float or one of 'ever', got long"),
        ("--max-persons 0", "--max-persons 0: at least 1"),
        ("--nope", "unrecognized arguments: --nope"),
        ("--coun 3", "unrecognized arguments: --coun 3: did you mean --count?"),
        ("stray", "unrecognized arguments: stray"),
        ("--count", "argument --count: expected one argument"),
        ("--seconds 1e400", "--seconds inf: is not a number"),
        ("--file=", "--file: is empty"),
        ("--config /no/such.yaml", "--config: File does not exist"),
        ("--config", "argument --config: expected one argument"),
    ],
)
def test_bad_flags_get_one_line_and_exit_code_2(argv: str, line: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(*argv.split()) == (2, [])
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith(f"error: {line}")
    assert err.endswith("(see python -m test --help)\n")
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    "text", ["count: many", "unknown: 1", "just text", "a: [", "- 1", "count: 1.5", "seconds: .nan", "a: &a [*a]", ""]
)
def test_bad_files_get_one_line_too(text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "run.yaml"
    file.write_text(text, encoding="utf-8")
    assert call("--config", str(file)) == (2, [])
    assert capsys.readouterr().err.count("\n") == 1


def test_null_in_a_file_is_a_flag_not_given(tmp_path: Path) -> None:
    file = tmp_path / "run.yaml"
    file.write_text("max_persons: null\nloop: null\ncount: null\n", encoding="utf-8")
    assert call("--config", str(file)) == (0, [Config()])


def test_help_tells_all(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        call("--help")
    assert end.value.code == 0
    text = capsys.readouterr().out
    for part in (
        "Do nothing in particular.",
        "--max-persons MAX_PERSONS",
        "Most people. (default: 2)",
        "Again and again, 100 % of it.",
        "{realtime,max}",
        "examples:\n  test --loop\n",
        "exit codes:\n  0   finished",
        "\n  8   nothing heard",
    ):
        assert part in text
    assert "null" not in text


def test_our_errors_are_one_line_with_their_own_code(capsys: pytest.CaptureFixture[str]) -> None:
    def main(config: Config, stop: threading.Event) -> None:
        raise LogError("the disk is\nfull")

    assert call(main=main)[0] == 7
    assert capsys.readouterr().err == "error: the disk is full\n"


def test_other_errors_are_reported_as_ours_to_mend(capsys: pytest.CaptureFixture[str]) -> None:
    def main(config: Config, stop: threading.Event) -> None:
        raise RuntimeError("oops")

    assert call(main=main)[0] == 1
    err = capsys.readouterr().err
    assert "Traceback" in err
    assert err.endswith("error: unexpected failure, please report it: RuntimeError('oops')\n")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_sets_the_stop_event(number: signal.Signals) -> None:
    before = signal.getsignal(number)

    def main(config: Config, stop: threading.Event) -> None:
        os.kill(os.getpid(), number)
        assert stop.wait(10)
        os.kill(os.getpid(), number)  # a second one changes nothing

    assert call(main=main)[0] == 0
    assert signal.getsignal(number) is before
