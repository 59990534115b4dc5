"""The command line from flags to files: what is printed, what is saved beside a package, and how it ends."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from flava_gpu.evaluation import commands
from flava_gpu.evaluation.__main__ import main
from flava_gpu.evaluation.confidence import Estimate
from flava_gpu.evaluation.encoders import EdgeEncoder
from flava_gpu.evaluation.model import EvaluatedModel
from flava_gpu.evaluation.report import origin_of
from flava_gpu.evaluation.saved_scores import save_targets
from flava_gpu.evaluation.scores import Floor, Score
from flava_gpu.evaluation.targets import TARGETS, format_targets, judge, target_lines
from tests.tiny import row, write_lines
from tests.tiny_checkpoint import write_checkpoint

NAMES = ("red cat", "red dog", "small heart", "the rain", "small cat", "red heart")
STYLES = {"noto": "train-style", "fxemoji": "dev-style", "openmoji": "test-style"}


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models") / "tiny"
    write_checkpoint(folder / "checkpoint")
    (folder / "text.safetensors").write_bytes(bytes(2**20))
    identity = {"space": "s", "weights": "w", "checkpoint": "c"}
    (folder / "config.json").write_text(json.dumps({"flava_edge": identity}))
    return folder


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six concepts in three styles, the last two held out; pictures of one colour a concept."""
    folder = tmp_path_factory.mktemp("data") / "emoji"
    random = np.random.default_rng(0)
    rows = []
    for index, name in enumerate(NAMES):
        colour = random.integers(0, 255, 3)
        for style, role in STYLES.items():
            path = folder / "images" / style / f"{index}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            pixels = np.full((16, 16, 3), 255, np.uint8)
            pixels[2:14, 2 + index : 14] = colour
            Image.fromarray(pixels).save(path)
            rows.append(row(f"{style}/{index}.png", name, str(index), style, role, "test" if index > 3 else "train"))
    write_lines(folder / "pairs.jsonl", rows)
    (folder / "manifest.json").write_text(json.dumps({"hash": "tiny"}))
    return folder


def flags(package: Path, data: Path, tmp_path: Path) -> list[str]:
    common = {
        "--engine": "torch",
        "--model": package,
        "--data": data,
        "--labelled": tmp_path,
        "--work": tmp_path / "work",
    }
    return [str(word) for pair in common.items() for word in pair]


def test_json_is_one_object_a_line_and_nothing_else(
    package: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["retrieval", "--json", "--split", "A", "--split", "C", *flags(package, data, tmp_path)]) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [(line["split"], line["direction"], line["n"]) for line in lines] == [
        ("A", "i2t", 4),
        ("A", "t2i", 4),
        ("C", "i2t", 2),
        ("C", "t2i", 2),
    ]


def test_the_table_has_floors_and_save_keeps_rows_with_their_origin(
    package: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["retrieval", "--save", *flags(package, data, tmp_path)]) == 0
    table = capsys.readouterr().out
    assert "pixels-trimmed" in table
    assert "held-out style, seen concepts (4 names, openmoji)" in table
    saved = json.loads((package / "scores.json").read_text())
    assert saved["model"] == {"space": "s", "weights": "w", "checkpoint": "c"}
    assert saved["data"] == "tiny"
    assert saved["command"].startswith("npm run eval -- retrieval --engine torch --save")
    assert {line["engine"] for line in saved["rows"]} == {"torch", "chance", "pixels", "pixels-trimmed"}


def test_a_report_holds_rows_and_costs_for_programs(package: Path, data: Path, tmp_path: Path) -> None:
    report = tmp_path / "report.json"
    given = ["--split", "dev", "--report", str(report), "--cache", str(tmp_path / "cache")]
    for _ in range(2):  # the second time from the cache
        assert main(["retrieval", *given, *flags(package, data, tmp_path)]) == 0
    told = json.loads(report.read_text())
    assert told["data"] == "tiny"
    assert [line["split"] for line in told["rows"]] == ["dev", "dev"]
    assert told["costs"] == []
    assert list((tmp_path / "cache").glob("vectors-*.safetensors"))


def test_a_suite_writes_its_table_and_tells_what_was_not_run(
    package: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert main(["itm", "--out", str(out), *flags(package, data, tmp_path)]) == 0
    assert "| ITM, random (2) | ITM, torch | accuracy | 8 |" in capsys.readouterr().out
    assert {path.name for path in out.iterdir()} == {"itm.json", "itm.md", "itm.png"}
    assert main(["probe", "--task", "spam", "--jobs", "1", *flags(package, data, tmp_path)]) == 1
    assert "Not run: probe spam:" in capsys.readouterr().out


def test_one_missing_thing_costs_its_own_row_and_no_other(
    package: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The tiny data has no glosses and no codebook; its checkpoint is told to have no trained MIM head."""
    record = package / "checkpoint" / "training.json"
    record.write_text('{"heads": ["mmm_text", "mlm", "mmm_image"]}')
    try:
        assert main(["masked", *flags(package, data, tmp_path)]) == 0
    finally:
        record.unlink()
    table = capsys.readouterr().out
    assert "| MMM-text | masked, torch | accuracy | 4 |" in table
    assert "Not run: MLM: " in table
    assert "npm run data" in table
    assert "trained without mim" in table
    assert "Not run: MMM-image: " in table


def test_a_suite_without_the_emoji_set_tells_so_for_each_row(
    package: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["itm", *flags(package, tmp_path / "nowhere", tmp_path)]) == 1
    assert capsys.readouterr().out.count("Not run: ITM") == 2


def test_every_job_s_rows_are_on_disk_before_the_next_begins(
    package: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second of two jobs is killed."""
    score = commands.matching_score

    def scored_once(model: object, pictures: object, negatives: str, about: str) -> Score:
        if negatives == "same subgroup":
            raise KeyboardInterrupt
        return score(model, pictures, negatives, about)  # type: ignore[arg-type]

    monkeypatch.setattr(commands, "matching_score", scored_once)
    with pytest.raises(KeyboardInterrupt):
        main(["itm", "--out", str(tmp_path), *flags(package, data, tmp_path)])
    assert [row["task"] for row in json.loads((tmp_path / "itm.json").read_text())["rows"]] == ["ITM, random"]


def test_a_package_without_its_checkpoint_is_scored_as_far_as_that_goes(package: Path) -> None:
    collected = commands.Collected()
    model = EvaluatedModel(EdgeEncoder(["false"]), None)
    collected.add(("needs heads", lambda: model.require_heads("itm") or []))
    collected.add(("needs none", lambda: [score(0, 0.1)]))
    assert len(collected.scores) == 1
    assert "--checkpoint names one" in collected.skipped[0]
    assert [line.title for line in target_lines(collected.scores, package, None)][-1] == "edge package"


def test_missing_data_ends_with_its_code_and_command(
    package: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["retrieval", *flags(package, tmp_path / "nowhere", tmp_path)]) == 1
    error = capsys.readouterr().err
    assert "data_missing: " in error
    assert "npm run data" in error


@pytest.mark.parametrize("words", [["--help"], ["table", "--help"], ["retrieval", "--help"]])
def test_help_is_printed(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(words)
    assert ended.value.code == 0
    assert "npm run eval --" in capsys.readouterr().out


def score(target_index: int, value: float) -> Score:
    target = TARGETS[target_index]
    got = Estimate(value, value - 0.02, value + 0.02)
    return Score(target.task, "", target.suite, target.metric, 100, got, (Floor("chance", 0.01),))


def test_targets_are_judged_in_the_projects_order_and_sizes_are_measured(package: Path) -> None:
    lines = target_lines([score(1, 0.4), score(0, 0.1)], package, package / "checkpoint")
    assert [(line.got, line.verdict) for line in lines[:2]] == [(10.0, "missed"), (40.0, "must reached")]
    assert lines[2].title == "edge package"
    assert lines[2].got == 1.0
    assert lines[2].verdict == "aim reached"
    table = format_targets(lines)
    assert "| 15 % | 35 % | 10.0 (8.0 to 12.0) | 100 | chance 1.0 | missed |" in table
    assert "| ≤ 12 MiB | ≤ 8 MiB | 1.0 |" in table
    assert judge(9.9, None, None) == "reported"
    assert judge(35, 15, 35) == "aim reached"


def test_targets_are_kept_beside_retrieval_of_the_same_weights(package: Path, data: Path, tmp_path: Path) -> None:
    main(["retrieval", "--save", "--split", "A", *flags(package, data, tmp_path)])
    origin = {**origin_of("x", {"weights": "w"}, "tiny"), "engine": "torch"}
    lines = target_lines([score(0, 0.1)], package, package / "checkpoint")
    save_targets(package, origin, lines)
    saved = json.loads((package / "scores.json").read_text())
    assert saved["rows"]
    assert saved["targets"]["lines"][0]["got"] == 10.0
    main(["retrieval", "--save", "--split", "A", *flags(package, data, tmp_path)])
    assert "targets" in json.loads((package / "scores.json").read_text())
    save_targets(package, {**origin, "model": {"weights": "other"}}, lines)
    assert json.loads((package / "scores.json").read_text())["rows"] == []
