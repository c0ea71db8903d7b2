"""`agiqa-train evaluate-human`: layouts of data sets, sources of scores, figures against SciPy, the log of looks."""

from __future__ import annotations

import csv
import hashlib
import json
import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
import torch
from openpyxl import Workbook
from PIL import Image
from published import TINY, open_clip_model
from scipy import stats
from scipy.io import savemat

from agiqa_train.agreement.bootstrap import BootstrapConfig
from agiqa_train.agreement.report import evaluate
from agiqa_train.bundle import Checkpoint, write_bundle
from agiqa_train.cli import main
from agiqa_train.drawn import drawn_image
from agiqa_train.exported import ImageEncoder, Scorer, open_image
from agiqa_train.fitting.datasets import AIGCIQA2023_IMAGES
from agiqa_train.human import layouts, looks
from agiqa_train.human.report import Labels, agreement, evaluate_rated
from agiqa_train.human.sources import Scored, from_checkpoint, from_server
from agiqa_train.meaning import Meaning, ScoreScale
from agiqa_train.views import DEFAULT_VIEWS, View, parse_views

NONE = BootstrapConfig(0)
GENERATORS = ("craiyon", "glide", "midjourney")
PROMPTS = 6


def write_table(file: Path, rows: list[dict]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    if file.suffix == ".xlsx":
        book = Workbook()
        book.active.append(list(rows[0]))
        for row in rows:
            book.active.append(list(row.values()))
        book.save(file)
        return
    with file.open("w", newline="") as stream:
        writer = csv.DictWriter(stream, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def touch(folder: Path, *names: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder / name).write_bytes(name.encode())


def make_avt(folder: Path) -> Path:
    """A data set in the layout of AVT-AI-Image-Dataset, with made-up ratings and metrics."""
    rng = np.random.default_rng(4)
    quality, others, metrics = [], [], []
    for generator in (*GENERATORS, "own"):
        for prompt in range(1, PROMPTS + 1):
            name = f"p{prompt:02d}"
            suffix = ".jpg" if generator == "own" else ".png"
            touch(folder / "images" / generator, name + suffix)
            rating = float(np.round(rng.uniform(1, 5), 2))
            quality.append({"image_key": f"{generator}/{name}", "rating": rating, "std": 1.0, "prompt": name})
            means = {"appeal_mean": 6 - rating, "realism_mean": 2.0 + prompt / 10, "prompt_matching_mean": 3.0}
            others.append({"image_key": f"{generator}/{name}", "db": generator, **means})
            for metric, value in (("BRISQUE", -rating + rng.normal()), ("MUSIQ", rng.normal())):
                found = {"model": generator, "metric": metric, "img_id": f"{name}.png", "quality_score": value}
                metrics.append(found)
    write_table(folder / "evaluation_quality_appeal" / "quality.csv", quality)
    write_table(folder / "evaluation_quality_appeal" / "appeal.csv", quality)
    write_table(folder / "evaluation" / "all_ratings.csv", others)
    write_table(folder / "evaluation" / "iqa_models" / "iqa.csv", metrics)
    prompts = [{"ID": f"p{i:02d}", "prompts": f"a thing, number {i}", "category": "x"} for i in range(1, PROMPTS + 1)]
    write_table(folder / "images" / "prompts.csv", prompts)
    return folder


@pytest.fixture()
def avt(tmp_path: Path) -> Path:
    return make_avt(tmp_path / "avt")


def listing(folder: Path) -> dict[str, bytes]:
    return {str(f.relative_to(folder)): f.read_bytes() for f in sorted(folder.rglob("*")) if f.is_file()}


def run(*arguments: object) -> int:
    return main(["evaluate-human", *map(str, arguments)])


def test_avt(avt: Path) -> None:
    rated = layouts.read(avt, None, None, "quality")
    first = rated.dataset.samples[0]
    assert layouts.detect(avt) == "avt" and len(rated.dataset.samples) == len(GENERATORS) * PROMPTS
    assert (first.name, first.group, first.generator) == ("craiyon/p01.png", "a thing, number 1", "craiyon")
    assert first.path == avt / "images" / "craiyon" / "p01.png"
    assert [s.name for s in rated.photographs] == [f"own/p{i:02d}.jpg" for i in range(1, PROMPTS + 1)]
    assert set(rated.metrics) == {"BRISQUE", "MUSIQ"} and "own/p01.jpg" in rated.metrics["MUSIQ"]
    appeal = layouts.read(avt, "avt", None, "appeal").dataset
    np.testing.assert_allclose(appeal.scores, 6 - rated.dataset.scores)


def test_agiqa3k(tmp_path: Path) -> None:
    columns = {"adj1": "", "mos_quality": 2.5, "mos_align": 1.5}
    names = ("sd1.5_lowcorr_001.jpg", "DALLE2_normal_004.jpg")
    write_table(tmp_path / "data.csv", [{"name": name, "prompt": "a tray", **columns} for name in names])
    touch(tmp_path / "file", *names)
    rated = layouts.read(tmp_path, None, None, "alignment")
    assert [(s.generator, s.group, s.score) for s in rated.dataset.samples] == [
        ("sd1.5", "a tray", 1.5),
        ("DALLE2", "a tray", 1.5),
    ]
    assert rated.dataset.samples[0].path == tmp_path / "file" / names[0]


def test_agiqa1k(tmp_path: Path) -> None:
    names = ("deepai_0_1_0_1.jpg", "dreamStudio_8_9_1_.jpg")
    touch(tmp_path / "file", *names)
    write_table(tmp_path / "AIGC_all.csv", [{"Image": name, "Score": 1.5} for name in names])
    plain = layouts.read(tmp_path, None, None, "quality")
    assert [(s.generator, s.group, s.score) for s in plain.dataset.samples] == [
        ("deepai", "0_1_0_1", 1.5),
        ("dreamStudio", "8_9_1_", 1.5),
    ]
    rows = [{"Image": name, "Prompt": f"bird {i}", "MOS": 2.25 + i} for i, name in enumerate(names)]
    write_table(tmp_path / "AIGC_MOS_Zscore.xlsx", rows)
    normalised = layouts.read(tmp_path, None, None, "quality")
    assert [(s.group, s.score) for s in normalised.dataset.samples] == [("bird 0", 2.25), ("bird 1", 3.25)]
    assert normalised.notes == ("ratings from AIGC_MOS_Zscore.xlsx",)


@pytest.mark.parametrize("form", ["csv", "mat"])
def test_aigciqa2023(tmp_path: Path, form: str) -> None:
    names = [f"{i}.png" for i in range(AIGCIQA2023_IMAGES)]
    touch(tmp_path / "Image" / "allimg", *names)
    scores = np.linspace(20, 80, len(names))
    if form == "csv":
        rows = [
            {"": i, "name": name, "prompt": "a corgi", "quality_mos": score, "authenticity_mos": score + 1}
            for i, (name, score) in enumerate(zip(names, scores))
        ]
        write_table(tmp_path / "AIGCIQA2023.csv", rows)
    else:
        (tmp_path / "DATA" / "MOS").mkdir(parents=True)
        for i in (1, 2, 3):
            savemat(tmp_path / "DATA" / "MOS" / f"mosz{i}.mat", {"MOSz": (scores + i - 1)[:, None]})
    dataset = layouts.read(tmp_path, None, None, "authenticity").dataset
    np.testing.assert_allclose(dataset.scores, scores + 1)
    assert (dataset.samples[401].generator, dataset.samples[401].group) == ("DALLE", "0")
    assert len({s.generator for s in dataset.samples}) == 6 and len({s.group for s in dataset.samples}) == 100


@pytest.mark.parametrize("suffix", [".csv", ".xlsx"])
def test_aigiqa20k(tmp_path: Path, suffix: str) -> None:
    write_table(tmp_path / f"info_train{suffix}", [{"name": "DALLE2_0000.png", "prompt": "a", "mos": 3.5}])
    write_table(tmp_path / f"info_val{suffix}", [{"name": "SDXL_0001.png", "prompt": "b", "mos": 2.5}])
    write_table(tmp_path / f"info_test{suffix}", [{"name": "SDXL_0002.png", "prompt": "c"}])
    touch(tmp_path / "train", "DALLE2_0000.png")
    touch(tmp_path / "val", "SDXL_0001.png")
    rated = layouts.read(tmp_path, None, None, "quality")
    assert [(s.generator, s.group, s.score) for s in rated.dataset.samples] == [
        ("DALLE2", "a", 3.5),
        ("SDXL", "b", 2.5),
    ]
    assert rated.notes == (f"info_test{suffix} has no column mos: left out",)


@pytest.mark.parametrize("place", ["mine.csv", "."])
def test_any_csv(tmp_path: Path, place: str) -> None:
    touch(tmp_path, "x.png", "y.png")
    (tmp_path / "mine.csv").write_text("image,score,prompt,generator\nx.png,3,a thing,sdxl\ny.png,4.5,,\n")
    rated = layouts.read(tmp_path / place, None, None, "beauty")
    assert [(s.score, s.group, s.generator) for s in rated.dataset.samples] == [
        (3, "a thing", "sdxl"),
        (4.5, None, None),
    ]


@pytest.mark.parametrize(
    ("files", "flags", "fault"),
    [
        ({}, (), "no known data set. Looked for avt: evaluation_quality_appeal/quality.csv; agiqa3k: data.csv"),
        ({"data.csv": "name\n", "AIGC_all.csv": "Image\n"}, (), "could be agiqa3k or agiqa1k; choose with --dataset"),
        ({"data.csv": "name,prompt\nx.jpg,a\n"}, (), r"data\.csv: has no column mos_quality"),
        ({"AIGC_all.csv": "Image,Score\nx.jpg,good\n"}, (), r"AIGC_all\.csv, line 2: 'good' is not a finite number"),
        ({"AIGC_MOS_Zscore.xlsx": "no workbook"}, (), r"AIGC_MOS_Zscore\.xlsx: is not a readable table"),
        ({"info_test.csv": "name,prompt\nx.png,a\n"}, (), "no table of AIGIQA-20K has a column mos"),
        ({"info_test.csv": "name,prompt\nx.png,a\n"}, ("--dataset", "agiqa1k"), "has neither AIGC_MOS_Zscore.xlsx nor"),
        (
            {"a.csv": "image,score\n"},
            ("--task", "beauty", "--dataset", "avt"),
            "--task beauty: avt has quality, appeal",
        ),
        (
            {"a.csv": "image,score\nx.png,3\n"},
            (),
            "1 of 1 rated images have no file: x.png; give their folder with --images",
        ),
        ({"a.csv": "image,score\nx.png,3\n"}, ("--allow-missing",), "a: it has no rows"),
        ({"a.csv": "image,score\nz.txt,3\n", "z.txt": ""}, (), "1 images are too few, 3 are needed"),
    ],
)
def test_faulty_data_sets(
    tmp_path: Path, files: dict[str, str], flags: tuple[str, ...], fault: str, capsys: pytest.CaptureFixture
) -> None:
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    assert run(tmp_path, *flags) == 1
    said = capsys.readouterr().err
    assert re.search(fault, said) and said.count("\n") == 1, said


def made(n: int = 60, seed: int = 0) -> tuple[np.ndarray, Labels]:
    """Scores and labels of 12 prompts and 5 generators, with ties, related."""
    rng = np.random.default_rng(seed)
    opinions = np.round(rng.normal(3, 1, n), 1)
    scores = np.round(opinions + rng.normal(0, 1.5, n), 1)
    generators = tuple(f"g{i % 5}" for i in range(n))
    return scores, Labels(opinions, tuple(f"p{i // 5}" for i in range(n)), generators)


THEIRS = {
    "srcc": lambda x, y: stats.spearmanr(x, y).statistic,
    "krcc": lambda x, y: stats.kendalltau(x, y, variant="b").statistic,
    "plcc": lambda x, y: stats.pearsonr(x, y).statistic,
}


@pytest.mark.parametrize("name", THEIRS)
def test_figures_are_scipys(name: str) -> None:
    scores, labels = made()
    found = agreement(scores, labels, NONE, each=True)
    theirs = THEIRS[name]

    def mean_within(keys: tuple[str | None, ...]) -> float:
        rows = [[i for i, k in enumerate(keys) if k == key] for key in dict.fromkeys(keys)]
        return float(np.mean([theirs(scores[r], labels.opinions[r]) for r in rows]))

    assert found["pooled"][name]["value"] == pytest.approx(theirs(scores, labels.opinions), abs=1e-12)
    assert found["within_prompt"][name]["value"] == pytest.approx(mean_within(labels.prompts), abs=1e-12)
    assert found["within_generator"][name]["value"] == pytest.approx(mean_within(labels.generators), abs=1e-12)
    rows = np.arange(0, 60, 5)
    own = found["generators"]["g0"]
    assert own["images"] == 12 and own[name]["value"] == pytest.approx(
        theirs(scores[rows], labels.opinions[rows]), abs=1e-12
    )


def test_pooled_figures_are_those_of_evaluate() -> None:
    scores, labels = made()
    config = BootstrapConfig(200, 0.9, 3)
    found = agreement(scores, labels, config)["pooled"]
    held = evaluate(scores, labels.opinions, config).figures
    assert found == {name: held[name].to_dict() for name in found}


def test_within_figures_are_blind_to_differences_between_groups() -> None:
    # Each generator has its own level in scores and ratings, and within it the two have nothing to do with each other:
    # pooled agreement is high and says only that the generators are told apart.
    level = np.repeat(np.arange(5.0), 30)
    ramp = np.tile(np.arange(30.0), 5)
    scores, opinions = 100 * level + ramp, 100 * level + np.abs(ramp - 14.5)
    labels = Labels(opinions, (None,) * 150, tuple(f"g{int(v)}" for v in level))
    found = agreement(scores, labels, BootstrapConfig(300))
    assert found["pooled"]["srcc"]["value"] > 0.9 and found["within_prompt"] is None
    inner = found["within_generator"]["srcc"]
    assert inner["value"] == pytest.approx(0, abs=1e-12) and inner["low"] < 0 < inner["high"]


def test_intervals_cover() -> None:
    # Of 60 samples from a bivariate normal with correlation 0.6, the 90 % interval of PLCC holds 0.6 in about 54.
    rng = np.random.default_rng(2)
    held = 0
    for _ in range(60):
        x = rng.normal(size=60)
        y = 0.6 * x + 0.8 * rng.normal(size=60)
        figure = agreement(x, Labels(y, (None,) * 60, (None,) * 60), BootstrapConfig(200, 0.9))["pooled"]["plcc"]
        held += figure["low"] <= 0.6 <= figure["high"]
    assert 46 <= held <= 60


def test_prompts_are_resampled_whole() -> None:
    # Twelve prompts that agree perfectly and twelve that disagree perfectly: the mean's interval is that of 24 values.
    scores = np.tile(np.arange(4.0), 24)
    opinions = np.concatenate([np.arange(4.0) if i % 2 else -np.arange(4.0) for i in range(24)])
    labels = Labels(opinions, tuple(f"p{i // 4}" for i in range(96)), (None,) * 96)
    figure = agreement(scores, labels, BootstrapConfig(2000))["within_prompt"]["srcc"]
    wide = stats.bootstrap(([-1.0, 1.0] * 12,), np.mean, method="BCa", rng=np.random.default_rng(0)).confidence_interval
    assert figure["value"] == 0 and (figure["low"], figure["high"]) == pytest.approx(tuple(wide), abs=0.05)


def test_small_and_constant_prompts_are_left_out() -> None:
    opinions = np.array([1.0, 2, 3, 2, 2, 2, 1, 2])
    labels = Labels(opinions, ("a",) * 3 + ("b",) * 3 + ("c",) * 2, (None,) * 8)
    found = agreement(np.array([1.0, 2, 3, 1, 2, 3, 2, 1]), labels, NONE)["within_prompt"]
    assert found["prompts"] == 2 and found["srcc"]["value"] == pytest.approx(1)


def test_published_metrics_are_turned_and_compared(avt: Path) -> None:
    rated = layouts.read(avt, None, None, "quality")
    samples = rated.dataset.samples
    brisque = np.array([rated.metrics["BRISQUE"][s.name] for s in samples])
    names = [s.name for s in (*samples, *rated.photographs)]
    same = Scored({}, {name: -2 * rated.metrics["BRISQUE"][name] + 1 for name in names}, {})
    result = evaluate_rated(rated, same, BootstrapConfig(50))
    metric = result["published_metrics"]["BRISQUE"]
    assert metric["sign"] == -1
    assert metric["pooled"]["srcc"]["value"] == pytest.approx(-stats.spearmanr(brisque, rated.dataset.scores).statistic)
    assert set(metric["difference"]["srcc"].values()) == {0.0}  # the same order of images: no difference anywhere
    assert metric["pooled"]["srcc"] == result["agreement"]["pooled"]["srcc"]
    assert result["published_metrics"]["MUSIQ"]["sign"] in (-1, 1)
    photographs = result["means"]["photographs"]
    assert photographs["images"] == PROMPTS and result["images"] == len(samples)
    assert photographs["score"] == pytest.approx(np.mean([same.scores[s.name] for s in rated.photographs]))


def test_an_incomplete_metric_is_named(avt: Path) -> None:
    file = avt / "evaluation" / "iqa_models" / "iqa.csv"
    file.write_text("\n".join(line for line in file.read_text().splitlines() if "glide,MUSIQ,p02" not in line))
    result = evaluate_rated(layouts.read(avt, None, None, "quality"), None, NONE)
    assert list(result["published_metrics"]) == ["BRISQUE"] and result["agreement"] is None
    assert result["notes"] == ["published metric MUSIQ lacks 1 images: left out"]


def test_the_digest_names_what_was_evaluated(avt: Path) -> None:
    def digest() -> str:
        return evaluate_rated(layouts.read(avt, None, None, "quality"), None, NONE)["dataset_digest"]

    before = digest()
    (avt / "images" / "glide" / "p01.png").write_bytes(b"another picture")
    assert digest() != before


def write_scores(file: Path, rated: layouts.Rated, seed: int = 0) -> Path:
    rng = np.random.default_rng(seed)
    rows = [{"image": s.name, "score": s.score + rng.normal()} for s in (*rated.dataset.samples, *rated.photographs)]
    write_table(file, rows)
    return file


def test_the_command(avt: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    (avt / "images" / "midjourney" / "p05.png").unlink()
    table = write_scores(tmp_path / "scores.csv", layouts.read(avt, None, None, "quality", allow_missing=True))
    before = listing(avt)
    out = tmp_path / "out"
    out.mkdir()
    flags = ("--scores", table, "--replicates", "20", "--json", out / "r.json", "--scatter", out / "s.png")
    flags += ("--looks", out / "looks.jsonl", "--note", "first", "--task", "quality", "appeal")
    assert run(avt, *flags) == 1
    assert "1 of 24 rated images have no file: midjourney/p05.png" in capsys.readouterr().err
    assert not any(out.iterdir())
    assert run(avt, *flags, "--allow-missing") == 0
    printed = capsys.readouterr().out
    document = json.loads((out / "r.json").read_text())
    quality, appeal = document["results"]
    assert (quality["images"], quality["missing"]) == (17, ["midjourney/p05.png"])
    assert quality["agreement"]["pooled"]["srcc"]["value"] > 0.3 > appeal["agreement"]["pooled"]["srcc"]["value"]
    assert f"all images                  {quality['agreement']['pooled']['srcc']['value']:.4f} [" in printed
    assert "left out, without a file: midjourney/p05.png" in printed and "  BRISQUE (turned)" in printed
    with Image.open(out / "s.png") as picture:
        assert picture.format == "PNG" and picture.width > picture.height  # two panels
    assert run(avt, *flags, "--allow-missing") == 0
    log = looks.read(out / "looks.jsonl")
    assert [(look["task"], look["note"]) for look in log] == [("quality", "first"), ("appeal", "first")] * 2
    assert log[0]["figures"]["pooled"] == quality["agreement"]["pooled"]
    assert log[0]["dataset_digest"] == quality["dataset_digest"] and log[0]["source"]["digest"].startswith("sha256:")
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", log[0]["time"])
    assert listing(avt) == before


@pytest.mark.parametrize(
    ("flags", "fault"),
    [
        (("--json", "AVT/r.json"), "--json .*: is inside the data set's folder, which is only read"),
        (("--scores", "S", "--looks", "AVT/deep/looks"), "--looks .*: is inside the data set's folder"),
        (("--looks", "l"), "--looks needs scores: --checkpoint, --server or --scores"),
        (("--scores", "S", "--note", "x"), "--note needs --looks"),
        (("--checkpoint", "b"), "--checkpoint and --encoder go together"),
        (("--scores", "S", "--server-checkpoint", "x"), "need --server"),
        (("--task", "quality", "quality"), "a task is named twice"),
        (("--server", "ftp://x"), "want http:// or https://"),
        (("--scores", "FEW"), "17 of 18 images have no score, such as craiyon/p02.png"),
        (("--scores", "TWICE"), r"TWICE, line 3: 'craiyon/p01.png' is named twice"),
        (("--scores", "NOSCORE"), "NOSCORE: has no column score"),
    ],
)
def test_refused_flags(
    avt: Path, tmp_path: Path, flags: tuple[str, ...], fault: str, capsys: pytest.CaptureFixture
) -> None:
    write_scores(tmp_path / "S", layouts.read(avt, None, None, "quality"))
    (tmp_path / "FEW").write_text("image,score\ncraiyon/p01.png,3\n")
    (tmp_path / "TWICE").write_text("image,score\ncraiyon/p01.png,3\ncraiyon/p01.png,3\n")
    (tmp_path / "NOSCORE").write_text("image,mos\ncraiyon/p01.png,3\n")
    here = [str(avt) + flag[3:] if flag.startswith("AVT") else flag for flag in flags]
    here = [str(tmp_path / flag) if flag in ("S", "FEW", "TWICE", "NOSCORE") else flag for flag in here]
    before = listing(avt)
    assert run(avt, *here, "--replicates", "0") == 1
    said = capsys.readouterr().err
    assert re.search(fault, said) and said.count("\n") == 1, said
    assert listing(avt) == before


class Server:
    """A fake agiqa on loopback: scores an image by its length; `plan` answers a request's number otherwise."""

    def __init__(self) -> None:
        self.plan: dict[int, tuple[int, dict, dict]] = {}
        self.seen: list[tuple[str, str | None, bytes]] = []
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:  # noqa: N802
                body = self.rfile.read(int(self.headers["Content-Length"]))
                server.seen.append((self.path, self.headers["Authorization"], body))
                code, headers, document = server.plan.get(len(server.seen), (200, {}, server.answer(body)))
                self.send_response(code)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(json.dumps(document).encode())

            def log_message(self, *_: object) -> None:
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_port}/"
        threading.Thread(target=self.http.serve_forever, daemon=True).start()

    @staticmethod
    def answer(body: bytes, digest: str = "sha256:1", experiment: dict | None = None) -> dict:
        checkpoint = {"name": "quick", "digest": digest}
        result = {"score": float(len(body)), "checkpoint": checkpoint, "experiment": experiment}
        return {"results": [result], "encoder": {"name": "e", "digest": "sha256:2"}, "preprocess": "p"}


@pytest.fixture()
def server() -> Iterator[Server]:
    made = Server()
    yield made
    made.http.shutdown()
    made.http.server_close()


@pytest.fixture()
def pictures(tmp_path: Path) -> dict[str, Path]:
    touch(tmp_path / "p", "a", "bb", "ccc")
    return {name: tmp_path / "p" / name for name in ("a", "bb", "ccc")}


def test_scores_from_a_server(server: Server, pictures: dict[str, Path]) -> None:
    server.plan[2] = (503, {"Retry-After": "0"}, {"detail": "too many requests"})
    scored = from_server(server.url, "quick one", "secret", pictures, 1)
    assert scored.scores == {"a": 1.0, "bb": 2.0, "ccc": 3.0}
    assert [body for _, _, body in server.seen] == [b"a", b"bb", b"bb", b"ccc"]
    assert {(path, key) for path, key, _ in server.seen} == {("/v1/score?checkpoint=quick+one", "Bearer secret")}
    assert scored.source["checkpoint"] == {"name": "quick", "digest": "sha256:1"}


@pytest.mark.parametrize(
    ("answer", "fault"),
    [
        ((200, {}, Server.answer(b"x", digest="sha256:9")), "the checkpoint, the encoder or the preprocessing changed"),
        ((200, {}, Server.answer(b"x", experiment={"name": "x"})), "an experiment chose the checkpoint"),
        (
            (422, {}, {"detail": "the image can't be decoded"}),
            "bb: the server answered 422: the image can't be decoded",
        ),
        ((401, {}, []), "bb: the server answered 401: Unauthorized"),
        ((200, {}, {"status": "fine"}), "bb: .*/v1/score is no agiqa server: the answer holds no score"),
    ],
)
def test_answers_that_are_no_evaluation(
    server: Server, pictures: dict[str, Path], answer: tuple[int, dict, dict], fault: str
) -> None:
    server.plan[2] = answer
    with pytest.raises(ValueError, match=fault):
        from_server(server.url, None, None, pictures, 1)


def test_no_server(server: Server, pictures: dict[str, Path]) -> None:
    server.http.shutdown()
    server.http.server_close()
    with pytest.raises(ValueError, match="a: http://127.0.0.1:.*refused"):
        from_server(server.url, None, None, pictures, 1)


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny encoder, exported."""
    folder = tmp_path_factory.mktemp("encoder")
    torch.save(open_clip_model(TINY, "gelu", 1).state_dict(), folder / "w.pt")
    assert main(["export-encoders", "--source", f"open_clip:{folder / 'w.pt'}", "--out", str(folder / "models")]) == 0
    return folder / "models"


def make_bundle(
    folder: Path, repository: Path, views: tuple[View, ...] = DEFAULT_VIEWS, scale: ScoreScale = ScoreScale(1, 5)
) -> Path:
    encoder = json.loads((repository / "encoder.json").read_text())
    rng = np.random.default_rng(7)
    dim = TINY.embed_dim
    head = {
        "head.0.weight": rng.normal(size=(8, 7 * dim)),
        "head.0.bias": rng.normal(size=8),
        "head.1.weight": rng.normal(size=(1, 8)),
        "head.1.bias": np.array([3.0]),
    }
    checkpoint = Checkpoint(
        name=folder.name,
        context=(0.05 * rng.normal(size=(16, TINY.text_width))).astype(np.float32),
        head={name: value.astype(np.float32) for name, value in head.items()},
        encoder_name=encoder["name"],
        encoder_digest=encoder["digest"],
        meaning=Meaning(views=views, score=scale),
    )
    write_bundle(folder, checkpoint, np.zeros((0, dim), np.float32), np.zeros((6, dim), np.float32))
    return folder


def test_scores_from_a_checkpoint(tmp_path: Path, repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pictures = {}
    for i in range(4):
        pictures[f"{i}.png"] = tmp_path / f"{i}.png"
        drawn_image(300 + 100 * i, np.random.default_rng(i)).save(pictures[f"{i}.png"])
    bundle = make_bundle(tmp_path / "two", repository, parse_views("224,448/r1c0"))
    scored = from_checkpoint(bundle, repository, pictures, tmp_path / "cache")
    scorer = Scorer(repository, bundle)
    images = [open_image(path) for path in pictures.values()]
    np.testing.assert_allclose(list(scored.scores.values()), scorer.score(images), atol=1e-5)
    np.testing.assert_allclose(list(scored.views.values()), scorer.view_scores(images), atol=1e-5)
    assert np.ptp(list(scored.views.values())) > 0.01 and scored.source["views"] == ["224", "448/r1c0"]
    assert scored.source["checkpoint"]["digest"] == json.loads((bundle / "manifest.json").read_text())["digest"]
    graph = hashlib.sha256((repository / "clip_image_encoder" / "1" / "model.onnx").read_bytes()).hexdigest()
    assert scored.source["encoder"]["graph"] == f"sha256:{graph}"

    # From here on the encoder runs for what the cache lacks, and for nothing else.
    embedded: list[int] = []
    real = ImageEncoder.embed_views

    def counted(self: ImageEncoder, images: list, views: list) -> np.ndarray:
        embedded.append(len(images))
        return real(self, images, views)

    monkeypatch.setattr(ImageEncoder, "embed_views", counted)
    assert from_checkpoint(bundle, repository, pictures, tmp_path / "cache").scores == scored.scores and not embedded
    drawn_image(333, np.random.default_rng(9)).save(pictures["2.png"])  # new content under an old name
    changed = from_checkpoint(bundle, repository, pictures, tmp_path / "cache").views
    assert embedded == [1] and [name for name in pictures if changed[name] != scored.views[name]] == ["2.png"]
    pictures["3.png"].write_bytes(b"no picture")
    with pytest.raises(ValueError, match="3.png: cannot identify image file"):
        from_checkpoint(bundle, repository, pictures, None)


def test_scores_are_cut_where_the_checkpoint_says(tmp_path: Path, repository: Path) -> None:
    pictures = {}
    for i in range(3):
        pictures[f"{i}.png"] = tmp_path / f"{i}.png"
        drawn_image(256, np.random.default_rng(i)).save(pictures[f"{i}.png"])
    bundle = make_bundle(tmp_path / "cut", repository, scale=ScoreScale(2.999, 3.001, clamp=True))
    scored = from_checkpoint(bundle, repository, pictures, None)
    for name, (raw,) in scored.views.items():
        assert scored.scores[name] == pytest.approx(np.clip(raw, 2.999, 3.001), abs=1e-6)
    assert max(abs(raw - 3) for (raw,) in scored.views.values()) > 0.01


def test_saved_scores_are_read_again(tmp_path: Path, repository: Path, capsys: pytest.CaptureFixture) -> None:
    rows = []
    (tmp_path / "data").mkdir()
    for i in range(4):
        drawn_image(256, np.random.default_rng(i)).save(tmp_path / "data" / f"{i}.png")
        rows.append({"image": f"{i}.png", "score": (i * 7) % 5})
    write_table(tmp_path / "data" / "mine.csv", rows)
    bundle = make_bundle(tmp_path / "one", repository)
    source = ("--checkpoint", bundle, "--encoder", repository, "--no-cache", "--save-scores", tmp_path / "s.csv")
    assert run(tmp_path / "data", *source, "--json", "-", "--replicates", "0") == 0
    first = json.loads(capsys.readouterr().out)
    assert run(tmp_path / "data", "--scores", tmp_path / "s.csv", "--json", "-", "--replicates", "0") == 0
    again = json.loads(capsys.readouterr().out)
    assert first["results"] == again["results"] and first["source"]["encoder"]["digest"].startswith("sha256:")


def test_a_bundle_for_another_encoder(tmp_path: Path, repository: Path) -> None:
    bundle = make_bundle(tmp_path / "b", repository)
    manifest = json.loads((bundle / "manifest.json").read_text())
    manifest["encoder"]["digest"] = "sha256:" + "0" * 64
    (bundle / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(ValueError, match="belongs to another encoder"):
        from_checkpoint(bundle, repository, {}, None)
