"""Draws docs/plots/quantization-trained.png from docs/plots/quantization-trained.json, which quantize_trained_matrices.py wrote.

PYTHONPATH=gpu .venv/bin/python gpu/scripts/plot_quantization.py
"""

from __future__ import annotations

import json
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt

PLOTS = Path(__file__).resolve().parents[2] / "docs/plots"
COLORS = {"nearest": "#9aa5b1", "clip": "#4f83cc", "compensated": "#d1495b"}


def main() -> None:
    rows = json.loads((PLOTS / "quantization-trained.json").read_text())
    schemes = list(dict.fromkeys(row["scheme"] for row in rows))
    figure, axes = plt.subplots(1, 2, figsize=(10, 3.8), constrained_layout=True)
    for axis, field, label in (
        (axes[0], "output_error", "relative error of a Linear's outputs"),
        (axes[1], "cosine", "1 - cosine of the vectors (activations int8)"),
    ):
        for offset, (how, color) in enumerate(COLORS.items()):
            values = [row[field] for row in rows if row["rounding"] == how]
            heights = [1 - value for value in values] if field == "cosine" else values
            places = [index + (offset - 1) * 0.27 for index in range(len(schemes))]
            axis.bar(places, heights, width=0.26, color=color, label=how)
        axis.set_xticks(range(len(schemes)), schemes)
        axis.set_yscale("log")
        axis.set_ylabel(label)
        axis.grid(axis="y", alpha=0.3)
    axes[0].legend(frameon=False)
    figure.suptitle("all-MiniLM-L6-v2, texts that calibration has not seen")
    figure.savefig(PLOTS / "quantization-trained.png", dpi=110)


if __name__ == "__main__":
    main()
