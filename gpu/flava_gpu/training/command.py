"""The command line that every stage shares: its configuration, where runs lie, and whether to begin again."""

from __future__ import annotations

import argparse
import logging
import os
from pathlib import Path
from typing import Any, TypeVar

from transformers.utils import logging as transformers_logging

from flava_gpu.training.config import ConfigError, load_config
from flava_gpu.training.run import forget

T = TypeVar("T")


def stage_run(kind: type[T], usage: str | None, argv: list[str] | None, *, has_ranks: bool = False) -> tuple[T, Path]:
    """The stage's configuration and its run folder, `runs/<name>`. `argv` None: the process's own.

    Raises ConfigError, also when torchrun started several processes of a stage that runs on one (not `has_ranks`): each would
    write over the others.
    """
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    transformers_logging.set_verbosity_error()
    parser = argparse.ArgumentParser(description=usage, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", type=Path, required=True)
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="where runs and their checkpoints are kept")
    parser.add_argument("--fresh", action="store_true", help="forget an earlier run of the same name")
    arguments = parser.parse_args(argv)
    if not has_ranks and int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise ConfigError("this stage runs in one process; torchrun is for the joint stage")
    config: Any = load_config(kind, arguments.config)
    folder = arguments.runs / config.name
    if arguments.fresh and int(os.environ.get("RANK", "0")) == 0:
        forget(folder)
    folder.mkdir(parents=True, exist_ok=True)
    return config, folder
