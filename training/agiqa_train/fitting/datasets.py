"""Rated images: AGIQA-3K, AIGCIQA2023, and any CSV of image and score.

A data set is read whole before anything is trained: a file that is missing, a score that is no
number or an image that is named twice stops it, with all such faults in one message.
"""

from __future__ import annotations

import csv
import math
from dataclasses import dataclass
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
from openpyxl import load_workbook
from openpyxl.utils.exceptions import InvalidFileException
from scipy.io import loadmat

from ..meaning import ScoreScale

MOST_NAMES = 6  # of faulty rows in one message
AGIQA3K_TASKS = {"quality": "mos_quality", "alignment": "mos_align"}
# The data set's page: mosz1 is quality, mosz2 authenticity, mosz3 correspondence.
AIGCIQA2023_TASKS = {"quality": "mosz1.mat", "authenticity": "mosz2.mat", "correspondence": "mosz3.mat"}
AIGCIQA2023_IMAGES = 2400
AIGCIQA2023_PER_PROMPT, AIGCIQA2023_PER_MODEL = 4, 400  # six models, each 100 prompts, four images each
# The authors don't publish which 400 images are whose. This is the alphabetical order that other published readers use.
AIGCIQA2023_MODELS = ("Controlnet", "DALLE", "Glide", "Lafite", "stable-diffusion", "Unidiffuser")
DATASETS = ("agiqa3k", "aigciqa2023", "csv")


class DataError(ValueError):
    """The data set is not as it should be; the message names the file and the rows."""


@dataclass(frozen=True)
class Sample:
    """One image with its mean opinion score. `group` is its prompt, which a split by prompt keeps together."""

    name: str
    path: Path
    score: float
    group: str | None = None
    generator: str | None = None
    prompt: str | None = None  # the text that the picture was made from


@dataclass(frozen=True)
class Dataset:
    """All samples, in the order of the file: splits depend on it."""

    name: str
    task: str
    samples: tuple[Sample, ...]
    scale: ScoreScale

    @property
    def scores(self) -> np.ndarray:
        """float64 [n]."""
        return np.array([sample.score for sample in self.samples])


def load_dataset(kind: str, source: Path, images: Path | None, task: str, scale: ScoreScale | None = None) -> Dataset:
    """Reads a data set; raises DataError.

    `source` is AGIQA-3K's folder or its data.csv, AIGCIQA2023's folder, or a CSV file. `images` says
    where the pictures are when they are not in their usual place. `scale` is needed by a CSV alone.
    """
    if kind == "agiqa3k":
        dataset = read_agiqa3k(source, images, task)
    elif kind == "aigciqa2023":
        dataset = read_aigciqa2023(source, images, task)
    elif kind == "csv":
        dataset = read_csv(source, images, task, scale)
    else:
        raise DataError(f"data set {kind!r} is not one of {', '.join(DATASETS)}")
    check(dataset)
    return dataset


def read_agiqa3k(source: Path, images: Path | None, task: str) -> Dataset:
    """`data.csv` with name, prompt, mos_quality and mos_align; pictures beside it, or in `images`."""
    if task not in AGIQA3K_TASKS:
        raise DataError(f"task {task!r}: AGIQA-3K has {', '.join(AGIQA3K_TASKS)}")
    file = source / "data.csv" if source.is_dir() else source
    rows = read_table(file, ("name", "prompt", AGIQA3K_TASKS[task]))
    folder = images or file.parent
    samples = [
        Sample(
            row["name"],
            folder / row["name"],
            number(row[AGIQA3K_TASKS[task]], file, line),
            row["prompt"],
            generator_of(row["name"]),
            row["prompt"] or None,
        )
        for line, row in rows
    ]
    return Dataset("AGIQA-3K", task, tuple(samples), ScoreScale(0, 5, "MOS"))


def read_aigciqa2023(source: Path, images: Path | None, task: str) -> Dataset:
    """The folder as it is handed out, or with the original repository's CSV files in it.

    Scores: `mos_TASK.csv` of name and mos (what the original repository's mat2csv.py writes), else
    `AIGCIQA2023.csv` of the authors' repository (name and TASK_mos), else `mosz1.mat` .. `mosz3.mat` in
    the folder, in `MOS/` or in `DATA/MOS/`, variable `MOSz`, row i for the picture `i.png`. Pictures:
    `images`, else `Image/allimg/` or `allimg/`. Four pictures in a row share a prompt, and the 100
    prompts repeat for each of the six generators.
    """
    if task not in AIGCIQA2023_TASKS:
        raise DataError(f"task {task!r}: AIGCIQA2023 has {', '.join(AIGCIQA2023_TASKS)}")
    folder = images or first_there([source / "Image" / "allimg", source / "allimg"])
    tables = {source / f"mos_{task}.csv": "mos", source / "AIGCIQA2023.csv": f"{task}_mos"}
    table = next((file for file in tables if file.is_file()), None)
    if table is not None:
        column = tables[table]
        named = [(row["name"], number(row[column], table, line)) for line, row in read_table(table, ("name", column))]
    else:
        name = AIGCIQA2023_TASKS[task]
        file = first_there([source / "DATA" / "MOS" / name, source / "MOS" / name, source / name])
        variables = loadmat(file)
        if "MOSz" not in variables:
            raise DataError(f"{file}: has no variable MOSz")
        named = [(f"{i}.png", float(v)) for i, v in enumerate(np.asarray(variables["MOSz"], dtype=np.float64).ravel())]
    if len(named) != AIGCIQA2023_IMAGES:
        raise DataError(f"{source}: {len(named)} scores, AIGCIQA2023 has {AIGCIQA2023_IMAGES}")
    samples = [Sample(name, folder / name, score, *aigciqa2023_origin(name)) for name, score in named]
    return Dataset("AIGCIQA2023", task, tuple(samples), ScoreScale(0, 100, "MOS"))


def aigciqa2023_origin(name: str) -> tuple[str, str]:
    """The number of the prompt behind a picture `i.png`, and its generator."""
    stem = Path(name).stem
    if not stem.isdigit() or int(stem) >= AIGCIQA2023_IMAGES:
        raise DataError(f"AIGCIQA2023's pictures are named 0.png to {AIGCIQA2023_IMAGES - 1}.png, not {name!r}")
    generator, place = divmod(int(stem), AIGCIQA2023_PER_MODEL)
    return str(place // AIGCIQA2023_PER_PROMPT), AIGCIQA2023_MODELS[generator]


def generator_of(name: str) -> str:
    """The generator in a picture's name, `GENERATOR_rest.jpg`: AGIQA-1K, AGIQA-3K and AIGIQA-20K name theirs so."""
    return Path(name).name.split("_")[0]


def read_csv(source: Path, images: Path | None, task: str, scale: ScoreScale | None) -> Dataset:
    """`image,score`, optionally `prompt` and `generator`; paths are relative to `images`, else to the file's folder."""
    if scale is None:
        raise DataError("a CSV does not say its scale: give --score-min and --score-max")
    folder = images or source.parent
    samples = [
        Sample(
            row["image"],
            folder / row["image"],
            number(row["score"], source, line),
            row.get("prompt") or None,
            row.get("generator") or None,
            row.get("prompt") or None,
        )
        for line, row in read_table(source, ("image", "score"))
    ]
    return Dataset(source.stem, task, tuple(samples), scale)


def check_prompts(dataset: Dataset) -> None:
    """Raises DataError for pictures without the prompt that alignment is judged against."""
    absent = [sample.name for sample in dataset.samples if not sample.prompt]
    if absent:
        raise DataError(
            f"task {dataset.task} is how well a picture shows its prompt, and {len(absent)} of {len(dataset.samples)} "
            f"images of {dataset.name} have none: give the prompts, as --dataset csv with the columns image, score "
            "and prompt, or train another task"
        )


def check(dataset: Dataset) -> None:
    """Raises DataError that names images that are absent, named twice, or scored outside of the scale."""
    names = [sample.name for sample in dataset.samples]
    seen: set[str] = set()
    twice = [name for name in names if name in seen or seen.add(name)]
    absent = [str(sample.path) for sample in dataset.samples if not sample.path.is_file()]
    low, high = dataset.scale.min, dataset.scale.max
    outside = [s.name for s in dataset.samples if not low <= s.score <= high]
    faults = [
        f"{len(found)} images {what}: {', '.join(found[:MOST_NAMES])}{', ...' if len(found) > MOST_NAMES else ''}"
        for what, found in (
            ("are named twice", twice),
            ("are not there", absent),
            (f"have scores outside {low:g}..{high:g}", outside),
        )
        if found
    ]
    if not names:
        faults.append("it has no rows")
    if faults:
        raise DataError(f"{dataset.name}: {'; '.join(faults)}")


def read_table(file: Path, columns: tuple[str, ...]) -> list[tuple[int, dict[str, str]]]:
    """Rows with their line numbers, of a CSV or a workbook's first sheet; raises DataError when a column is missing."""
    if not file.is_file():
        raise DataError(f"{file}: there is no such file")
    try:
        names, rows = _sheet(file) if file.suffix == ".xlsx" else _csv(file)
    except (UnicodeDecodeError, csv.Error, BadZipFile, InvalidFileException, KeyError) as fault:
        raise DataError(f"{file}: is not a readable table: {fault}") from fault
    missing = [column for column in columns if column not in names]
    if missing:
        raise DataError(f"{file}: has no column {', '.join(missing)}")
    return rows


def _csv(file: Path) -> tuple[list[str], list[tuple[int, dict[str, str]]]]:
    with file.open(newline="", encoding="utf-8-sig") as stream:
        reader = csv.DictReader(stream)
        rows = [(reader.line_num, row) for row in reader]
        return list(reader.fieldnames or ()), rows


def _sheet(file: Path) -> tuple[list[str], list[tuple[int, dict[str, str]]]]:
    book = load_workbook(file, read_only=True, data_only=True)
    cells = book.worksheets[0].iter_rows(values_only=True)
    lines = [["" if cell is None else str(cell) for cell in line] for line in cells]
    book.close()
    names = lines[0] if lines else []
    rows = [(i, dict(zip(names, line))) for i, line in enumerate(lines[1:], start=2) if any(line)]
    return names, rows


def number(text: str | None, file: Path, line: int) -> float:
    """A finite number; raises DataError that names the line."""
    try:
        value = float(text or "")
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise DataError(f"{file}, line {line}: {text!r} is not a finite number")
    return value


def first_there(places: list[Path]) -> Path:
    """The first path that exists; raises DataError that names all."""
    for place in places:
        if place.exists():
            return place
    raise DataError(f"none of {', '.join(str(place) for place in places)} is there")
