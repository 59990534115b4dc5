"""What to look at: originals over their reconstructions, and how often each code is used."""

from __future__ import annotations

from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt  # the backend must be chosen first
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from flava_gpu.codebook.usage import Usage

GAP = 4
"""White pixels between pictures."""


def contact_sheet(rows: list[Tensor], path: Path, scale: int = 1) -> None:
    """One PNG of rows of pictures: each f32 [n, 3, side, side] in [0, 1], of one side."""
    widest = max(len(row) for row in rows)
    lines: list[Tensor] = []
    for row in rows:
        gaps = F.pad(row.clamp(0, 1), (0, GAP, 0, GAP), value=1.0)
        line = torch.cat(list(gaps), dim=2)  # [3, side + gap, n (side + gap)]
        lines.append(F.pad(line, (0, (widest - len(row)) * gaps.shape[-1]), value=1.0))
    pixels = (torch.cat(lines, dim=1) * 255).round().byte().permute(1, 2, 0).contiguous().numpy()
    sheet = Image.fromarray(pixels)
    if scale > 1:
        sheet = sheet.resize((sheet.width * scale, sheet.height * scale), Image.Resampling.NEAREST)
    sheet.save(path, optimize=True)


def usage_histogram(usages: dict[str, Usage], path: Path) -> None:
    """Share of each code, the most frequent first, a line for each set of pictures."""
    figure, axes = plt.subplots(figsize=(6.5, 3.6), constrained_layout=True)
    for name, usage in usages.items():
        shares = (usage.counts.double() / usage.counts.sum()).sort(descending=True).values
        label = f"{name}: {100 * usage.used:.0f} % used, perplexity {usage.perplexity:.0f}"
        axes.plot(range(1, len(shares) + 1), (100 * shares).tolist(), label=label, linewidth=1.2, drawstyle="steps-mid")
    size = len(next(iter(usages.values())).counts)
    axes.axhline(100 / size, color="grey", linewidth=0.8, linestyle=":", label="all codes alike")
    axes.set(title=f"usage of {size} codes", xlabel="code, by frequency", ylabel="% of tokens", yscale="log")
    axes.grid(alpha=0.3)
    axes.legend(fontsize="small")
    figure.savefig(path, dpi=90)
    plt.close(figure)
