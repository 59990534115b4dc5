"""Writes unicode-names.json: for the icon set that has neither code points nor CLDR names (FxEmojis), the icons
whose name is a Unicode character name without blanks and hyphens. Node has no table of Unicode names.

    python3 tools/data/make_unicode_names.py data/cache/iconify-json-fxemoji-1.2.2.tgz

The committed file was made with Unicode 14.0 (Python 3.11); a later Unicode only adds names.
"""

import json
import re
import sys
import tarfile
import unicodedata
from pathlib import Path

# Symbols lie in these blocks; the first one ends before the CJK ideographs.
CODE_POINTS = [*range(0x20, 0x3400), *range(0x1F000, 0x1FB00)]


def main(tarball: Path) -> None:
    with tarfile.open(tarball) as archive:
        member = archive.extractfile("package/icons.json")
        assert member is not None, "the package has no icons.json"
        icons: dict[str, object] = json.load(member)["icons"]
    code_points: dict[str, str] = {}
    for code_point in CODE_POINTS:
        name = re.sub("[^a-z0-9]", "", unicodedata.name(chr(code_point), "").lower())
        if name:
            code_points.setdefault(name, f"{code_point:04X}")
    table = {icon: code_points[icon] for icon in sorted(icons) if icon in code_points}
    output = Path(__file__).with_name("unicode-names.json")
    output.write_text(json.dumps(table, indent=2) + "\n", encoding="utf-8")
    print(f"{output.name}: {len(table)} of {len(icons)} icon names, Unicode {unicodedata.unidata_version}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
