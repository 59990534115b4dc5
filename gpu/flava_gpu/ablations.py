"""The ablation table: one row for each thing that FLAVA's recipe adds, at a geometry that one machine trains in minutes.

    npm run ablate                        all rows, one seed; what is there already is not trained again
    npm run ablate -- --seeds 2 --only itm init-mim init-dino

Reads the configurations in gpu/configs/ablations. Scores are those of the dev style and the dev concepts: the test splits decide
nothing. Writes docs/training/ablations.{md,json,png}.
"""

from __future__ import annotations

import argparse
import json
import logging
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt  # the backend must be chosen first
import yaml

from flava_gpu.evaluation.confidence import wilson
from flava_gpu.evaluation.emoji import of, read_pictures
from flava_gpu.joint_config import JointConfig
from flava_gpu.stages.codebook import CodebookStageConfig
from flava_gpu.stages.image import ImageConfig
from flava_gpu.stages.text import TextConfig
from flava_gpu.training.config import as_plain, load_config
from flava_gpu.training.errors import TrainingError
from flava_gpu.training.record import read_record

log = logging.getLogger("flava_gpu.ablations")

CONFIGS = Path("gpu/configs/ablations")
RUNS = Path("runs")
DOCS = Path("docs/training")
PORT = 29533


@dataclass(frozen=True)
class Row:
    config: str
    title: str
    needs: tuple[str, ...] = ()
    """Stages that come first, as `<stage>:<configuration>`."""
    processes: int = 1


STAGES = {"text": TextConfig, "codebook": CodebookStageConfig, "image": ImageConfig}
TEXT, CODEBOOK = "text:text", "codebook:codebook"
MIM, DINO = "image:image-mim", "image:image-dino"
ROWS = (
    Row("contrastive", "contrastive only", (TEXT,)),
    Row("mmm", "+ MMM", (TEXT, CODEBOOK)),
    Row("itm", "+ ITM", (TEXT, CODEBOOK)),
    Row("joint", "+ joint unimodal data", (TEXT, CODEBOOK)),
    Row("init-mim", "+ unimodal initialization (MLM, MIM)", (TEXT, CODEBOOK, MIM)),
    Row("init-dino", "the same with DINO for MIM", (TEXT, CODEBOOK, DINO)),
    Row("global-2", "contrastive only, 2 processes, global gradients", (TEXT,), processes=2),
    Row("local-2", "contrastive only, 2 processes, local gradients", (TEXT,), processes=2),
)
COLUMNS = (
    ("dev_style", "i2t_r1", "image→text R@1"),
    ("dev_style", "i2t_r5", "R@5"),
    ("dev_style", "t2i_r1", "text→image R@1"),
    ("dev_style", "t2i_r5", "R@5"),
    ("dev_concepts", "i2t_r5", "dev concepts R@5"),
    ("dev_style_fusion", "itm_accuracy", "ITM"),
)
SHOWN = COLUMNS[0]


@dataclass(frozen=True)
class Result:
    row: Row
    seeds: tuple[int, ...]
    metrics: dict[str, dict[str, float]]
    """Means over the seeds, percent."""
    firsts: tuple[float, ...]
    """Of the first column, seed by seed."""
    pictures: int
    """Of the dev style, that the first column is a share of."""
    minutes: float


def main(argv: list[str] | None = None) -> None:
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--only", nargs="*", choices=[row.config for row in ROWS], default=[row.config for row in ROWS])
    parser.add_argument("--table", action="store_true", help="only print what has been trained")
    arguments = parser.parse_args(argv)
    chosen = [row for row in ROWS if row.config in arguments.only]
    if not arguments.table:
        for number, row in enumerate(chosen, 1):
            for seed in range(arguments.seeds):
                log.info("row %d of %d: %s, seed %d", number, len(chosen), row.title, seed)
                train(row, seed)
    data = load_config(JointConfig, CONFIGS / f"{ROWS[0].config}.yaml").data
    pictures = len(of(read_pictures(data), "dev-style", "train"))
    results = [result for row in ROWS if (result := read_result(row, pictures)) is not None]
    DOCS.mkdir(parents=True, exist_ok=True)
    table = format_table(results)
    (DOCS / "ablations.md").write_text(table + "\n", encoding="utf-8")
    (DOCS / "ablations.json").write_text(
        json.dumps([plain(item) for item in results], indent=2) + "\n", encoding="utf-8"
    )
    plot(results, DOCS / "ablations.png")
    print(table)


def train(row: Row, seed: int) -> None:
    """The row's run and what it needs, as far as they are not there. Raises TrainingError for a run of another configuration."""
    for need in row.needs:
        stage, name = need.split(":")
        if not is_trained(STAGES[stage], CONFIGS / f"{name}.yaml", RUNS / "ablations" / name):
            run([sys.executable, "-m", f"flava_gpu.stages.{stage}", "--config", str(CONFIGS / f"{name}.yaml")])
    folder = run_folder(row, seed)
    path = write_run_config(row, seed)
    if is_trained(JointConfig, path, folder):
        return
    launcher = [sys.executable]
    if row.processes > 1:
        launcher += ["-m", "torch.distributed.run", f"--nproc-per-node={row.processes}", f"--master-port={PORT}"]
    run([*launcher, "-m", "flava_gpu.stages.joint", "--config", str(path)])


def write_run_config(row: Row, seed: int) -> Path:
    """The row's configuration as it is now, with the run's name and seed."""
    folder = run_folder(row, seed)
    folder.mkdir(parents=True, exist_ok=True)
    base = (CONFIGS / f"{row.config}.yaml").resolve()
    config = {"base": str(base), "name": f"ablations/{folder.name}", "seed": seed}
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump(config), encoding="utf-8")
    return path


def is_trained(kind: type[Any], config: Path, folder: Path) -> bool:
    """Whether the run of `config` has ended. Raises TrainingError where what has ended had another configuration: rows of
    several would stand in one table."""
    record = read_record(folder)
    if record and record["config"] != as_plain(load_config(kind, config)):
        raise TrainingError("configuration_changed", f"{folder} was trained with another {config.name}: remove it")
    return bool(record)


def run(command: list[str]) -> None:
    subprocess.run(command, check=True)


def run_folder(row: Row, seed: int) -> Path:
    return RUNS / "ablations" / f"{row.config}-seed{seed}"


def read_result(row: Row, pictures: int) -> Result | None:
    """None where no seed of the row has been trained. `pictures`: of the dev style. Raises TrainingError for a run of another
    configuration."""
    folders = (RUNS / "ablations").glob(f"{row.config}-seed*")
    seeds = sorted(int(folder.name.rpartition("seed")[2]) for folder in folders)
    trained = [seed for seed in seeds if is_trained(JointConfig, write_run_config(row, seed), run_folder(row, seed))]
    records = {seed: read_record(run_folder(row, seed)) for seed in trained}
    if not records:
        return None
    metrics: dict[str, dict[str, float]] = {}
    for group, key, _ in COLUMNS:
        values = [record["metrics"][group][key] for record in records.values()]
        if key != "itm_accuracy" or all("itm" in record["heads"] for record in records.values()):
            metrics.setdefault(group, {})[key] = sum(values) / len(values)
    firsts = [record["metrics"][SHOWN[0]][SHOWN[1]] for record in records.values()]
    seconds = [record["stages"][-1]["seconds"] for record in records.values()]
    minutes = sum(seconds) / len(seconds) / 60
    return Result(row, tuple(records), metrics, tuple(firsts), pictures, minutes)


def format_table(results: list[Result]) -> str:
    """Markdown, 95 % intervals and single seeds for the one column that rows are compared by."""
    head = ["row", "seeds", *(title for _, _, title in COLUMNS), "minutes"]
    lines = [f"| {' | '.join(head)} |", f"|{'---|' * len(head)}"]
    for result in results:
        cells = [result.row.title, str(len(result.seeds))]
        for group, key, _ in COLUMNS:
            value = result.metrics.get(group, {}).get(key)
            shown = "–" if value is None else f"{value:.1f}"  # a head that was not trained has no score
            if (group, key) == SHOWN[:2]:
                low, high = interval_of(result)
                seeds = f"; {', '.join(f'{first:.1f}' for first in result.firsts)}" if len(result.firsts) > 1 else ""
                shown += f" ({low:.1f} to {high:.1f}{seeds})"
            cells.append(shown)
        lines.append(f"| {' | '.join([*cells, f'{result.minutes:.1f}'])} |")
    return "\n".join(lines)


def interval_of(result: Result) -> tuple[float, float]:
    """Of one run: seeds share the dev style's pictures, so that their mean is hardly surer."""
    estimate = wilson(result.metrics[SHOWN[0]][SHOWN[1]] / 100, result.pictures)
    return 100 * estimate.low, 100 * estimate.high


def plain(result: Result) -> dict[str, Any]:
    low, high = interval_of(result)
    return {
        "row": result.row.config,
        "title": result.row.title,
        "seeds": list(result.seeds),
        "metrics": result.metrics,
        "interval": [low, high],
        "by_seed": result.firsts,
        "minutes": result.minutes,
    }


def plot(results: list[Result], path: Path) -> None:
    figure, axes = plt.subplots(figsize=(8, 0.5 * len(results) + 1.4), constrained_layout=True)
    for height, result in enumerate(reversed(results)):
        value, (low, high) = result.metrics[SHOWN[0]][SHOWN[1]], interval_of(result)
        axes.errorbar(value, height, xerr=[[value - low], [high - value]], fmt="o", color="tab:blue", capsize=3)
        if len(result.firsts) > 1:
            axes.plot(result.firsts, [height] * len(result.firsts), "|", color="black")
    axes.set_yticks(range(len(results)), [result.row.title for result in reversed(results)])
    figure.suptitle("dev style, image to text R@1: 95 % intervals, single seeds as strokes", fontsize="medium")
    axes.set(xlabel="%")
    axes.grid(axis="x", alpha=0.3)
    figure.savefig(path, dpi=100)
    plt.close(figure)


if __name__ == "__main__":
    main()
