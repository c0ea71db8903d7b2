"""`agiqa-train fit` and `evaluate` as they are called: tiny encoder, a handful of drawn pictures."""

from __future__ import annotations

import csv
import json
import math
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from agiqa_train.cli import main
from agiqa_train.clip import Clip, ClipConfig, TextConfig, VisionConfig
from agiqa_train.drawn import drawn_image
from agiqa_train.exported import Scorer
from agiqa_train.fitting.config import FitConfig, learning_rate_at
from agiqa_train.fitting.run_folder import RunError, read_run
from agiqa_train.fitting.train import median_report
from agiqa_train.preprocess import to_pixels

SIZES = ClipConfig(
    vision=VisionConfig(width=64, layers=1, heads=1, patch=32),
    text=TextConfig(width=64, layers=1, heads=1, token_dim=8),
    embed_dim=32,
)
PICTURES = 20
QUICK = ("--augmentation", "none", "--hidden", "16", "--context-length", "4", "--batch", "4", "--optimizer", "adamw")


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """Threads that wait for each other are slow at this size, the more so on a busy machine."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A source, drawn pictures and their CSV: every other picture is nearly black and scores low."""
    folder = tmp_path_factory.mktemp("fit")
    torch.manual_seed(0)
    torch.save({"clip": Clip(SIZES).state_dict()}, folder / "pretrain.pt")
    rows = ["image,score,prompt"]
    for i in range(PICTURES):
        picture = drawn_image(96, np.random.default_rng(i))
        dark = i % 2
        Image.fromarray((np.asarray(picture) // (8 if dark else 1)).astype(np.uint8)).save(folder / f"{i}.png")
        rows.append(f"{i}.png,{1.5 + 0.03 * i if dark else 4 + 0.02 * i},prompt {i // 4}")
    (folder / "data.csv").write_text("\n".join(rows) + "\n")
    return folder


def arguments(place: Path, out: Path, *more: str) -> list[str]:
    return [
        "fit", "--dataset", "csv", "--data", str(place / "data.csv"), "--score-min", "1", "--score-max", "5",
        "--source", f"demo:{place}", "--device", "cpu", "--cache", str(place / "features"), "--out", str(out), *more,
    ]  # fmt: skip


def metrics(folder: Path) -> list[dict]:
    """The lines of a run, without what the clock says."""
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [{name: value for name, value in row.items() if name != "seconds"} for row in rows]


def test_a_handful_of_pictures_is_learned_by_heart(place: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    more = ("--epochs", "40", "--learning-rate", "0.01", "--dropout", "0", "--mean-start", "--weight-decay", "0")
    assert main(arguments(place, tmp_path / "run", *QUICK, *more)) == 0
    rows, result = metrics(tmp_path / "run"), json.loads(capsys.readouterr().out)
    assert rows[0]["loss"] > 0.5 and rows[-1]["loss"] < 0.05
    assert result["last"]["epoch"] == 40 and result["last"]["images"] == 4
    assert result["last"]["figures"]["plcc"]["value"] > 0.9  # dark against light, also on pictures it never saw
    names = {path.name for path in (tmp_path / "run").iterdir()}
    assert names == {
        "config.json", "split.json", "metrics.jsonl", "state.pt", "last.safetensors", "best.safetensors", "loss.png",
        "predictions-last.csv", "predictions-best.csv", "result.json", "scatter.png",
    }  # fmt: skip
    for plot in ("loss.png", "scatter.png"):
        with Image.open(tmp_path / "run" / plot) as picture:
            assert min(picture.size) > 300 and len(set(np.asarray(picture.convert("L")).ravel())) > 20
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    assert config["fit"]["seed"] == 1 and config["fit"]["precision"] == "fp32" and config["split"]["seed"] == 42
    assert config["versions"]["torch"] == torch.__version__
    assert re.fullmatch(r"[0-9a-f]{40}|unknown", config["git_commit"])
    split = json.loads((tmp_path / "run" / "split.json").read_text())
    assert {side: len(names) for side, names in split.items()} == {"train": 16, "validation": 0, "test": 4}


def test_a_killed_run_goes_on_as_if_nothing_had_happened(place: Path, tmp_path: Path) -> None:
    more = (*QUICK, "--epochs", "8", "--dropout", "0.3")
    assert main(arguments(place, tmp_path / "whole", *more)) == 0
    call = arguments(place, tmp_path / "killed", *more)
    code = "import sys, torch; torch.set_num_threads(1); from agiqa_train.cli import main; sys.exit(main(sys.argv[1:]))"
    with subprocess.Popen([sys.executable, "-c", code, *call], stderr=subprocess.PIPE, text=True) as process:
        for line in process.stderr:
            if line.startswith("epoch 3 of 8"):
                process.kill()
                break
    assert process.returncode == -signal.SIGKILL
    assert not (tmp_path / "killed" / "result.json").exists()
    with (tmp_path / "killed" / "metrics.jsonl").open("a") as file:
        file.write('{"epoch": 9')  # what a kill in the middle of a line leaves
    assert main(call) == 0
    assert metrics(tmp_path / "killed") == metrics(tmp_path / "whole")
    first, second = ((tmp_path / name / "last.safetensors").read_bytes() for name in ("killed", "whole"))
    assert first == second
    before = (tmp_path / "killed" / "result.json").read_bytes()
    assert main(call) == 0  # over: nothing changes
    assert (tmp_path / "killed" / "result.json").read_bytes() == before


def test_a_folder_of_another_run_is_left_alone(place: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    assert main(arguments(place, tmp_path / "run", *QUICK, "--epochs", "1")) == 0
    before = {path.name: path.read_bytes() for path in (tmp_path / "run").iterdir()}
    assert main(arguments(place, tmp_path / "run", *QUICK, "--epochs", "2")) == 1
    assert "holds a run with another fit" in capsys.readouterr().err
    assert {path.name: path.read_bytes() for path in (tmp_path / "run").iterdir()} == before


@pytest.mark.parametrize(
    ("more", "shape"),
    [
        (("--class-specific", "--class-token-position", "middle", "--optimizer", "sgd"), (6, 4, 64)),
        (("--class-token-position", "front", "--augmentation", "crop-flip"), (4, 64)),
        (("--context-words", "a photo of a"), (4, 64)),
        (("--precision", "bf16", "--augmentation", "crop-flip"), (4, 64)),
    ],
)
def test_variants(place: Path, tmp_path: Path, more: tuple[str, ...], shape: tuple[int, ...]) -> None:
    assert main(arguments(place, tmp_path / "run", *QUICK, "--epochs", "2", *more)) == 0
    run = read_run(tmp_path / "run")
    assert run.context.shape == shape and run.head["head.0.weight"].shape == (16, 7 * 32)
    start = metrics(tmp_path / "run")[0]["learning_rate"]
    assert start == 1e-5 and np.isfinite(run.context).all()


def test_the_context_starts_from_words(place: Path, tmp_path: Path) -> None:
    words = ("--context-words", "a photo of a", "--warmup-epochs", "1", "--epochs", "1", "--weight-decay", "0")
    assert main(arguments(place, tmp_path / "run", *QUICK, *words)) == 0
    clip = Clip(SIZES)
    clip.load_state_dict(torch.load(place / "pretrain.pt", weights_only=True)["clip"])
    wanted = clip.embed_tokens(torch.tensor([320, 1125, 539, 320])).detach().numpy()  # CLIP's ids of the words
    np.testing.assert_allclose(read_run(tmp_path / "run").context, wanted, atol=1e-4)  # four steps at 1e-5


def test_through_an_exported_encoder(place: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    models = tmp_path / "models"
    assert main(["export-encoders", "--source", f"demo:{place}", "--out", str(models)]) == 0
    call = arguments(place, tmp_path / "run", *QUICK, "--epochs", "2", "--encoder", str(models))
    assert main(call) == 0
    run = read_run(tmp_path / "run")
    encoder = json.loads((models / "encoder.json").read_text())
    assert run.encoder_digest == encoder["digest"]
    rows = list(csv.DictReader((tmp_path / "run" / "predictions-last.csv").open()))
    # Another CLIP behind --source is noticed.
    torch.manual_seed(9)
    other = tmp_path / "other"
    other.mkdir()
    torch.save({"clip": Clip(SIZES).state_dict()}, other / "pretrain.pt")
    call[call.index(f"demo:{place}")] = f"demo:{other}"
    call[call.index(str(tmp_path / "run"))] = str(tmp_path / "run2")
    assert main(call) == 1
    assert "--source and --encoder are not the same CLIP" in capsys.readouterr().err
    # The bundle of the run gives the predictions of the run, by the server's arithmetic.
    export = ["export-checkpoint", "--run", str(tmp_path / "run"), "--name", "mine", "--out", str(tmp_path / "bundle")]
    assert main([*export, "--encoder", str(models)]) == 0
    scores = Scorer(models, tmp_path / "bundle").score_files([place / row["image"] for row in rows])
    np.testing.assert_allclose(scores, [float(row["score"]) for row in rows], atol=1e-6)
    manifest = json.loads((tmp_path / "bundle" / "manifest.json").read_text())
    assert manifest["encoder"]["digest"] == encoder["digest"] and manifest["task"] == "quality"
    assert manifest["score"] == {"min": 1, "max": 5, "unit": "MOS", "clamp": False} and manifest["views"] == ["224"]
    result = json.loads((tmp_path / "run" / "result.json").read_text())
    assert manifest["metrics"] == result["last"] and "seed 42" in manifest["training"]["split"]
    # For another encoder there is none.
    assert main(["export-encoders", "--source", f"demo:{other}", "--out", str(tmp_path / "models2")]) == 0
    export[export.index(str(tmp_path / "bundle"))] = str(tmp_path / "bundle2")
    assert main([*export, "--encoder", str(tmp_path / "models2")]) == 1
    assert "was trained on" in capsys.readouterr().err and not (tmp_path / "bundle2").exists()


def test_features_are_computed_once(place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = tmp_path / "features"
    call = [*arguments(place, tmp_path / "a", *QUICK, "--epochs", "1"), "--cache", str(cache)]
    assert main(call) == 0
    (file,) = cache.iterdir()

    def never(*_: object) -> None:
        raise AssertionError("an image was embedded again")

    monkeypatch.setattr("agiqa_train.fitting.features.TorchEncoder.embed", never)
    call[call.index(str(tmp_path / "a"))] = str(tmp_path / "b")
    assert main(call) == 0
    assert metrics(tmp_path / "a") == metrics(tmp_path / "b") and list(cache.iterdir()) == [file]


def test_several_seeds(place: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    more = ("--epochs", "3", "--seeds", "3,1,2", "--split", "prompt", "--split-seed", "each", "--validation", "0.25")
    assert main(arguments(place, tmp_path / "runs", *QUICK, *more)) == 0
    summary = json.loads(capsys.readouterr().out)
    assert summary == json.loads((tmp_path / "runs" / "summary.json").read_text()) and summary["seeds"] == [1, 2, 3]
    srcc = {}
    for seed in (1, 2, 3):
        result = json.loads((tmp_path / "runs" / f"seed-{seed}" / "result.json").read_text())
        assert result["selected_on"] == "validation"
        srcc[seed] = result["last"]["figures"]["srcc"]["value"]
    assert summary["last"]["srcc"]["median"] == pytest.approx(np.median(list(srcc.values())))
    assert sorted(srcc.values())[1] == srcc[summary["median_seed"]]
    with pytest.raises(RunError, match="it holds the runs seed-1, seed-2, seed-3"):
        read_run(tmp_path / "runs")


def test_the_median_seed_of_figures_that_may_be_undefined() -> None:
    results = {
        seed: {which: {"figures": {"srcc": {"value": value}}} for which in ("last", "best")}
        for seed, value in ((1, 0.0), (2, None), (3, -0.5), (4, 0.7))
    }
    summary = median_report(results)
    assert summary["median_seed"] == 3 and summary["last"]["srcc"] == {"median": 0.0, "min": -0.5, "max": 0.7}


def test_the_papers_schedule() -> None:
    config = FitConfig()
    rates = [learning_rate_at(epoch, config) for epoch in (0, 1, 51, 99)]
    assert rates == pytest.approx([1e-5, 0.002, 0.001, 0.001 * (1 + math.cos(math.pi * 0.98))])
    assert (config.optimizer, config.batch, config.epochs, config.hidden, config.dropout) == ("sgd", 32, 100, 512, 0.5)


def test_settings_that_make_no_sense() -> None:
    with pytest.raises(ValueError, match="dropout: want .*; learning_rate: want above 0"):
        replace(FitConfig(), dropout=1.0, learning_rate=0.0)


def test_evaluate_a_run_and_its_csv(place: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    assert main(arguments(place, tmp_path / "run", *QUICK, "--epochs", "2")) == 0
    capsys.readouterr()
    assert main(["evaluate", "--run", str(tmp_path / "run"), "--json", "-"]) == 0
    document = json.loads(capsys.readouterr().out)
    result = json.loads((tmp_path / "run" / "result.json").read_text())["last"]
    assert {"epoch": 2, **document} == result
    scores = ["--scores", str(tmp_path / "run" / "predictions-last.csv")]
    outputs = ["--json", str(tmp_path / "e.json"), "--png", str(tmp_path / "e.png")]
    assert main(["evaluate", *scores, *outputs]) == 0
    assert capsys.readouterr().out.splitlines()[1].startswith("SRCC ")
    assert json.loads((tmp_path / "e.json").read_text()) == document
    with Image.open(tmp_path / "e.png") as picture:
        assert picture.format == "PNG"


@pytest.mark.parametrize(
    ("table", "fault"),
    [
        ("image,score\na,1\n", "has no column mos"),
        ("image,score,mos\na,1,2\na,2,3\n", "line 3: 'a' is named twice"),
        ("image,score,mos\na,1,x\n", "line 2: 'x' is not a finite number"),
        ("image,score,mos\na,1,2\nb,2,3\n", "2 images are too few"),
    ],
)
def test_evaluate_refuses(tmp_path: Path, table: str, fault: str, capsys: pytest.CaptureFixture) -> None:
    (tmp_path / "s.csv").write_text(table)
    assert main(["evaluate", "--scores", str(tmp_path / "s.csv")]) == 1
    assert fault in capsys.readouterr().err
