"""What an export says about its package: identities, schemes, errors by tensor, bytes by part.

tools/export/parity-report.ts reads the JSON and adds what the engine measures.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from flava_gpu.encoder_quantizer import TensorError
from flava_gpu.package_layout import Config, Encoder, TensorSpec, encoder_linears
from flava_gpu.planning import Allocation

ERROR_DIGITS = 6


@dataclass(frozen=True)
class EncoderReport:
    bytes_by_part: dict[str, int]
    bits_per_weight: float
    """Of the Linears, scales included, biases not."""


@dataclass
class ExportReport:
    checkpoint: str
    variant: str
    rounding: str
    schemes: dict[str, str]
    space: str = ""
    weights: str = ""
    allocations: dict[Encoder, Allocation] = field(default_factory=dict)
    errors: dict[str, TensorError] = field(default_factory=dict)
    encoders: dict[Encoder, EncoderReport] = field(default_factory=dict)


def encoder_report(config: Config, encoder: Encoder, layout: list[TensorSpec]) -> EncoderReport:
    parts: dict[str, int] = {}
    for spec in layout:
        parts[spec.part] = parts.get(spec.part, 0) + spec.size_bytes
    linears = encoder_linears(config, encoder)
    stored = {spec.name: spec.size_bytes for spec in layout}
    size_bytes = sum(stored[f"{linear.name}.{kind}"] for linear in linears for kind in ("weight", "weight_scale"))
    return EncoderReport(parts, size_bytes * 8 / sum(linear.n * linear.k for linear in linears))


def report_json(report: ExportReport) -> dict[str, Any]:
    return {
        "checkpoint": report.checkpoint,
        "space": report.space,
        "weights": report.weights,
        "variant": report.variant,
        "rounding": report.rounding,
        "schemes": report.schemes,
        "tensors": {name: _error_json(error) for name, error in report.errors.items()},
        "bytes": {encoder: part.bytes_by_part for encoder, part in report.encoders.items()},
        "bits_per_weight": {encoder: round(part.bits_per_weight, 4) for encoder, part in report.encoders.items()},
        "allocation": {encoder: asdict(allocation) for encoder, allocation in report.allocations.items()},
    }


def _error_json(error: TensorError) -> dict[str, float | None]:
    output = None if error.output_error is None else round(error.output_error, ERROR_DIGITS)
    return {"relative_error": round(error.relative_error, ERROR_DIGITS), "output_error": output}
