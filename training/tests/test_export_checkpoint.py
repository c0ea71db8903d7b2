"""`agiqa-train export-checkpoint`: bundles that carry what was trained, and refusals."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from original_format import regression, save_original
from published import TINY, open_clip_model
from safetensors.numpy import load_file
from torch import Tensor, nn

from agiqa_train.cli import main
from agiqa_train.drawn import drawn_image
from agiqa_train.export_checkpoint import golden_pixels
from agiqa_train.exported import embed_images
from agiqa_train.preprocess import PILLOW12, PILLOW13, RECIPE
from agiqa_train.tokenizer import Tokenizer

CTX = 0.05 * torch.randn(16, TINY.text_width, generator=torch.Generator().manual_seed(1))
WORDS = ("terrible", "bad", "poor", "average", "good", "perfect")


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository with a tiny encoder."""
    folder = tmp_path_factory.mktemp("encoder")
    torch.save(open_clip_model(TINY, "gelu", 1).state_dict(), folder / "w.pt")
    assert main(["export-encoders", "--source", f"open_clip:{folder / 'w.pt'}", "--out", str(folder / "models")]) == 0
    return folder / "models"


@pytest.fixture()
def original(tmp_path: Path) -> tuple[Path, nn.Sequential]:
    """A folder of the original repository, and the head in it."""
    head = regression(TINY.embed_dim, 24).eval()
    save_original(tmp_path / "original", CTX, head, 3)
    return tmp_path / "original", head


def run(*arguments: object) -> int:
    return main(["export-checkpoint", *map(str, arguments)])


@torch.no_grad()
def reference_scores(ctx: Tensor, position: str, head: nn.Sequential, images: Tensor) -> np.ndarray:
    """The model written down again, on open_clip's towers: prompts, text features, head."""
    model = open_clip_model(TINY, "gelu", 1)
    tokenizer = Tokenizer()
    rows, ends = [], []
    for i, word in enumerate(WORDS):
        vectors = ctx[i] if ctx.ndim == 3 else ctx
        half = {"end": len(vectors), "middle": len(vectors) // 2, "front": 0}[position]
        embed = lambda ids: model.token_embedding(torch.tensor(ids))  # noqa: E731
        parts = [embed([49406]), vectors[:half], embed(tokenizer.encode(word)), vectors[half:], embed([269, 49407])]
        row = torch.cat(parts)
        ends.append(len(row) - 1)
        rows.append(torch.cat([row, embed([0]).expand(77 - len(row), -1)]))
    x = torch.stack(rows) + model.positional_embedding
    x = model.ln_final(model.transformer(x, attn_mask=model.attn_mask))
    texts = torch.stack([x[i, end] for i, end in enumerate(ends)]) @ model.text_projection
    texts = texts / texts.norm(dim=-1, keepdim=True)
    features = torch.cat([images, texts.reshape(1, -1).expand(len(images), -1)], dim=1)
    return head.eval()(features)[:, 0].numpy()


@pytest.mark.parametrize("position", ["end", "middle", "front"])
@pytest.mark.parametrize("class_specific", [False, True])
def test_golden_scores_are_the_models(tmp_path: Path, encoder: Path, position: str, class_specific: bool) -> None:
    ctx = 0.05 * torch.randn(6, 16, TINY.text_width) if class_specific else CTX
    head = regression(TINY.embed_dim, 24)
    save_original(tmp_path / "original", ctx, head)
    out = tmp_path / "bundle"
    flags = ("--original", tmp_path / "original", "--encoder", encoder, "--name", "paper", "--position", position)
    assert run(*flags, "--out", out) == 0
    manifest = json.loads((out / "manifest.json").read_text())
    assert manifest["class_token_position"] == position
    assert manifest["class_specific_context"] is class_specific and len(manifest["golden"]) == 8
    images = torch.tensor([case["image_embedding"] for case in manifest["golden"]])
    np.testing.assert_allclose(images.numpy(), embed_images(encoder, golden_pixels()), atol=1e-6)
    want = reference_scores(ctx, position, head, images)
    np.testing.assert_allclose([case["score"] for case in manifest["golden"]], want, atol=1e-5)
    assert want.std() > 1e-4  # the cases tell images apart


def test_manifest(tmp_path: Path, encoder: Path, original: tuple[Path, nn.Sequential]) -> None:
    scale = ("--score-min", 0, "--score-max", 100, "--score-unit", "MOS (0 to 100)")
    flags = ("--encoder", encoder, "--name", "aigciqa-2023", "--licence", "CC-BY-4.0", *scale)
    assert run("--original", original[0], "--out", tmp_path / "b", *flags) == 0
    manifest = json.loads((tmp_path / "b" / "manifest.json").read_text())
    document = json.loads((encoder / "encoder.json").read_text())
    assert manifest["encoder"] == {"name": document["name"], "digest": document["digest"]}
    assert manifest["score"] == {"min": 0, "max": 100, "unit": "MOS (0 to 100)", "clamp": False}
    assert manifest["licence"] == "CC-BY-4.0" and manifest["name"] == "aigciqa-2023"
    assert "epoch 3" in manifest["training"]["source"] and str(tmp_path) not in json.dumps(manifest)
    tensors = load_file(tmp_path / "b" / "weights.safetensors")
    np.testing.assert_array_equal(tensors["context"], CTX.numpy())
    np.testing.assert_array_equal(tensors["head.1.weight"], original[1][4].weight.detach().numpy())
    assert (tmp_path / "b").stat().st_mode & 0o777 == 0o755
    assert sorted(p.name for p in tmp_path.iterdir()) == ["b", "original"]  # nothing staged is left


def test_the_paper_scale_is_the_default(tmp_path: Path, encoder: Path, original: tuple[Path, nn.Sequential]) -> None:
    assert run("--original", original[0], "--encoder", encoder, "--name", "p", "--out", tmp_path / "b") == 0
    assert json.loads((tmp_path / "b" / "manifest.json").read_text())["score"] == {"min": 0, "max": 5, "unit": "MOS", "clamp": False}


@pytest.mark.parametrize("recipe", [None, PILLOW12, PILLOW13])
def test_the_recipe_of_an_original_is_a_flag(
    tmp_path: Path, encoder: Path, original: tuple[Path, nn.Sequential], recipe: str | None
) -> None:
    flags = ("--original", original[0], "--encoder", encoder, "--name", "p", "--out", tmp_path / "b")
    assert run(*flags, *([] if recipe is None else ["--recipe", recipe])) == 0
    manifest = json.loads((tmp_path / "b" / "manifest.json").read_text())
    assert manifest.get("recipe") == (PILLOW13 if recipe == PILLOW13 else None)


@pytest.fixture(scope="module")
def fitted(encoder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A short run of `agiqa-train fit` on drawn pictures, on the weights that the encoder was made from."""
    folder = tmp_path_factory.mktemp("fit")
    rng = np.random.default_rng(0)
    rows = ["image,score"]
    for i in range(20):
        drawn_image(64, rng).save(folder / f"{i}.png")
        rows.append(f"{i}.png,{i * 5}")
    (folder / "scores.csv").write_text("\n".join(rows) + "\n")
    data = ["--dataset", "csv", "--data", str(folder / "scores.csv"), "--score-min", "0", "--score-max", "100"]
    recipe = ["--epochs", "2", "--hidden", "24", "--augmentation", "none", "--class-token-position", "front"]
    source = ["--source", f"open_clip:{encoder.parent / 'w.pt'}"]
    assert main(["fit", *data, *recipe, *source, "--out", str(folder / "run")]) == 0
    return folder / "run"


@pytest.mark.parametrize("weights", ["last", "best"])
def test_a_run_of_this_trainer(tmp_path: Path, encoder: Path, fitted: Path, weights: str) -> None:
    flags = ("--run", fitted, "--encoder", encoder, "--name", "mine", "--weights", weights)
    assert run(*flags, "--out", tmp_path / "b") == 0
    manifest = json.loads((tmp_path / "b" / "manifest.json").read_text())
    assert manifest["class_token_position"] == "front"
    assert manifest.get("recipe", PILLOW12) == RECIPE  # of the Pillow that the test runs with
    assert manifest["score"] == {"min": 0, "max": 100, "unit": "MOS", "clamp": False}
    assert f"weights of the {weights} epoch" in manifest["training"]["protocol"]
    assert manifest["metrics"] == json.loads((fitted / "result.json").read_text())[weights]
    trained, exported = load_file(fitted / f"{weights}.safetensors"), load_file(tmp_path / "b" / "weights.safetensors")
    assert set(trained) == set(exported)
    for name, array in trained.items():
        np.testing.assert_array_equal(exported[name], array)
    head = regression(TINY.embed_dim, 24)
    names = {"1.weight": "head.0.weight", "1.bias": "head.0.bias", "4.weight": "head.1.weight", "4.bias": "head.1.bias"}
    head.load_state_dict({ours: torch.from_numpy(trained[theirs]) for ours, theirs in names.items()})
    images = torch.tensor([case["image_embedding"] for case in manifest["golden"]])
    want = reference_scores(torch.from_numpy(trained["context"]), "front", head, images)
    np.testing.assert_allclose([case["score"] for case in manifest["golden"]], want, rtol=1e-5, atol=1e-5)


def test_a_run_belongs_to_its_clip(
    tmp_path: Path, encoder: Path, fitted: Path, capsys: pytest.CaptureFixture
) -> None:
    torch.save(open_clip_model(TINY, "gelu", 2).state_dict(), tmp_path / "other.pt")
    out = tmp_path / "models"
    assert main(["export-encoders", "--source", f"open_clip:{tmp_path / 'other.pt'}", "--out", str(out)]) == 0
    flags = ("--run", fitted, "--name", "p", "--out", tmp_path / "b")
    assert run(*flags, "--encoder", out) == 1
    assert "was trained on weights" in capsys.readouterr().err
    quick = tmp_path / "quick"
    flags_of_quick = ["--activation", "quick_gelu", "--out", str(quick)]
    assert main(["export-encoders", "--source", f"open_clip:{encoder.parent / 'w.pt'}", *flags_of_quick]) == 0
    assert run(*flags, "--encoder", quick) == 1
    assert re.search("was trained on weights .* with gelu, --encoder is .* with quick_gelu", capsys.readouterr().err)
    source, half = f"open_clip:{encoder.parent / 'w.pt'}", tmp_path / "half"
    assert main(["export-encoders", "--source", source, "--out", str(half), "--precision", "fp16"]) == 0
    assert run(*flags, "--encoder", half) == 0  # the same weights in another precision


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("--position", "end", "--score-min", 0), "--position, --score-min: only for --original"),
        (("--epoch", 3), "--epoch: only for --original"),
    ],
)
def test_a_run_says_everything_itself(
    tmp_path: Path, encoder: Path, fitted: Path, capsys: pytest.CaptureFixture, flags: tuple, message: str
) -> None:
    assert run("--run", fitted, "--encoder", encoder, "--name", "p", "--out", tmp_path / "b", *flags) == 1
    assert message in capsys.readouterr().err


def test_a_folder_that_is_no_run(tmp_path: Path, encoder: Path, capsys: pytest.CaptureFixture) -> None:
    assert run("--run", tmp_path, "--encoder", encoder, "--name", "p", "--out", tmp_path / "b") == 1
    assert "has no config.json" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("ctx", "embed_dim", "message"),
    [
        (torch.zeros(16, 128), 32, r"context has shape \[16, 128\], encoder .* wants \[16, 64\]"),
        (torch.zeros(5, 16, 64), 32, r"context has shape \[5, 16, 64\].*wants \[6, 16, 64\]"),
        (torch.zeros(64), 32, r"context has shape \[64\]"),
        (CTX, 16, r"head.0.weight has shape \[24, 112\].*wants \[24, 224\]"),
        (torch.full((16, 64), torch.inf), 32, "context is not finite"),
        (torch.zeros(75, 64), 32, "has 80 tokens, 77 fit|prompt of"),
    ],
)
def test_what_does_not_fit_the_encoder(
    tmp_path: Path, encoder: Path, capsys: pytest.CaptureFixture, ctx: Tensor, embed_dim: int, message: str
) -> None:
    learner = ctx if ctx.ndim > 1 else ctx[None]
    save_original(tmp_path / "original", learner, regression(embed_dim, 24))
    if ctx.ndim == 1:
        path = tmp_path / "original" / "prompt_learner" / "model.pth.tar-100"
        torch.save({"epoch": 100, "state_dict": {"ctx": ctx}}, path)
    assert run("--original", tmp_path / "original", "--encoder", encoder, "--name", "p", "--out", tmp_path / "b") == 1
    assert re.search(message, capsys.readouterr().err)
    assert not (tmp_path / "b").exists()


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("--name", "Upper"), "--name 'Upper' does not match"),
        (("--name", "../up"), "does not match"),
        (("--name", "p", "--score-min", 5), "min 5 is not below max 5"),
        (("--name", "p", "--epoch", 9), "model.pth.tar-9; there are [3]"),
    ],
)
def test_flags_that_cannot_be(
    tmp_path: Path,
    encoder: Path,
    original: tuple[Path, nn.Sequential],
    capsys: pytest.CaptureFixture,
    flags: tuple,
    message: str,
) -> None:
    assert run("--original", original[0], "--encoder", encoder, "--out", tmp_path / "b", *flags) == 1
    assert message in capsys.readouterr().err
    assert not (tmp_path / "b").exists()


def test_a_folder_that_has_something_is_left_alone(
    tmp_path: Path, encoder: Path, original: tuple[Path, nn.Sequential], capsys: pytest.CaptureFixture
) -> None:
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "mine").write_text("1")
    assert run("--original", original[0], "--encoder", encoder, "--name", "p", "--out", tmp_path / "b") == 1
    assert "is not an empty folder" in capsys.readouterr().err
    assert [p.name for p in (tmp_path / "b").iterdir()] == ["mine"]


def test_an_encoder_that_is_not_what_it_says(
    tmp_path: Path, encoder: Path, original: tuple[Path, nn.Sequential], capsys: pytest.CaptureFixture
) -> None:
    flags = ("--original", original[0], "--name", "p", "--out", tmp_path / "b")
    assert run(*flags, "--encoder", tmp_path) == 1
    assert "has no encoder.json" in capsys.readouterr().err
    shutil.copytree(encoder, tmp_path / "models")
    with (tmp_path / "models" / "clip_text_encoder" / "1" / "model.onnx").open("ab") as file:
        file.write(b"\0")
    assert run(*flags, "--encoder", tmp_path / "models") == 1
    assert "its graphs have sha256:" in capsys.readouterr().err
