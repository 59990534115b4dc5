"""Turns a Hugging Face FLAVA checkpoint into the package that the edge encoders load.

    PYTHONPATH=gpu .venv/bin/python -m flava_gpu.export --checkpoint models/flava-emoji/checkpoint --out build/package \\
        [--variant default|small|w7|w8] [--rounding compensated|nearest] [--report report.json]

Holds one layer at a time, and for compensated rounding the calibration inputs' states on top: at flava-full's geometry
0.9 GB to nearest, 0.3 of it the libraries, and 2.5 GB compensated. Knows nothing of how well the package does: parity
is measured by tools/export.ts, through the engine that will run it.
"""

from __future__ import annotations

import argparse
import logging
import shutil
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, get_args

from tqdm import tqdm

from flava_gpu import package_config, planning
from flava_gpu.checkpoint_reader import CheckpointReader
from flava_gpu.encoder_quantizer import EncoderQuantizer, NearestRounder, Rounder
from flava_gpu.export_report import ExportReport, encoder_report, report_json
from flava_gpu.package_config import FORMAT_VERSION, write_json
from flava_gpu.package_file import WrittenFile, write_tensor_file
from flava_gpu.package_layout import ENCODERS, Encoder, SchemePlan, file_layout
from flava_gpu.variants import EDGE_FILE_LIMIT, MIB, VARIANTS

logger = logging.getLogger(__name__)

Rounding = Literal["nearest", "compensated"]
"""`nearest` gives the same bytes on every machine; `compensated` makes smaller errors, and a code here and there may
depend on the machine's linear algebra library."""
TOKENIZER = "tokenizer.json"
PREPROCESSOR = "preprocessor_config.json"


class UnfitForEdgeError(ValueError):
    """The package would not leave an encoder Worker room for its activations."""


@dataclass(frozen=True)
class ExportOptions:
    variant: str = "default"
    rounding: Rounding = "compensated"
    license_id: str = "apache-2.0"
    budget_bytes: dict[Encoder, int] = field(default_factory=dict)
    """Overrides the variant's: bytes that the whole tensor file of an encoder may take."""
    allow_unfit: bool = False
    show_progress: bool = False


def export_package(checkpoint_dir: Path, out_dir: Path, options: ExportOptions | None = None) -> ExportReport:
    """Write config.json, tokenizer.json, preprocessor_config.json, text.safetensors and image.safetensors."""
    options = options or ExportOptions()
    reader = CheckpointReader(checkpoint_dir)
    if not (checkpoint_dir / TOKENIZER).is_file():
        raise FileNotFoundError(f"{checkpoint_dir}: {TOKENIZER} is missing")
    chosen = planning.choose_schemes(reader, options.variant, options.budget_bytes, options.show_progress)
    plan = chosen.schemes
    check_fits(reader.config, plan, options)
    out_dir.mkdir(parents=True, exist_ok=True)
    report = ExportReport(
        reader.sha256(), options.variant, options.rounding, plan.by_name(), allocations=chosen.allocations
    )
    files: dict[Encoder, WrittenFile] = {}
    for encoder in ENCODERS:
        quantizer = EncoderQuantizer(reader, encoder, plan, make_rounder(reader, encoder, plan, options.rounding))
        layout = file_layout(reader.config, encoder, plan)
        progress = tqdm(quantizer.tensors(), encoder, len(layout), unit="tensor", disable=not options.show_progress)
        metadata = package_config.tensor_file_metadata(options.variant)
        files[encoder] = write_tensor_file(out_dir / f"{encoder}.safetensors", layout, progress, metadata)
        report.encoders[encoder] = encoder_report(reader.config, encoder, layout)
        report.errors.update(quantizer.errors)
    write_package_config(reader, out_dir, files, report, options.license_id)
    return report


def make_rounder(reader: CheckpointReader, encoder: Encoder, plan: SchemePlan, rounding: Rounding) -> Rounder:
    if rounding == "nearest":
        return NearestRounder(reader, encoder, plan)
    from flava_gpu.calibrated_rounder import CalibratedRounder

    return CalibratedRounder(reader, encoder, plan)


def check_fits(config: package_config.Json, plan: SchemePlan, options: ExportOptions) -> None:
    """Refuse tensors that leave no room for activations. Raises UnfitForEdgeError."""
    for encoder in ENCODERS:
        size_bytes = planning.planned_bytes(config, encoder, plan, options.variant)
        if size_bytes > EDGE_FILE_LIMIT and not options.allow_unfit:
            raise UnfitForEdgeError(
                f"variant {options.variant}: the {encoder} encoder takes {size_bytes / MIB:.1f} MiB, at the edge at most "
                f"{EDGE_FILE_LIMIT / MIB:.0f} MiB fit; choose a smaller variant, or pass --allow-unfit to write it anyway"
            )


def write_package_config(
    reader: CheckpointReader, out_dir: Path, files: dict[Encoder, WrittenFile], report: ExportReport, license_id: str
) -> None:
    """The package's small files; fills in the report's space and weights."""
    shutil.copyfile(reader.directory / TOKENIZER, out_dir / TOKENIZER)
    preprocessing = package_config.preprocessor_config(reader.config)
    write_json(out_dir / PREPROCESSOR, preprocessing)
    tokenizer = package_config.file_entry(out_dir / TOKENIZER)
    max_length = package_config.max_text_length(reader.config)
    text_processing = {"tokenizer": tokenizer["sha256"], "max_length": max_length}
    report.space = package_config.space_id(report.checkpoint, reader.config, preprocessing, text_processing)
    report.weights = package_config.weights_id(files["text"], files["image"])
    edge_config = {
        "format_version": FORMAT_VERSION,
        "variant": report.variant,
        "space": report.space,
        "weights": report.weights,
        "checkpoint": report.checkpoint,
        "files": {
            **{encoder: package_config.tensor_file_entry(files[encoder]) for encoder in ENCODERS},
            "tokenizer": tokenizer,
            "preprocessor": package_config.file_entry(out_dir / PREPROCESSOR),
        },
        "schemes": report.schemes,
        "max_text_length": max_length,
        "pooling": package_config.POOLING,
        "license": license_id,
    }
    write_json(out_dir / "config.json", {**reader.config, "flava_edge": edge_config})


def parse_budget(text: str) -> dict[Encoder, int]:
    """`text=64,image=60.5` in MiB to bytes by encoder."""
    budget: dict[Encoder, int] = {}
    for item in text.split(","):
        name, _, mebibytes = item.partition("=")
        encoder: Encoder | None = next((known for known in ENCODERS if known == name), None)
        try:
            size_bytes = int(float(mebibytes) * MIB)
        except ValueError:
            size_bytes = 0
        if encoder is None or size_bytes <= 0:
            raise argparse.ArgumentTypeError(f"expected text=<MiB>,image=<MiB>, got {item}")
        budget[encoder] = size_bytes
    return budget


def main() -> None:
    parser = argparse.ArgumentParser(description="Quantize a FLAVA checkpoint into an edge package.")
    parser.add_argument("--checkpoint", type=Path, required=True, help="directory of a Hugging Face checkpoint")
    parser.add_argument("--out", type=Path, required=True, help="package directory to write")
    parser.add_argument("--variant", choices=VARIANTS, default="default")
    parser.add_argument(
        "--budget-mib", type=parse_budget, default={}, help="text=<MiB>,image=<MiB> of the tensor files"
    )
    parser.add_argument("--license", default="apache-2.0", help="SPDX id of the weights' licence")
    parser.add_argument("--rounding", choices=get_args(Rounding), default="compensated")
    parser.add_argument("--allow-unfit", action="store_true", help="write a package that is too large for the edge")
    parser.add_argument("--report", type=Path, help="also write what the parity report needs, as JSON")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    options = ExportOptions(
        arguments.variant,
        arguments.rounding,
        arguments.license,
        arguments.budget_mib,
        arguments.allow_unfit,
        show_progress=True,
    )
    try:
        report = export_package(arguments.checkpoint, arguments.out, options)
    except (OSError, ValueError) as error:
        sys.exit(f"export: {error}")
    if arguments.report is not None:
        write_json(arguments.report, report_json(report))
    logger.info("package %s: space %s, weights %s", arguments.out, report.space, report.weights)


if __name__ == "__main__":
    main()
