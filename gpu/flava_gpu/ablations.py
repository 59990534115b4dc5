"""The ablation table: one row for each thing that FLAVA's recipe adds, at a geometry that one machine trains in minutes.

    npm run ablate                        all rows, one seed; what is there already is not trained again
    npm run ablate -- --seeds 2 --only joint init-mim init-dino

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
    spread: float
    """Between the best and the worst seed, of the first column."""
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
    results = [result for row in ROWS if (result := read_result(row)) is not None]
    DOCS.mkdir(parents=True, exist_ok=True)
    table = format_table(results)
    (DOCS / "ablations.md").write_text(table + "\n", encoding="utf-8")
    (DOCS / "ablations.json").write_text(
        json.dumps([plain(item) for item in results], indent=2) + "\n", encoding="utf-8"
    )
    plot(results, DOCS / "ablations.png")
    print(table)


def train(row: Row, seed: int) -> None:
    """The row's run and what it needs, as far as they are not there."""
    for need in row.needs:
        stage, name = need.split(":")
        if not (RUNS / "ablations" / name / "training.json").exists():
            run([sys.executable, "-m", f"flava_gpu.stages.{stage}", "--config", str(CONFIGS / f"{name}.yaml")])
    folder = run_folder(row, seed)
    if (folder / "training.json").exists():
        return
    folder.mkdir(parents=True, exist_ok=True)
    base = (CONFIGS / f"{row.config}.yaml").resolve()
    config = {"base": str(base), "name": folder.relative_to(RUNS).as_posix(), "seed": seed}
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump(config), encoding="utf-8")
    launcher = [sys.executable]
    if row.processes > 1:
        launcher += ["-m", "torch.distributed.run", f"--nproc-per-node={row.processes}", f"--master-port={PORT}"]
    run([*launcher, "-m", "flava_gpu.stages.joint", "--config", str(path)])


def run(command: list[str]) -> None:
    subprocess.run(command, check=True)


def run_folder(row: Row, seed: int) -> Path:
    return RUNS / "ablations" / f"{row.config}-seed{seed}"


def read_result(row: Row) -> Result | None:
    """None where no seed of the row has been trained."""
    records: dict[int, Any] = {}
    for path in sorted((RUNS / "ablations").glob(f"{row.config}-seed*/training.json")):
        records[int(path.parent.name.rpartition("seed")[2])] = json.loads(path.read_text(encoding="utf-8"))
    if not records:
        return None
    metrics: dict[str, dict[str, float]] = {}
    for group, key, _ in COLUMNS:
        values = [record["metrics"][group][key] for record in records.values()]
        metrics.setdefault(group, {})[key] = sum(values) / len(values)
    firsts = [record["metrics"][SHOWN[0]][SHOWN[1]] for record in records.values()]
    seconds = [record["stages"][-1]["seconds"] for record in records.values()]
    return Result(row, tuple(records), metrics, max(firsts) - min(firsts), sum(seconds) / len(seconds) / 60)


def format_table(results: list[Result]) -> str:
    """Markdown, 95 % intervals for the one column that rows are compared by."""
    head = ["row", "seeds", *(title for _, _, title in COLUMNS), "minutes"]
    lines = [f"| {' | '.join(head)} |", f"|{'---|' * len(head)}"]
    for result in results:
        cells = [result.row.title, str(len(result.seeds))]
        for group, key, _ in COLUMNS:
            value = result.metrics[group][key]
            interval = interval_of(result) if (group, key) == SHOWN[:2] else None
            cells.append(f"{value:.1f}" + (f" ({interval[0]:.1f} to {interval[1]:.1f})" if interval else ""))
        lines.append(f"| {' | '.join([*cells, f'{result.minutes:.1f}'])} |")
    return "\n".join(lines)


def interval_of(result: Result) -> tuple[float, float]:
    """Of one run on the dev style's 516 pictures: seeds share the pictures, so that their mean is hardly surer."""
    estimate = wilson(result.metrics[SHOWN[0]][SHOWN[1]] / 100, DEV_STYLE_PICTURES)
    return 100 * estimate.low, 100 * estimate.high


DEV_STYLE_PICTURES = 516


def plain(result: Result) -> dict[str, Any]:
    low, high = interval_of(result)
    return {
        "row": result.row.config,
        "title": result.row.title,
        "seeds": list(result.seeds),
        "metrics": result.metrics,
        "interval": [low, high],
        "spread_of_seeds": result.spread,
        "minutes": result.minutes,
    }


def plot(results: list[Result], path: Path) -> None:
    figure, axes = plt.subplots(figsize=(8, 0.5 * len(results) + 1.4), constrained_layout=True)
    for height, result in enumerate(reversed(results)):
        value, (low, high) = result.metrics[SHOWN[0]][SHOWN[1]], interval_of(result)
        axes.errorbar(value, height, xerr=[[value - low], [high - value]], fmt="o", color="tab:blue", capsize=3)
    axes.set_yticks(range(len(results)), [result.row.title for result in reversed(results)])
    axes.set(title="dev style, image to text R@1, 95 % intervals", xlabel="%")
    axes.grid(axis="x", alpha=0.3)
    figure.savefig(path, dpi=100)
    plt.close(figure)


if __name__ == "__main__":
    main()
