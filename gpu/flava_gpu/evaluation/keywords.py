"""CLDR's English keywords of emoji, as queries with several right pictures. pairs.jsonl has them among those of other sources,
so that they are read from the package that it was made of.
"""

from __future__ import annotations

import json
import tarfile
from pathlib import Path

from flava_gpu.evaluation.errors import DataMissingError

PACKAGES = (("cldr-annotations-full-", "annotations"), ("cldr-annotations-derived-full-", "annotationsDerived"))
VARIATION_SELECTOR = "\ufe0f"


def cldr_keywords(cache: Path) -> dict[str, list[str]]:
    """By concept key ("1F436"), lower-case, the spoken name not among them. `cache`: where `npm run data` keeps packages."""
    keywords: dict[str, list[str]] = {}
    for prefix, folder in PACKAGES:
        found = sorted(cache.glob(f"{prefix}*.tgz"))
        if not found:
            raise DataMissingError(f"{cache}/{prefix}*.tgz is missing: run `npm run data` first")
        with tarfile.open(found[-1]) as archive:
            file = archive.extractfile(f"package/{folder}/en/annotations.json")
            assert file is not None
            annotations = json.load(file)[folder]["annotations"]
        for emoji, entry in annotations.items():
            names = {name.lower() for name in entry.get("tts", [])}
            words = [word.lower() for word in entry.get("default", []) if word.lower() not in names]
            keywords.setdefault(key_of(emoji), []).extend(dict.fromkeys(words))
    return keywords


def key_of(emoji: str) -> str:
    """Code points in hexadecimal without variation selectors, as concept keys are."""
    return "-".join(f"{ord(point):04X}" for point in emoji if point != VARIATION_SELECTOR)
