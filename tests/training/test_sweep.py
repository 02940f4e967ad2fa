"""Sweeps: rows are trained once, evaluated and set into the page; what stopped goes on, what changed is done again."""

import json
import os
import shutil
import signal
from pathlib import Path

import pytest
import torch

from commands import call
from engine.spec import PRETRAINED
from training import sweep as command
from training.report.tables import load_sweep, rows_of, slug
from training.run.trainer import Run
from training_samples import SMALL, write_config, write_recordings

PAPER = Path(__file__).parents[2] / "configs" / "sweeps" / "paper.yaml"


@pytest.fixture
def sweep(tmp_path: Path) -> Path:
    (tmp_path / "data").mkdir()
    write_config(tmp_path / "small.yaml", write_recordings(tmp_path / "data"))
    (tmp_path / "sweep.yaml").write_text(
        f"name: tiny\npage: {tmp_path / 'docs' / 'results.md'}\nabout: What came of it.\nevaluate: [single]\n"
        "tables:\n"
        "  - title: Family\n    columns: [ssim, joint_error_cm, vocabulary_used]\n    against: dVAE\n    rows:\n"
        "      - {row: dVAE, base: small.yaml, model: {quantizer: gumbel}}\n"
        "      - {row: VQ, base: small.yaml, pictures: true, published: {ssim: 0.9}}\n"
        "  - title: Rate\n    figure: rate-distortion\n    rows:\n"
        "      - {row: one level, same: VQ}\n",
        encoding="utf-8",
    )
    return tmp_path / "sweep.yaml"


def arguments(sweep: Path) -> list[str]:
    return [str(sweep), *SMALL, f"data.root={sweep.parent / 'data'}", f"runs={sweep.parent / 'runs'}"]


def results(sweep: Path) -> list[dict[str, object]]:
    file = sweep.parent / "runs" / "tiny" / "results.jsonl"
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]


def test_a_sweep_fills_its_page_and_does_nothing_twice(sweep: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(command, arguments(sweep)) == 0
    page = (sweep.parent / "docs" / "results.md").read_text(encoding="utf-8")
    assert page.startswith("# Results\n\nWhat came of it.\n")
    assert "## Family" in page
    assert "SSIM, published" in page
    assert "- VQ against dVAE: SSIM" in page
    assert "not trained" not in page
    assert page.count("entropy") > 1  # tokens beside rounded joints
    assert "| vq | " in page
    assert "](results/vq/data-single-strip.png)" in page
    for figure in ("vq/data-single-strip.png", "table-1.png", "rate-distortion-2d-single.png"):
        assert (sweep.parent / "docs" / "results" / figure).read_bytes().startswith(b"\x89PNG")
    first = results(sweep)
    assert [entry["row"] for entry in first] == ["dVAE", "VQ"]
    assert first[0]["digest"] != first[1]["digest"]
    capsys.readouterr()
    # Again: nothing to do. With another seed: trained again, the run before kept.
    assert call(command, arguments(sweep)) == 0
    assert results(sweep) == first
    assert capsys.readouterr().out.count("already done") == 2
    assert call(command, [*arguments(sweep), "seed=1", "--only", "VQ"]) == 0
    assert [entry["row"] for entry in results(sweep)] == ["dVAE", "VQ", "VQ"]
    assert len(list((sweep.parent / "runs" / "tiny").glob("vq*"))) == 2


def test_a_stopped_sweep_goes_on_in_the_middle_of_a_row(
    sweep: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    advance, taken = Run.advance, []

    def interrupted(run: Run, feed: object) -> dict[str, torch.Tensor]:
        taken.append(run.step)
        if len(taken) == 11:
            os.kill(os.getpid(), signal.SIGINT)
        return advance(run, feed)  # type: ignore[arg-type]

    monkeypatch.setattr(Run, "advance", interrupted)
    assert call(command, arguments(sweep)) == 130
    assert "the same command continues from here" in capsys.readouterr().err
    assert [entry["row"] for entry in results(sweep)] == ["dVAE"]
    assert call(command, arguments(sweep)) == 0
    assert [entry["row"] for entry in results(sweep)] == ["dVAE", "VQ"]
    assert taken == [*range(8), *range(8)]
    for entry in results(sweep):
        assert entry["training_seconds"] > 0  # type: ignore[operator]


def test_a_dry_run_says_how_long_it_takes(sweep: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(command, [*arguments(sweep), "--dry-run"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("dVAE: 8 steps of ")
    assert lines[-1].startswith("to train: ")
    assert not (sweep.parent / "runs" / "tiny").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("same: VQ", "same: RVQ"), "refers to row 'RVQ', which does not come before it"),
        (("row: VQ", "row: dVAE"), "two rows are called 'dVAE'"),
        (("quantizer: gumbel", "quantiser: gumbel"), "quantiser"),
        (("title: Rate", "titel: Rate"), "titel"),
        (("evaluate: [single]", "every: 1"), "say what to evaluate on"),
        (("base: small.yaml, model", "base: large.yaml, model"), "large.yaml"),
    ],
)
def test_a_bad_sweep_is_one_clear_error(
    sweep: Path, change: tuple[str, str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    sweep.write_text(sweep.read_text(encoding="utf-8").replace(*change), encoding="utf-8")
    assert call(command, [*arguments(sweep), "--dry-run"]) == 2
    assert message in capsys.readouterr().err


def test_a_tokenizer_that_was_made_anew_is_evaluated_anew(sweep: Path, tmp_path: Path) -> None:
    mine = shutil.copytree(PRETRAINED / "heatmap2d-f8", tmp_path / "mine")
    (tmp_path / "sweep.yaml").write_text(
        f"name: tiny\npage: {tmp_path / 'page.md'}\nevaluate: [single]\ntables:\n"
        f"  - title: Mine\n    columns: [bits_per_second]\n    rows:\n      - {{row: mine, tokenizer: {mine}}}\n",
        encoding="utf-8",
    )
    assert call(command, arguments(sweep)) == 0
    assert call(command, arguments(sweep)) == 0
    assert "| mine | 2160 |" in (tmp_path / "page.md").read_text(encoding="utf-8")
    assert len(results(sweep)) == 1
    shutil.rmtree(mine)
    shutil.copytree(PRETRAINED / "heatmap2d-f16", mine)
    assert call(command, arguments(sweep)) == 0
    assert len(results(sweep)) == 2
    assert "| mine | 600 |" in (tmp_path / "page.md").read_text(encoding="utf-8")


def test_the_page_shows_no_row_of_another_configuration(sweep: Path) -> None:
    assert call(command, arguments(sweep)) == 0
    assert call(command, [*arguments(sweep), "losses.joint=7", "--only", "VQ"]) == 0
    page = (sweep.parent / "docs" / "results.md").read_text(encoding="utf-8")
    assert "| dVAE | not trained" in page
    assert "| VQ | not trained" not in page


def test_a_row_that_is_not_there_is_named(sweep: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(command, [*arguments(sweep), "--only", "GAN"]) == 2
    assert "no row 'GAN'; there are 'dVAE', 'VQ'" in capsys.readouterr().err


def test_the_papers_sweep_is_sound_and_compares_like_with_like() -> None:
    sweep = load_sweep(PAPER)
    rows = {row.name: row.config for row in rows_of(sweep, PAPER.parent, [])}
    assert len({slug(name) for name in rows}) == len(rows)
    family = [rows[name] for name in ("dVAE, 2D", "VQ-VAE, 2D", "VQ-GAN, 2D", "FSQ, 2D")]
    for config in family:
        assert config is not None
        assert (config.optim, config.data) == (family[0].optim, family[0].data)  # type: ignore[union-attr]
    for table in sweep.tables:
        assert not table.against or table.against in [entry["row"] for entry in table.rows]
