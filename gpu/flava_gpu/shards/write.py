"""Our own data set as shards: `python -m flava_gpu.shards.write --data data/emoji --out build/shards`.

The pictures that may be trained on, in a random order, each with all captions of its concept: the name as `txt`, the others
in the `json`. Held-out styles and concepts are never among them.
"""

from __future__ import annotations

import argparse
import json
import random
from collections.abc import Iterator
from pathlib import Path

from tqdm import tqdm

from flava_gpu.pairs import captions_by_concept, training_pictures
from flava_gpu.shards.index import describe, index_shards
from flava_gpu.shards.writer import SHARD_SAMPLES, SampleFiles, write_shards


def training_samples(data: Path, seed: int) -> Iterator[SampleFiles]:
    """Raises FileNotFoundError for a picture that is not there."""
    rows, pictures = training_pictures(data)
    captions = captions_by_concept(rows)
    random.Random(seed).shuffle(pictures)  # shards differ in nothing: neighbours in one are no vendor's row of smileys
    for picture in tqdm(pictures, desc="write", unit=" pictures", disable=len(pictures) < 1000):
        path = data / "images" / picture.path
        texts = captions[picture.concept]
        fields = {"captions": texts, "concept": picture.concept, "kind": picture.kind}
        yield SampleFiles(
            picture.path.removesuffix(path.suffix).replace(".", "_"),
            {
                path.suffix.removeprefix("."): path.read_bytes(),
                "txt": texts[0].encode(),
                "json": json.dumps(fields, ensure_ascii=False).encode(),
            },
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("data/emoji"), help="what `npm run data` wrote")
    parser.add_argument("--out", type=Path, required=True, help="a folder without shards")
    parser.add_argument("--shard-samples", type=int, default=SHARD_SAMPLES)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    write_shards(training_samples(arguments.data, arguments.seed), arguments.out, arguments.shard_samples)
    print(describe(index_shards(arguments.out)))


if __name__ == "__main__":
    main()
