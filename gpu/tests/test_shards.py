"""Shards: what they yield and in which order, and every way in which one can be bad."""

from __future__ import annotations

import io
import json
import random
import tarfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from flava_gpu.distributed import Ranks
from flava_gpu.pairs import load_training_pairs
from flava_gpu.shards.count import (
    SIDE,
    count_epoch,
    generated_samples,
    is_reshuffled,
    make_stream,
    numbers,
    resumes_exactly,
)
from flava_gpu.shards.faults import FaultCode, OnBad, ShardError
from flava_gpu.shards.index import Content, ShardSet, index_shards, load_shards, load_spans
from flava_gpu.shards.order import ShardOrder
from flava_gpu.shards.pairs import ShardsConfig, StreamedPairs
from flava_gpu.shards.reader import ShardReader
from flava_gpu.shards.stream import ShardStream, stream_batches
from flava_gpu.shards.write import training_samples
from flava_gpu.shards.writer import SampleFiles, write_shards
from tests.tiny import write_data

BATCH = 16


@pytest.fixture(scope="module")
def counted(tmp_path_factory: pytest.TempPathFactory) -> ShardSet:
    """20,000 items in 15 shards, the last one short."""
    folder = tmp_path_factory.mktemp("counted")
    write_shards(generated_samples(20_000), folder, shard_samples=1_400)
    return index_shards(folder)


@pytest.mark.parametrize("ranks", [1, 2, 3])
def test_every_item_comes_once_an_epoch_over_all_ranks_but_for_the_rest_of_a_batch(
    counted: ShardSet, ranks: int
) -> None:
    found = count_epoch(counted, ranks, BATCH, epoch=ranks)
    found.check(BATCH)
    assert found.once == ranks * found.batches_per_rank * BATCH
    assert found.once + found.never == 20_000


def test_a_stream_taken_up_in_the_middle_or_over_an_epochs_end_goes_on_as_the_first_would_have(
    counted: ShardSet,
) -> None:
    assert resumes_exactly(counted, BATCH)


def test_two_reading_processes_yield_what_none_does(counted: ShardSet) -> None:
    alone, helped = (stream_batches(make_stream(counted, 1, 2, BATCH, 8), 3, 9, workers) for workers in (0, 2))
    for one, two in zip(alone, helped, strict=True):
        assert one.keys == two.keys
        assert one.images is not None
        assert two.images is not None
        assert torch.equal(one.images, two.images)


def test_items_are_shuffled_within_and_between_epochs(counted: ShardSet) -> None:
    assert is_reshuffled(counted, BATCH)


def test_a_batch_mixes_most_of_the_interleaved_shards(counted: ShardSet) -> None:
    batch = next(stream_batches(make_stream(counted, 0, 1, 256), 5, 6))
    shards = {key.split("/")[0] for key in batch.keys}
    assert len(shards) >= 12  # of 15; the short one has few


def test_memory_holds_a_bounded_number_of_open_shards(counted: ShardSet) -> None:
    reader = ShardReader(counted, max_open=3)
    for shard in range(len(counted.shards)):
        reader.read(shard, 0)
        assert len(reader._open) <= 3
    reader.close()


def test_an_order_needs_a_batch_for_every_rank() -> None:
    with pytest.raises(ValueError, match="30 samples are no batch of 16 for each of 2 ranks"):
        ShardOrder([10, 20], BATCH, 0, "few", ranks=2)


def picture(side: int = 8, colour: tuple[int, ...] = (200, 10, 10)) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (side, side), colour).save(file, "PNG")
    return file.getvalue()


def good(number: int) -> SampleFiles:
    return SampleFiles(f"{number:03}", {"png": picture(), "txt": f"caption {number}".encode()})


def write_tar(path: Path, members: list[tuple[str, bytes]]) -> Path:
    with tarfile.open(path, "w") as tar:
        for name, content in members:
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return path


def with_bad_in_the_middle(folder: Path, files: dict[str, bytes]) -> Path:
    samples = [good(0), good(1), SampleFiles("bad", files), *(good(number) for number in range(3, 12))]
    return write_shards(samples, folder)[0]


def stream_of(folder: Path, on_bad: OnBad, batch_size: int = 4) -> ShardStream:
    shards = index_shards(folder, on_bad=on_bad)
    order = ShardOrder([shard.samples for shard in shards.shards], batch_size, 0, "bad")
    return ShardStream(ShardReader(shards), order, 8, on_bad)


CONTENT_FAULTS: list[tuple[FaultCode, dict[str, bytes]]] = [
    ("missing_picture", {"txt": b"a cat"}),
    ("missing_caption", {"png": picture()}),
    ("empty_caption", {"png": picture(), "txt": b""}),
    ("unreadable_picture", {"png": b"", "txt": b"a cat"}),
    ("duplicate_key", {"png": picture(), "jpg": picture(), "txt": b"a cat"}),
]
READING_FAULTS: list[tuple[FaultCode, dict[str, bytes]]] = [
    ("empty_caption", {"png": picture(), "txt": b" \n"}),
    ("empty_caption", {"png": picture(), "json": b'{"captions": []}'}),
    ("unreadable_caption", {"png": picture(), "txt": b"\xff\xfe"}),
    ("unreadable_caption", {"png": picture(), "json": b'{"caption": '}),
    ("unreadable_caption", {"png": picture(), "json": b'{"caption": 5}'}),
    ("unreadable_caption", {"png": picture(), "json": b'{"captions": "a cat"}'}),
    ("unreadable_caption", {"png": picture(), "json": b'{"captions": {"en": "a cat"}}'}),
    ("unreadable_caption", {"png": picture(), "json": b'{"captions": null}'}),
    ("unreadable_picture", {"png": b"no picture", "txt": b"a cat"}),
    ("unreadable_picture", {"png": picture()[:50], "txt": b"a cat"}),
]


@pytest.mark.parametrize(("code", "files"), CONTENT_FAULTS)
def test_indexing_names_the_shard_and_the_key_of_a_bad_sample(
    tmp_path: Path, code: FaultCode, files: dict[str, bytes]
) -> None:
    with_bad_in_the_middle(tmp_path, files)
    with pytest.raises(ShardError, match=r"00000\.tar, sample 'bad'") as caught:
        index_shards(tmp_path)
    assert caught.value.code == code
    assert not (tmp_path / "shards.json").exists()


@pytest.mark.parametrize(("code", "files"), CONTENT_FAULTS)
def test_skipping_leaves_a_bad_sample_out_of_the_index_and_names_it(
    tmp_path: Path, code: FaultCode, files: dict[str, bytes]
) -> None:
    with_bad_in_the_middle(tmp_path, files)
    shards = index_shards(tmp_path, on_bad="skip")
    named = [json.loads(line) for line in (tmp_path / "skipped.jsonl").read_text().splitlines()]
    assert [(fault["code"], fault["shard"], fault["key"]) for fault in named] == [(code, "00000.tar", "bad")]
    assert (shards.skipped, shards.samples) == (1, 11)
    assert b"bad" not in load_spans(tmp_path, shards.shards[0]).keys


@pytest.mark.parametrize(("code", "files"), READING_FAULTS)
@pytest.mark.parametrize("workers", [0, 1])
def test_reading_names_the_shard_and_the_key_of_a_bad_sample_from_any_process(
    tmp_path: Path, code: FaultCode, files: dict[str, bytes], workers: int
) -> None:
    with_bad_in_the_middle(tmp_path, files)
    with pytest.raises(ShardError, match=r"00000\.tar, sample 'bad'") as caught:
        list(stream_batches(stream_of(tmp_path, "error"), 0, 3, workers))
    assert caught.value.code == code


@pytest.mark.parametrize(("code", "files"), READING_FAULTS)
def test_skipping_puts_another_sample_in_a_bad_ones_place_and_says_so(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, code: FaultCode, files: dict[str, bytes]
) -> None:
    with_bad_in_the_middle(tmp_path, files)
    batches = list(stream_batches(stream_of(tmp_path, "skip"), 0, 3))
    faults = [fault for batch in batches for fault in batch.skipped]
    assert [(fault.code, fault.key) for fault in faults] == [(code, "bad")]
    assert "sample 'bad'" in caplog.text
    assert all(len(set(batch.keys)) == 4 for batch in batches)  # full, and nothing twice in one batch
    assert len({key for batch in batches for key in batch.keys}) == 11


def test_shards_of_bad_samples_alone_end_a_run_that_skips(tmp_path: Path) -> None:
    write_shards([SampleFiles(str(number), {"png": b"none", "txt": b"a"}) for number in range(40)], tmp_path)
    with pytest.raises(ShardError, match="16 bad samples one after the other"):
        list(stream_batches(stream_of(tmp_path, "skip", batch_size=2), 0, 1))


def test_a_key_that_comes_again_later_in_the_shard_is_a_duplicate(tmp_path: Path) -> None:
    pair = [("a.png", picture()), ("a.txt", b"one")]
    write_tar(tmp_path / "0.tar", [*pair, ("b.png", picture()), ("b.txt", b"two"), *pair])
    with pytest.raises(ShardError, match="'a': the key stands twice") as caught:
        index_shards(tmp_path)
    assert caught.value.code == "duplicate_key"


@pytest.mark.parametrize("cut", ["in a picture", "in a header", "between members", "before the end block"])
def test_a_truncated_shard_is_an_error_wherever_it_is_cut_and_keeps_its_whole_samples(tmp_path: Path, cut: str) -> None:
    path = write_tar(
        tmp_path / "0.tar", [part for n in range(3) for part in ((f"{n}.png", picture()), (f"{n}.txt", b"caption"))]
    )
    with tarfile.open(path) as tar:
        last = tar.getmember("2.png"), tar.getmember("2.txt")
    ends = {
        "in a picture": last[0].offset_data + 20,
        "in a header": last[1].offset + 100,
        "between members": last[1].offset,
        "before the end block": last[1].offset_data + 512,
    }
    path.write_bytes(path.read_bytes()[: ends[cut]])
    with pytest.raises(ShardError, match=r"0\.tar, sample '2'") as caught:
        index_shards(tmp_path)
    assert caught.value.code == "truncated_shard"
    shards = index_shards(tmp_path, on_bad="skip")
    assert (shards.samples, shards.skipped) == (2, 1)  # the sample at the cut may lack a part, and is not kept


def test_a_file_that_is_no_tar_is_an_error_that_names_it(tmp_path: Path) -> None:
    (tmp_path / "0.tar").write_bytes(b"<html>not found</html>" * 100)
    with pytest.raises(ShardError, match=r"0\.tar: not an uncompressed tar file") as caught:
        index_shards(tmp_path)
    assert caught.value.code == "unreadable_shard"


def test_a_shard_that_changed_since_indexing_is_an_error_whatever_the_policy(tmp_path: Path) -> None:
    path = write_shards([good(number) for number in range(8)], tmp_path)[0]
    stream = stream_of(tmp_path, "skip")
    path.write_bytes(path.read_bytes()[:-512])
    with pytest.raises(ShardError, match="index the folder again") as caught:
        list(stream_batches(stream, 0, 1))
    assert caught.value.code == "changed_shard"
    path.unlink()
    with pytest.raises(ShardError, match="is gone since indexing"):
        stream.batch(0)


def test_a_folder_without_an_index_names_the_command_that_makes_one(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"python -m flava_gpu\.shards\.index"):
        load_shards(tmp_path)


def test_captions_of_the_text_and_the_json_file_come_together_without_repeats(tmp_path: Path) -> None:
    captions = json.dumps({"captions": ["a dog", "a cat ", "a pet"]}).encode()
    write_shards([SampleFiles("a/b", {"png": picture(), "txt": b"a cat\n", "json": captions})], tmp_path)
    sample = ShardReader(index_shards(tmp_path)).read(0, 0)
    assert sample.key == "a/b"
    assert sample.texts == ("a cat", "a dog", "a pet")


@pytest.mark.parametrize(
    ("content", "files"), [("image", {"png": picture()}), ("text", {"txt": b"words alone"}), ("pair", {})]
)
def test_shards_of_one_modality_need_only_that(tmp_path: Path, content: Content, files: dict[str, bytes]) -> None:
    if content == "pair":
        files = {"png": picture(), "txt": b"words"}
    write_shards([SampleFiles(str(number), files) for number in range(4)], tmp_path)
    shards = index_shards(tmp_path, content)
    batch = ShardStream(ShardReader(shards), ShardOrder([4], 4, 0, "one"), 8).batch(0)
    assert (batch.images is None) == (content == "text")
    assert all(bool(texts) == (content != "image") for texts in batch.texts)


def test_pictures_come_as_rgba_of_the_asked_side(tmp_path: Path) -> None:
    write_shards([SampleFiles("a", {"png": picture(30, (7, 8, 9)), "txt": b"a"})], tmp_path)
    batch = ShardStream(ShardReader(index_shards(tmp_path)), ShardOrder([1], 1, 0, "one"), 12).batch(0)
    assert batch.images is not None
    assert batch.images.shape == (1, 4, 12, 12)
    assert batch.images[0, :, 5, 5].tolist() == [7, 8, 9, 255]


def test_the_same_samples_make_the_same_bytes_and_never_overwrite(tmp_path: Path) -> None:
    one, two = (write_shards([good(n) for n in range(5)], tmp_path / name, shard_samples=2) for name in ("one", "two"))
    assert [path.name for path in one] == ["00000.tar", "00001.tar", "00002.tar"]
    assert [path.read_bytes() for path in one] == [path.read_bytes() for path in two]
    with pytest.raises(FileExistsError, match="holds shards already"):
        write_shards([good(0)], tmp_path / "one")


def test_a_writer_that_fails_leaves_whole_shards_only(tmp_path: Path) -> None:
    samples = [good(0), good(1), good(2), SampleFiles("v1.5", {"txt": b"a"})]
    with pytest.raises(ValueError, match="expected no dot"):
        write_shards(samples, tmp_path, shard_samples=2)
    assert [path.name for path in tmp_path.iterdir()] == ["00000.tar"]


def test_a_fingerprint_tells_other_shards_from_the_same(counted: ShardSet) -> None:
    assert load_shards(counted.folder).fingerprint == counted.fingerprint
    assert replace(counted, shards=counted.shards[1:]).fingerprint != counted.fingerprint


def test_numbers_read_back_the_captions_of_generated_items(counted: ShardSet) -> None:
    batch = next(stream_batches(make_stream(counted, 0, 1, BATCH), 0, 1))
    assert numbers(batch) == [int(key.split("/")[1]) for key in batch.keys]
    assert np.unique(numbers(batch)).size == BATCH


def test_our_own_data_set_becomes_shards_of_what_may_be_trained_on(tmp_path: Path) -> None:
    data = write_data(tmp_path / "data")
    pairs = load_training_pairs(data)
    write_shards(training_samples(data, 0), tmp_path / "shards", shard_samples=20)
    shards = index_shards(tmp_path / "shards")
    assert (len(shards.shards), shards.samples) == (3, len(pairs.images))
    stream = ShardStream(ShardReader(shards), ShardOrder([s.samples for s in shards.shards], 45, 0, "own"), 16)
    batch = stream.batch(0)
    assert batch.images is not None
    expected = {
        picture.numpy().tobytes(): concept for picture, concept in zip(pairs.images, pairs.concepts, strict=True)
    }
    for picture, texts in zip(batch.images, batch.texts, strict=True):
        assert list(texts) == pairs.captions[expected.pop(picture.numpy().tobytes())]
    assert not expected


def test_streamed_pairs_are_each_rank_s_own_and_the_same_after_a_jump(counted: ShardSet) -> None:
    config = ShardsConfig(counted.folder, "error", workers=0)
    straight, jumped, other = (StreamedPairs(config, 8, 2 * BATCH, SIDE, 0, Ranks(rank, 2)) for rank in (0, 0, 1))
    drawn = [straight.draw(number, random.Random(number)) for number in range(6)]
    again = jumped.draw(4, random.Random(4))
    assert again.concepts == drawn[4].concepts
    assert again.captions == drawn[4].captions
    assert torch.equal(again.images, drawn[4].images)
    assert jumped.draw(5, random.Random(5)).concepts == drawn[5].concepts
    assert jumped.draw(1, random.Random(1)).concepts == drawn[1].concepts
    assert len(drawn[0].concepts) == BATCH
    keys = [key for batch in drawn for key in batch.concepts]
    keys += [key for number in range(6) for key in other.draw(number, random.Random(number)).concepts]
    assert len(set(keys)) == len(keys)
