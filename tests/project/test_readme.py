"""The snippets of README and docs: every command line is one that its command accepts, and the Python runs."""

import importlib
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from engine.command.cli import parse
from motion_samples import write_npz
from stream import bench, bridge, demo, doctor, export, keys, producer, replay, subscriber, tokenize
from stream.command.child import ProducerProcess
from stream.view import __main__ as view

ROOT = Path(__file__).resolve().parents[2]
PAGES = {
    page: page.read_text(encoding="utf-8")
    for page in (*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").glob("*.md")))
}
README = PAGES[ROOT / "README.md"]
CONFIGS: dict[str, type[Any]] = {
    "producer": producer.Config,
    "subscriber": subscriber.Config,
    "bench": bench.Config,
    "demo": demo.Config,
    "doctor": doctor.Config,
    "export": export.Config,
    "replay": replay.Config,
    "bridge": bridge.Config,
    "view": view.Config,
    "tokenize": tokenize.Config,
    **{f"keys {name}": config for name, (_, config) in keys.COMMANDS.items()},
}


def snippets(page: str, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", page, flags=re.DOTALL)


COMMANDS = sorted(
    {line for page in PAGES.values() for snippet in snippets(page, "sh") for line in snippet.strip().splitlines()}
)


def test_there_are_snippets() -> None:
    assert len(COMMANDS) > 10
    assert len(snippets(README, "python")) == 4


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    links = re.findall(r"\]\((?!https?:)([^)#]+)", PAGES[page])
    assert [link for link in links if not (page.parent / link).exists()] == []


@pytest.mark.parametrize("line", [line for line in COMMANDS if line.startswith("make")])
def test_make_targets_exist(line: str) -> None:
    done = subprocess.run(
        [*shlex.split(line), "--dry-run"], cwd=ROOT, capture_output=True, encoding="utf-8", check=False
    )
    assert done.returncode == 0, done.stderr


LIVE = re.compile(r"(?:python -m stream\.|(?:\.venv/bin/)?kinetoken )(keys \w+|\w+)(.*)")


@pytest.mark.parametrize("line", [line for line in COMMANDS if LIVE.match(line)])
def test_flags_of_the_live_system_are_accepted(line: str) -> None:
    name, flags = LIVE.fullmatch(line).groups()  # type: ignore[union-attr]
    parse(CONFIGS[name], shlex.split(flags), prog=name)


@pytest.mark.parametrize("line", [line for line in COMMANDS if " training." in line or " engine." in line])
def test_flags_of_training_and_engine_are_accepted(line: str) -> None:
    module, flags = re.fullmatch(r"python -m ((?:training|engine)\.\w+)(.*)", line).groups()  # type: ignore[union-attr]
    parse(importlib.import_module(module).Config, shlex.split(flags), prog=module)


def test_the_tokenizer_runs(tmp_path: Path) -> None:
    (code,) = (code for code in snippets(README, "python") if "Tokenizer(" in code)
    write_npz(tmp_path / "walk.npz", 60)
    command = [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(ROOT)!r})\n{code}"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, encoding="utf-8", timeout=100, check=False)
    words = r"<x\+0> <y\+0> <z\+0> <s\+0> (<m\d+> ?)+[<m\d]*"
    assert re.fullmatch(rf"\(8, 1, 1, 8, 8\) {words} \(60, 17, 3\)\n", done.stdout), done.stderr


@pytest.mark.parametrize(("name", "sign"), [("hand_up.py", "WRISTS"), ("hand_up_from_ids.py", "SGDClassifier")])
def test_uses_are_what_the_examples_do(name: str, sign: str) -> None:
    (code,) = (code for code in snippets(README, "python") if sign in code)
    example = (ROOT / "examples" / "python" / name).read_text(encoding="utf-8")
    core = code.removeprefix("from stream import TokenStream\n\n").strip()
    assert core in example
    assert "from stream import TokenStream" in example or name != "hand_up.py"


def test_the_reader_runs() -> None:
    (code,) = (code for code in snippets(README, "python") if "stream.lost" in code)
    with ProducerProcess(["--demo", "--duration", "30"]) as there:
        assert "tcp://127.0.0.1:5555" in code
        code = code.replace("tcp://127.0.0.1:5555", there.address)
        reader = subprocess.Popen(
            [sys.executable, "-u", "-c", code], cwd=ROOT, stdout=subprocess.PIPE, encoding="utf-8"
        )
        assert reader.stdout is not None
        try:
            lines = [reader.stdout.readline() for _ in range(4)]
        finally:
            reader.kill()
            reader.communicate()
    assert all(line.startswith("demo ") and line.endswith("(8, 17, 2) px\n") for line in lines)


@pytest.mark.parametrize("name", [name for name, config in CONFIGS.items() if hasattr(config, "GROUPS")])
def test_every_heading_of_the_help_stands_there_once(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parse(CONFIGS[name], ["--help"], prog=name)
    said = capsys.readouterr().out
    assert [said.count(f"\n{heading}:\n") for heading in CONFIGS[name].GROUPS] == [1] * len(CONFIGS[name].GROUPS)
