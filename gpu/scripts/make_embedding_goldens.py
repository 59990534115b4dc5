"""Makes the committed vectors of the encoder tests from the committed checkpoint; run it after every training:

    PYTHONPATH=gpu .venv/bin/python gpu/scripts/make_embedding_goldens.py

Texts and pictures are made up (flava_gpu.parity), so no data set is needed; the pictures are not stored, since
test/flava/procedural-pictures.ts draws the same bytes.
"""

from __future__ import annotations

from pathlib import Path

from flava_gpu.parity import write_parity_vectors

ROOT = Path(__file__).resolve().parents[2]

if __name__ == "__main__":
    write_parity_vectors(
        ROOT / "models/flava-emoji/checkpoint", ROOT / "test/fixtures/flava", data=None, keep_pictures=False
    )
