"""`kinetoken COMMAND`: every command by one name, wherever it is called from.

Commands are named here, not imported: this stands below them.
"""

import difflib
import sys
from importlib import import_module
from importlib.metadata import version

from engine.command.lifecycle import end_at_once

COMMANDS = {
    "live": {
        "producer": ("stream.producer", "a camera, a video, a recording or the demo in, packets of tokens out"),
        "subscriber": ("stream.subscriber", "print, decode or log the packets of a producer"),
        "view": ("stream.view.__main__", "bodies, tokens and numbers on a page in the browser"),
        "demo": ("stream.demo", "a producer and a reader together, and a picture of what came out"),
        "replay": ("stream.replay", "publish a log again"),
        "steer": ("stream.steer", "change how many ids a running producer takes for a hop"),
        "bridge": ("stream.bridge", "hand tokens and bodies on to OSC, LSL, MQTT or MCAP"),
        "keys": ("stream.keys", "make this machine's keys, and say whose are trusted"),
        "doctor": ("stream.doctor", "check this machine: what works, and how to fix what does not"),
        "bench": ("stream.bench", "latency and load of the live system here"),
    },
    "files": {
        "tokenize": ("stream.tokenize", "files of motion in, files of tokens out"),
        "export": ("stream.export", "a log as Parquet, JSON lines or NumPy arrays"),
        "unpack": ("stream.unpack", "a packed file as a log, Parquet, JSON lines or NumPy arrays"),
    },
    "engines": {
        "build": ("engine.build", "compile a tokenizer for this machine or for other GPUs"),
        "verify": ("engine.verify", "check an engine against ONNX Runtime in float32"),
        "info": ("engine.info", "what a tokenizer or an engine is, and whether it runs here"),
        "engine-bench": ("engine.bench", "time a tokenizer on all engines"),
        "layers": ("engine.layers", "where the time of a step goes"),
    },
    "training": {
        "train": ("training.train", "train a tokenizer"),
        "evaluate": ("training.evaluate", "what a tokenizer loses on recordings"),
        "compare": ("training.compare", "tokenizers and runs side by side"),
        "export-run": ("training.export", "a training run as a tokenizer directory"),
        "sweep": ("training.sweep", "train and evaluate the rows of tables"),
        "probe": ("training.probe", "what tokens say of the motion"),
        "prior": ("training.prior", "train what says how probable each id is"),
        "conceal": ("training.conceal", "what to show while packets are missing"),
        "robustness": ("training.robustness", "what hidden joints and wrong ids cost"),
        "rate-distortion": ("training.ratedistortion", "bits against error"),
        "cost": ("training.cost", "what networks cost live"),
    },
}
"""Every command: its module and what it does, by heading."""

MODULES = {name: module for group in COMMANDS.values() for name, (module, _) in group.items()}

BATCH = ("engine.", "training.")
"""Modules whose commands have an end of their own, which a signal cuts short."""


def main(argv: list[str] | None = None) -> int:
    """Run the command that the first argument names; return its exit code."""
    words = sys.argv[1:] if argv is None else argv
    name = words[0] if words else "--help"
    if name in ("-h", "--help"):
        print(usage())
        return 0
    if name == "--version":
        print(f"kinetoken {version('kinetoken')}")
        return 0
    if name not in MODULES:
        near = difflib.get_close_matches(name, MODULES, 1)
        hint = f"did you mean {near[0]}?" if near else "see kinetoken --help"
        print(f"error: kinetoken has no command {name!r}: {hint}", file=sys.stderr)
        return 2
    module = MODULES[name]
    batch = module.startswith(BATCH)
    end_at_once(130 if batch else 0)
    command = import_module(module)
    if not hasattr(command, "Config"):  # it has commands of its own
        return int(command.main(words[1:], f"kinetoken {name}"))
    from engine.command.cli import run

    examples = command.EXAMPLES.replace(f"python -m {module.removesuffix('.__main__')}", f"kinetoken {name}")
    return run(command.main, command.Config, prog=f"kinetoken {name}", examples=examples, argv=words[1:], batch=batch)


def usage() -> str:
    """Return the help: every command with what it does."""
    lines = ["usage: kinetoken COMMAND ...    (kinetoken COMMAND --help says more; kinetoken --version)"]
    for heading, group in COMMANDS.items():
        lines += ["", f"{heading}:", *(f"  {name:16} {told}" for name, (_, told) in group.items())]
    return "\n".join(lines)
