"""Checks a Hugging Face FLAVA folder and stages it for export: complete config, tokenizer.json, the weights by link.

    PYTHONPATH=gpu .venv/bin/python -m flava_gpu.import_checkpoint --checkpoint DIR --staged DIR --report FILE

Everything is refused here, before any work is done. Quantizes nothing: flava_gpu.export does, from the staged folder.
"""

from __future__ import annotations

import argparse
import json
import logging
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from flava_gpu.checkpoint_errors import CheckpointError, CheckpointTensorError
from flava_gpu.checkpoint_parts import complete_config, license_of, read_preprocessor, read_tokenizer
from flava_gpu.checkpoint_reader import CheckpointReader
from flava_gpu.flava_tensors import TensorCheck, require_tensors
from flava_gpu.package_config import write_json
from flava_gpu.weight_files import FLOAT_DTYPES

logger = logging.getLogger(__name__)

COMPANIONS = ("training.json", "provenance.json", "README.md")
"""What a checkpoint may tell about itself, for the model card."""


@dataclass(frozen=True)
class ImportReport:
    """What is known of a checkpoint before it is quantized."""

    check: TensorCheck
    kind: str
    checkpoint: str
    license_id: str | None

    def as_json(self) -> dict[str, Any]:
        return {
            "checkpoint": self.checkpoint,
            "kind": self.kind,
            "tensors": self.check.checked,
            "ignored": self.check.ignored,
            "license": self.license_id,
        }


def stage_checkpoint(folder: Path, staged: Path) -> ImportReport:
    """Check all of `folder`, then write `staged`. Raises a CheckpointError and leaves `staged` alone when it will not do."""
    reader = CheckpointReader(folder)
    config = complete_config(reader.config)
    read_preprocessor(folder, config["image_config"]["image_size"])
    tokenizer = read_tokenizer(folder, config["text_config"]["vocab_size"])
    reader.config = config
    check = require_tensors(reader)
    require_finite(reader)

    shutil.rmtree(staged, ignore_errors=True)
    staged.mkdir(parents=True)
    for path in (*reader.weight_paths, *folder.glob("*.index.json")):
        (staged / path.name).symlink_to(path.resolve())
    write_json(staged / "config.json", config)
    tokenizer.save(str(staged / "tokenizer.json"))
    for name in COMPANIONS:
        if (folder / name).is_file():
            shutil.copyfile(folder / name, staged / name)
    kind = "FlavaForPreTraining" if reader.is_pretraining else "FlavaModel"
    return ImportReport(check, kind, reader.sha256(), license_of(folder))


def require_finite(reader: CheckpointReader) -> None:
    """One pass over the model's weights, a tensor at a time; half-precision files have been seen with infinities."""
    broken = [
        name
        for name in tqdm(reader.names(), "checking values", unit="tensor", leave=False)
        if reader.info(name).dtype in FLOAT_DTYPES and not np.isfinite(reader.tensor(name)).all()
    ]
    if broken:
        raise CheckpointTensorError(
            f"{reader.directory}: NaN or infinity in {len(broken)} tensors: {', '.join(broken)}"
        )


def main() -> None:
    parser = argparse.ArgumentParser(prog="import", description="Check a FLAVA checkpoint and stage it for export.")
    parser.add_argument("--checkpoint", type=Path, required=True, help="folder of a Hugging Face checkpoint")
    parser.add_argument("--staged", type=Path, required=True, help="folder to write: what flava_gpu.export reads")
    parser.add_argument("--report", type=Path, required=True, help="JSON to write: what was found")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    try:
        report = stage_checkpoint(arguments.checkpoint, arguments.staged)
    except CheckpointError as error:
        sys.exit(f"{error.code}: {error}")
    arguments.report.write_text(json.dumps(report.as_json(), indent=2) + "\n")
    logger.info("%s, sha256 %s", report.kind, report.checkpoint)
    logger.info("%d tensors have the names and shapes that the config asks for", report.check.checked)
    for line in report.check.lines():
        logger.info("%s", line)


if __name__ == "__main__":
    main()
