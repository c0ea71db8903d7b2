"""Data sets of human ratings in the layouts that their authors publish, read for evaluation.

Nothing is written into a data set's folder. A data set is recognised by its files; `--dataset` forces one.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

from ..fitting.datasets import (
    AGIQA3K_TASKS,
    AIGCIQA2023_TASKS,
    MOST_NAMES,
    DataError,
    Dataset,
    Sample,
    ScoreScale,
    check,
    generator_of,
    number,
    read_agiqa3k,
    read_aigciqa2023,
    read_csv,
    read_table,
)

ANY_SCALE = ScoreScale(-math.inf, math.inf, "as given")
PICTURE_FOLDERS = (".", "file", "images", "img")  # where archives and common copies put the pictures

# Task to table and column. `appeal` and `appeal-qomex` are two studies of the same pictures with different raters.
AVT_TASKS = {
    "quality": ("evaluation_quality_appeal/quality.csv", "rating"),
    "appeal": ("evaluation/all_ratings.csv", "appeal_mean"),
    "appeal-qomex": ("evaluation_quality_appeal/appeal.csv", "rating"),
    "realism": ("evaluation/all_ratings.csv", "realism_mean"),
    "alignment": ("evaluation/all_ratings.csv", "prompt_matching_mean"),
}
AVT_PHOTOGRAPHS = "own"  # the folder of real photographs
AVT_SUFFIXES = (".png", ".jpg", ".jpeg")
AGIQA1K_TABLES = {"AIGC_MOS_Zscore.xlsx": "MOS", "AIGC_all.csv": "Score"}  # normalised scores first
AIGIQA20K_SPLITS = ("train", "val", "test")


@dataclass(frozen=True)
class Rated:
    """Rated images. Figures are computed on `dataset`; real photographs are kept apart from it."""

    dataset: Dataset
    photographs: tuple[Sample, ...] = ()
    metrics: dict[str, dict[str, float]] = field(default_factory=dict)  # published scores: metric, image, value
    missing: tuple[str, ...] = ()  # rated images without a file
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Layout:
    """One data set's layout: its tasks, the files it is recognised by, and how it is read."""

    tasks: tuple[str, ...]  # empty: any
    marks: tuple[str, ...]
    read: Callable[[Path, Path | None, str], Rated]


def read(source: Path, kind: str | None, images: Path | None, task: str, allow_missing: bool = False) -> Rated:
    """Reads a data set, recognised by its layout unless `kind` names it; raises DataError.

    Rated images without a file are an error unless `allow_missing`; then they are left out and listed.
    """
    if not source.exists():
        raise DataError(f"{source}: there is no such folder")
    kind = kind or detect(source)
    layout = LAYOUTS[kind]
    if layout.tasks and task not in layout.tasks:
        raise DataError(f"--task {task}: {kind} has {', '.join(layout.tasks)}")
    rated = layout.read(source, images, task)
    everything = (*rated.dataset.samples, *rated.photographs)
    missing = tuple(sample.name for sample in everything if not sample.path.is_file())
    if missing and not allow_missing:
        shown = ", ".join(missing[:MOST_NAMES]) + (", ..." if len(missing) > MOST_NAMES else "")
        raise DataError(
            f"{rated.dataset.name}: {len(missing)} of {len(everything)} rated images have no file: {shown}; "
            "give their folder with --images, or leave them out with --allow-missing"
        )
    present = tuple(sample for sample in rated.dataset.samples if sample.path.is_file())
    photographs = tuple(sample for sample in rated.photographs if sample.path.is_file())
    dataset = replace(rated.dataset, samples=present)
    check(dataset)
    return replace(rated, dataset=dataset, photographs=photographs, missing=missing)


def detect(source: Path) -> str:
    """The layout of a folder; raises DataError when none or several fit."""
    if source.is_file():
        return "csv"
    found = [kind for kind, layout in LAYOUTS.items() if any((source / mark).is_file() for mark in layout.marks)]
    if not found and len(_plain_tables(source)) == 1:
        found = ["csv"]
    if not found:
        marks = "; ".join(f"{kind}: {' or '.join(layout.marks)}" for kind, layout in LAYOUTS.items() if layout.marks)
        raise DataError(f"{source}: no known data set. Looked for {marks}; csv: one CSV with columns image and score")
    if len(found) > 1:
        raise DataError(f"{source}: could be {' or '.join(found)}; choose with --dataset")
    return found[0]


def _plain_tables(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.csv"))


def read_avt(source: Path, images: Path | None, task: str) -> Rated:
    """AVT-AI-Image-Dataset: `images/GENERATOR/pNN.png`, ratings by `GENERATOR/pNN`, published metrics in `iqa.csv`."""
    folder = images or source / "images"
    table, column = AVT_TASKS[task]
    file = source / table
    prompts: dict[str, str] = {}
    texts = source / "images" / "prompts.csv"
    if texts.is_file():
        prompts = {row["ID"]: row["prompts"] for _, row in read_table(texts, ("ID", "prompts"))}
    samples = []
    for line, row in read_table(file, ("image_key", column)):
        generator, _, prompt = row["image_key"].partition("/")
        if not prompt:
            raise DataError(f"{file}, line {line}: image_key {row['image_key']!r} is not GENERATOR/IMAGE")
        path = _with_suffix(folder / generator / prompt)
        text = prompts.get(prompt, prompt)
        score = number(row[column], file, line)
        samples.append(Sample(f"{generator}/{path.name}", path, score, text, generator))
    generated = tuple(s for s in samples if s.generator != AVT_PHOTOGRAPHS)
    photographs = tuple(s for s in samples if s.generator == AVT_PHOTOGRAPHS)
    dataset = Dataset("AVT-AI-Image-Dataset", task, generated, ScoreScale(1, 5, "MOS"))
    return Rated(dataset, photographs, _avt_metrics(source, samples))


def _with_suffix(stem: Path) -> Path:
    paths = [stem.with_name(stem.name + suffix) for suffix in AVT_SUFFIXES]
    return next((path for path in paths if path.is_file()), paths[0])


def _avt_metrics(source: Path, samples: list[Sample]) -> dict[str, dict[str, float]]:
    file = source / "evaluation" / "iqa_models" / "iqa.csv"
    if not file.is_file():
        return {}
    names = {str(Path(sample.name).with_suffix("")): sample.name for sample in samples}
    metrics: dict[str, dict[str, float]] = {}
    for line, row in read_table(file, ("model", "metric", "img_id", "quality_score")):
        name = names.get(f"{row['model']}/{Path(row['img_id']).stem}")
        if name is not None:
            metrics.setdefault(row["metric"], {})[name] = number(row["quality_score"], file, line)
    return metrics


def read_agiqa3k_rated(source: Path, images: Path | None, task: str) -> Rated:
    """AGIQA-3K as `fit` reads it; the pictures are also looked for in the folders of the archive."""
    names = [row["name"] for _, row in read_table(source / "data.csv", ("name",))]
    return Rated(read_agiqa3k(source, images or _pictures(source, names), task))


def read_aigciqa2023_rated(source: Path, images: Path | None, task: str) -> Rated:
    """AIGCIQA2023 as `fit` reads it."""
    return Rated(read_aigciqa2023(source, images, task))


def read_agiqa1k(source: Path, images: Path | None, task: str) -> Rated:
    """AGIQA-1K: `AIGC_MOS_Zscore.xlsx` (Image, Prompt, MOS), else the repository's `AIGC_all.csv` (Image, Score).

    Pictures are named GENERATOR_OBJECT_ACTION_PLACE_STYLE.jpg; without the workbook the four numbers stand
    for the prompt.
    """
    file, column = next(
        ((source / name, c) for name, c in AGIQA1K_TABLES.items() if (source / name).is_file()), (None, "")
    )
    if file is None:
        raise DataError(f"{source}: has neither {' nor '.join(AGIQA1K_TABLES)}")
    rows = read_table(file, ("Image", "Prompt", column) if file.suffix == ".xlsx" else ("Image", column))
    folder = images or _pictures(source, [row["Image"] for _, row in rows])
    samples = tuple(
        Sample(
            row["Image"],
            folder / row["Image"],
            number(row[column], file, line),
            row.get("Prompt") or Path(row["Image"]).stem.partition("_")[2],
            generator_of(row["Image"]),
        )
        for line, row in rows
    )
    return Rated(Dataset("AGIQA-1K", task, samples, ANY_SCALE), notes=(f"ratings from {file.name}",))


def read_aigiqa20k(source: Path, images: Path | None, task: str) -> Rated:
    """AIGIQA-20K: `info_train`, `info_val` and `info_test` (.csv or .xlsx: name, prompt, mos), pictures in `train/` ...

    The challenge's tables of validation and test have no mos: such a table is left out, and a note says so.
    """
    samples: list[Sample] = []
    notes = []
    for split in AIGIQA20K_SPLITS:
        files = [source / f"info_{split}{suffix}" for suffix in (".csv", ".xlsx")]
        file = next((file for file in files if file.is_file()), None)
        if file is None:
            notes.append(f"no info_{split}.csv")
            continue
        rows = read_table(file, ("name", "prompt"))
        if not rows or "mos" not in rows[0][1]:
            notes.append(f"{file.name} has no column mos: left out")
            continue
        folder = (images or source) / split
        folder = folder if folder.is_dir() else images or source
        samples += [
            Sample(
                row["name"], folder / row["name"], number(row["mos"], file, n), row["prompt"], generator_of(row["name"])
            )
            for n, row in rows
        ]
    if not samples:
        raise DataError(f"{source}: no table of AIGIQA-20K has a column mos ({'; '.join(notes)})")
    return Rated(Dataset("AIGIQA-20K", task, tuple(samples), ANY_SCALE), notes=tuple(notes))


def read_csv_rated(source: Path, images: Path | None, task: str) -> Rated:
    """A CSV of image and score, optionally prompt and generator: the file, or the only CSV of a folder."""
    tables = [source] if source.is_file() else _plain_tables(source)
    if len(tables) != 1:
        raise DataError(f"{source}: has {len(tables)} CSV files, --dataset csv needs one")
    return Rated(read_csv(tables[0], images, task, ANY_SCALE))


def _pictures(source: Path, names: list[str]) -> Path:
    """The folder of the data set that holds the first picture that is there at all, else the data set's own."""
    folders = [source / place for place in PICTURE_FOLDERS]
    return next((folder for name in names for folder in folders if (folder / name).is_file()), source)


LAYOUTS: dict[str, Layout] = {
    "avt": Layout(tuple(AVT_TASKS), ("evaluation_quality_appeal/quality.csv",), read_avt),
    "agiqa3k": Layout(tuple(AGIQA3K_TASKS), ("data.csv",), read_agiqa3k_rated),
    "agiqa1k": Layout(("quality",), tuple(AGIQA1K_TABLES), read_agiqa1k),
    "aigciqa2023": Layout(
        tuple(AIGCIQA2023_TASKS),
        ("DATA/MOS/mosz1.mat", "MOS/mosz1.mat", "mosz1.mat", "mos_quality.csv", "AIGCIQA2023.csv"),
        read_aigciqa2023_rated,
    ),
    "aigiqa20k": Layout(
        ("quality",), tuple(f"info_{s}{x}" for s in AIGIQA20K_SPLITS for x in (".csv", ".xlsx")), read_aigiqa20k
    ),
    "csv": Layout((), (), read_csv_rated),
}
