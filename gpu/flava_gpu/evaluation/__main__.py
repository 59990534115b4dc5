"""`npm run eval -- <suite>`: how good the embedded model is, beside what is reached without it. docs/evaluation.md.

retrieval    picture <-> name on the held-out splits, both engines, the cost of quantization
probe        linear probes                    zero-shot    classification by names alone
itm          image-text matching              masked       masked words and patches
finetune     fine-tuned text, picture, pair   table        all of these in one table
targets      the project's own table: must, aim, got
confusions   a picture of what is taken for what
"""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Callable
from pathlib import Path

from transformers.utils import logging as transformers_logging

from flava_gpu.evaluation import commands
from flava_gpu.evaluation.errors import EvaluationError
from flava_gpu.evaluation.sources import TASKS, Sources

PACKAGE = Path("models/flava-emoji")
Command = Callable[[argparse.Namespace], int]


def main(argv: list[str] | None = None) -> int:
    """The exit code: 1 where a gate is failed or data is missing, 2 for flags that are not known."""
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    arguments = build_parser().parse_args(argv)
    run: Command = arguments.run
    try:
        return run(arguments)
    except EvaluationError as error:
        print(f"{error.code}: {error}", file=sys.stderr)
        return 1


def build_parser() -> argparse.ArgumentParser:
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser("npm run eval --", description=__doc__, formatter_class=raw)
    suites = parser.add_subparsers(metavar="suite", required=True)

    def add(
        name: str, run: Command, about: str, engines: tuple[str, ...] = ("edge", "torch")
    ) -> argparse.ArgumentParser:
        suite = suites.add_parser(name, help=about, description=about, formatter_class=raw)
        suite.set_defaults(run=run, suite=name)
        suite.add_argument("--engine", choices=engines, default=engines[0])
        suite.add_argument("--model", type=Path, default=PACKAGE, help="model package")
        suite.add_argument("--checkpoint", type=Path, help="what it was made of (default: its checkpoint/)")
        suite.add_argument("--data", type=Path, default=Sources.data)
        suite.add_argument("--labelled", type=Path, default=Sources.labelled)
        suite.add_argument("--work", type=Path, default=Sources.work, help="what is written on the way")
        return suite

    retrieval = add("retrieval", commands.retrieval, "recall on the held-out splits", ("both", "edge", "torch"))
    retrieval.add_argument("--split", choices=["A", "B", "C", "dev"], action="append")
    retrieval.add_argument("--json", action="store_true", help="one object a line instead of tables, engines only")
    retrieval.add_argument("--report", type=Path, help="write rows and costs as JSON here and print the costs alone")
    retrieval.add_argument("--cache", type=Path, help="keep fp32 vectors in this folder")
    retrieval.add_argument("--save", action="store_true", help="write scores.json into the model package")
    retrieval.add_argument(
        "--gate-points", type=float, default=0.5, help="of R@1 that quantization may cost on split A"
    )
    for name, about in commands.SUITES.items():
        suite = add(name, commands.table, about)
        if name in commands.WITH_TASKS:
            suite.add_argument("--task", choices=TASKS, action="append", help="may be given several times")
        suite.add_argument("--codebook", type=Path, help="of masked patches (default: the checkpoint's)")
        suite.add_argument("--finetune", type=Path, default=commands.FINETUNE_CONFIG, help="configuration")
        suite.add_argument("--jobs", type=int, help="probes beside each other (default: one a core)")
        suite.add_argument("--out", type=Path, help="folder for <suite>.json, .md and .png")
    targets = add("targets", commands.targets, "must, aim, got")
    targets.add_argument("--json", action="store_true")
    targets.add_argument("--save", action="store_true", help="write them into the package's scores.json")
    targets.add_argument("--jobs", type=int)
    confusions = add("confusions", commands.confusions, "a picture of what is taken for what")
    confusions.add_argument("--out", type=Path, help="PNG (default: confusions.png in the model package)")
    return parser


if __name__ == "__main__":
    sys.exit(main())
