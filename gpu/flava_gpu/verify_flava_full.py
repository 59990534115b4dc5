"""Checks a facebook/flava-full folder against the values that transformers' tests fix for it.

    PYTHONPATH=gpu .venv/bin/python -m flava_gpu.verify_flava_full FOLDER IMAGE [--goldens FILE] [--vectors DIR]

IMAGE is COCO val2017 000000039769. Prints a table; exit code 1 when a value is off, 2 when nothing could be measured. With
--vectors, writes the embeddings that tools/verify-flava-full.ts compares a package with.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import dataclass
from pathlib import Path

from safetensors.numpy import save_file

from flava_gpu.checkpoint_errors import CheckpointError
from flava_gpu.flava_full_measure import Measured, measure

GOLDENS = Path(__file__).with_name("flava_full_goldens.json")
EXPLANATION = """\
Sums run over whole tensors, padding included; PIL's resize; float32 on CPU. The tolerances are estimates of what another
order of float32 sums costs: they were never tried on the real file. Another resize or JPEG decoder may exceed them.
"padding attended" is transformers before March 2024 (PR #29446),
and very probably how the model was trained; the other rows mask the texts' padding in the multimodal encoder."""


@dataclass(frozen=True)
class Golden:
    name: str
    expected: float
    tolerance: float


@dataclass(frozen=True)
class Row:
    """One golden beside what was measured; `got` is None where the checkpoint cannot give it."""

    golden: Golden
    got: float | None

    @property
    def verdict(self) -> str:
        if self.got is None:
            return "not checked"
        return "ok" if abs(self.got - self.golden.expected) <= self.golden.tolerance else "WRONG"


def read_goldens(path: Path) -> list[Golden]:
    return [Golden(**item) for item in json.loads(path.read_text(encoding="utf-8"))]


def compare(goldens: list[Golden], measured: Measured) -> list[Row]:
    return [Row(golden, measured.values.get(golden.name)) for golden in goldens]


def table(rows: list[Row]) -> str:
    width = max(len(row.golden.name) for row in rows)
    lines = [f"{'quantity':<{width}} {'expected':>13} {'got':>13} {'tolerance':>10}  verdict"]
    for row in rows:
        got = "-" if row.got is None else f"{row.got:.5f}"
        golden = row.golden
        lines.append(
            f"{golden.name:<{width}} {golden.expected:>13.5f} {got:>13} {golden.tolerance:>10.4g}  {row.verdict}"
        )
    return "\n".join(lines)


def write_vectors(out: Path, measured: Measured) -> None:
    out.mkdir(parents=True, exist_ok=True)
    save_file(measured.vectors, out / "vectors.safetensors")
    (out / "inputs.json").write_text(json.dumps({"inputIds": measured.input_ids}) + "\n", encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(prog="verify-flava-full", description="Check facebook/flava-full's known values.")
    parser.add_argument("folder", type=Path, help="checkpoint folder: FlavaForPreTraining's for all rows")
    parser.add_argument("image", type=Path, help="COCO val2017 000000039769.jpg")
    parser.add_argument("--goldens", type=Path, default=GOLDENS, help="other expected values, for tests")
    parser.add_argument("--vectors", type=Path, help="folder for the embeddings of these inputs")
    arguments = parser.parse_args()
    try:
        measured = measure(arguments.folder, arguments.image)
    except CheckpointError as error:
        print(f"{error.code}: {error}", file=sys.stderr)
        sys.exit(2)
    except OSError as error:
        print(f"image_unreadable: {arguments.image}: {error}", file=sys.stderr)
        sys.exit(2)
    if arguments.vectors is not None:
        write_vectors(arguments.vectors, measured)
    rows = compare(read_goldens(arguments.goldens), measured)
    print(table(rows), EXPLANATION, sep="\n\n")
    verdicts = [row.verdict for row in rows]
    if measured.missing is not None:
        print(f"{verdicts.count('not checked')} rows not checked: {measured.missing}")
    print(f"{verdicts.count('ok')} ok, {verdicts.count('WRONG')} wrong")
    sys.exit(1 if "WRONG" in verdicts or "ok" not in verdicts else 0)


if __name__ == "__main__":
    main()
