"""What a sweep is made of: tables of rows, each a configuration on a base or a tokenizer that is there already."""

import hashlib
import json
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from omegaconf import OmegaConf

from engine.spec import load_tokenizer, sha256
from training.config import TrainConfig, over_bases, result_keys, typed
from training.run.folder import is_run

OF_THE_PAGE = ("row", "published", "tokenizer", "probe", "pictures")
"""Keys of a row that are not part of a configuration."""


@dataclass
class TableConfig:
    """One table of the page.

    rows: each a name, `row`, and either a configuration (`base`, and keys over it), `same`: the name of a row of an
    earlier table, or `tokenizer`: an exported one, evaluated only. published: figures of others, to stand beside;
    probe: true where the sweep's linear probe is to be run on it, too; pictures: true where the page is to show what
    it decodes, and its errors by joint.
    """

    title: str = ""
    about: str = ""
    columns: list[str] = field(default_factory=list)
    against: str = ""  # the row that the others are compared to
    figure: str = ""  # "rate-distortion": draw bits against error, too
    rows: list[dict[str, Any]] = field(default_factory=list)


@dataclass
class SweepConfig:
    """A sweep: tables, what their rows are evaluated on, and the page that shows them."""

    name: str = "sweep"
    page: str = ""  # Markdown file to write
    about: str = ""  # Markdown, what the tables say, at the head of the page
    every: int = 1  # use every N-th recording
    evaluate: list[str] = field(default_factory=list)
    probe: list[str] = field(default_factory=list)  # sets, whole, whose contents a linear probe is to tell apart
    tables: list[TableConfig] = field(default_factory=list)

    @property
    def pictures(self) -> Path:
        """The folder of the page's figures."""
        return Path(self.page).with_suffix("")


@dataclass
class Row:
    """One thing to evaluate. config: None where `tokenizer` names an exported one."""

    name: str
    config: TrainConfig | None
    tokenizer: str
    probed: bool
    pictured: bool
    digest: str

    def where(self, runs: Path) -> str:
        """Return what can be evaluated: the run's folder or the tokenizer."""
        return str(runs / slug(self.name)) if self.config else self.tokenizer


def slug(name: str) -> str:
    """Return a name for a folder."""
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")


def load_sweep(file: Path) -> SweepConfig:
    """Read a sweep. Raises FileNotFoundError, ValueError or OmegaConfBaseException."""
    loaded = OmegaConf.merge(OmegaConf.structured(SweepConfig), OmegaConf.load(file))
    sweep = cast(SweepConfig, OmegaConf.to_object(loaded))
    if not sweep.evaluate:
        raise ValueError(f"{file}: say what to evaluate on, evaluate: [SET, ...]")
    return sweep


def rows_of(sweep: SweepConfig, folder: Path, changes: list[str]) -> list[Row]:
    """Return the rows to fill, in order. changes: key=value pairs over every row's configuration."""
    found: dict[str, Row] = {}
    for entry in (entry for table in sweep.tables for entry in table.rows):
        name = entry.get("row", "")
        if not name:
            raise ValueError(f"every row needs a name: row: NAME, in {entry}")
        if "same" in entry:
            if entry["same"] not in found:
                raise ValueError(f"row {name!r} refers to row {entry['same']!r}, which does not come before it")
            continue
        if name in found:
            raise ValueError(f"two rows are called {name!r}")
        keys = {key: value for key, value in entry.items() if key not in OF_THE_PAGE}
        config = None
        if "tokenizer" not in entry:
            config = typed(over_bases(OmegaConf.create(keys), folder), changes)
            config.name = slug(name)
        probed, pictured = bool(entry.get("probe")), bool(entry.get("pictures"))
        digest = _digest(config, entry.get("tokenizer", ""), sweep, probed, pictured)
        found[name] = Row(name, config, entry.get("tokenizer", ""), probed, pictured, digest)
    return list(found.values())


def weights_of(what: str) -> str:
    """Return what names the weights of a tokenizer, or of a run."""
    if is_run(what):
        return sha256(Path(what) / "checkpoint.pt")
    return load_tokenizer(what).spec.label


def _digest(config: TrainConfig | None, tokenizer: str, sweep: SweepConfig, probed: bool, pictured: bool) -> str:
    """Return what tells whether a result still belongs to its row."""
    keys: dict[str, Any] = result_keys(config) if config else {"tokenizer": weights_of(tokenizer)}
    if config and config.start_from:
        keys["start_from"] = weights_of(config.start_from)
    keys["evaluated"] = [sweep.every, sweep.evaluate, sweep.probe if probed else [], pictured]
    return hashlib.sha256(json.dumps(keys, sort_keys=True).encode()).hexdigest()[:16]
