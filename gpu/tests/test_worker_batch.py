"""Batches on the embedded checkpoint over real HTTP: bodies as the routes take and answer them, line errors, a kill and a resumption."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from flava_gpu.evaluation.encoders import TorchEncoder, unit
from flava_gpu.worker.batch import run as batch_run
from flava_gpu.worker.batch.parts import PartedFile
from flava_gpu.worker.batch.run import BatchRun
from flava_gpu.worker.broker_client import BrokerClient
from flava_gpu.worker.catalog import ModelCatalog
from flava_gpu.worker.contract import REPOSITORY
from flava_gpu.worker.held_job import HeldJob
from flava_gpu.worker.lanes import LaneSettings, LongLane
from flava_gpu.worker.messages import JobObject, Lease, ModelRef, WorkerDescription
from flava_gpu.worker.model_store import ModelStore
from flava_gpu.worker.tasks.runtime import FlavaRuntime, load_runtime
from flava_gpu.worker.transfer import Transfer, new_http
from tests.test_worker_tasks import encoded, picture
from tests.worker_gateway import TOKEN, Call, Gateway

MODEL = "flava-emoji"
CATALOG = ModelCatalog(REPOSITORY / "models")
STORE: ModelStore[FlavaRuntime] = ModelStore(
    CATALOG, lambda folder, heads: load_runtime(folder, heads, "cpu"), 1 << 30, Path("unused")
)


@pytest.fixture
def gateway() -> Iterator[Gateway]:
    gateway = Gateway()
    yield gateway
    gateway.stop()


def line(custom_id: str, body: Any, url: str = "/v1/embeddings", **more: Any) -> str:
    return json.dumps({"custom_id": custom_id, "method": "POST", "url": url, "body": {"model": MODEL, **body}, **more})


def add(gateway: Gateway, lines: list[str], endpoint: str = "/v1/embeddings", **more: Any) -> str:
    given = {"endpoint": endpoint, "model": MODEL, "input": "input.jsonl", "space": "space-1"}
    return gateway.add("batch", given, {"input.jsonl": "\n".join(lines).encode()}, **more)


class Lane:
    """One worker's long lane in a thread."""

    def __init__(self, gateway: Gateway, workdir: Path) -> None:
        self.stopping = threading.Event()
        workdir.mkdir(exist_ok=True)
        contract = gateway.contract
        client = BrokerClient(gateway.url, TOKEN, contract, self.stopping)
        worker = WorkerDescription("w", "1", "cpu", 0, 100, ("batch",), ())
        settings = LaneSettings(
            client, new_http(), contract, worker, STORE.loaded_ids, 3000, 2000, workdir, self.stopping
        )
        self.lane = LongLane(settings, {"batch": BatchRun(STORE, nullcontext, workdir)})
        self.thread = threading.Thread(target=self.lane.run)
        self.thread.start()

    def stop(self) -> None:
        self.stopping.set()
        self.lane.stop()
        self.thread.join(timeout=30)
        assert not self.thread.is_alive()


@pytest.fixture
def lane(gateway: Gateway, tmp_path: Path) -> Iterator[Lane]:
    lane = Lane(gateway, tmp_path)
    yield lane
    lane.stop()


def outputs(gateway: Gateway, job: str, name: str = "output.jsonl") -> list[dict[str, Any]]:
    assert name in [item["name"] for item in gateway.of("complete", job)[0]["outputs"]]
    return [json.loads(text) for text in gateway.objects[name].decode().splitlines()]


def test_embeddings_of_a_batch_are_the_routes_own_in_every_format(gateway: Gateway, lane: Lane) -> None:
    texts = ["a red heart", "dog", "a small house in the snow"]
    job = add(
        gateway,
        [
            line("floats", {"input": texts}),
            line("base64", {"input": texts[1], "encoding_format": "base64"}),
            line("int8", {"input": texts[:1], "output_dtype": "int8"}),
            line("bits", {"input": texts[:1], "output_dtype": "ubinary", "encoding_format": "base64"}),
            line("picture", {"input": [{"image": encoded(picture(1))}, {"text": "dog"}]}),
            line("hidden", {"input": texts[1], "output": "hidden"}),
        ],
    )
    gateway.wait_for(job, "succeeded", 60)
    runtime = STORE.get(ref(), no_fetch)
    encoder = TorchEncoder(runtime.model, runtime.texts._whole, runtime.texts.max_length)
    expected = torch.from_numpy(unit(encoder.texts(texts, "projected").values))
    answers = {answer["custom_id"]: answer["response"]["body"] for answer in outputs(gateway, job)}
    assert list(answers) == ["floats", "base64", "int8", "bits", "picture", "hidden"]
    floats = torch.tensor([item["embedding"] for item in answers["floats"]["data"]])
    torch.testing.assert_close(floats, expected, atol=1e-5, rtol=0)
    decoded = np.frombuffer(base64.b64decode(answers["base64"]["data"][0]["embedding"]), "<f4")
    np.testing.assert_allclose(decoded, expected[1].numpy(), atol=1e-5)
    np.testing.assert_array_equal(
        answers["int8"]["data"][0]["embedding"], np.floor(floats[0].double().numpy() * 127 + 0.5)
    )
    bits = np.frombuffer(base64.b64decode(answers["bits"]["data"][0]["embedding"]), np.uint8)
    np.testing.assert_array_equal(bits, np.packbits(floats[0].numpy() > 0))
    np.testing.assert_allclose(answers["picture"]["data"][1]["embedding"], expected[1].numpy(), atol=1e-5)
    hidden = answers["hidden"]
    assert np.prod(hidden["x_flava"]["items"][0]["shape"]) == len(hidden["data"][0]["embedding"])
    about = answers["floats"]["x_flava"]
    assert (about["engine"], about["space"], about["placement"]["route"]) == ("gpu", "space-1", "gpu")
    assert answers["floats"]["usage"]["prompt_tokens"] == sum(len(runtime.texts.read(text).input_ids) for text in texts)


def test_each_multimodal_route_answers_in_its_own_shape(gateway: Gateway, lane: Lane) -> None:
    image = encoded(picture(1))
    bodies: dict[str, dict[str, Any]] = {
        "/v1/multimodal/embeddings": {"input": {"image": image, "text": "dog"}, "encoding_format": "base64"},
        "/v1/multimodal/match": {"query": "dog", "candidates": [{"image": image}, {"image": encoded(picture(2))}]},
        "/v1/multimodal/fill-mask": {
            "input": {"image": f"data:image/png;base64,{image}", "text": "a [MASK]"},
            "top_k": 2,
        },
    }
    found: dict[str, Any] = {}
    for endpoint, body in bodies.items():
        job = add(gateway, [line("one", body, endpoint)], endpoint)
        gateway.wait_for(job, "succeeded", 60)
        found[endpoint] = outputs(gateway, job)[0]["response"]["body"]
    embedding = found["/v1/multimodal/embeddings"]
    assert embedding["x_flava"]["items"][0]["shape"] == [192]
    assert len(base64.b64decode(embedding["data"][0]["embedding"])) == 192 * 4
    match = found["/v1/multimodal/match"]["data"]
    assert sorted(item["rank"] for item in match) == [1, 2]
    assert match[0]["rank"] == (1 if match[0]["score"] > match[1]["score"] else 2)
    assert len(found["/v1/multimodal/fill-mask"]["data"][0]["words"][0]["candidates"]) == 2


def test_every_line_that_cannot_be_done_is_told_with_its_number_and_the_others_are_done(
    gateway: Gateway, lane: Lane
) -> None:
    long = "word " * 200
    job = add(
        gateway,
        [
            line("good", {"input": "dog"}),
            "{not json",
            "",
            line("good", {"input": "cat"}),
            line("url", {"input": "dog"}, "/v1/multimodal/match"),
            line("model", {"input": "dog", "model": "other"}),
            line("method", {"input": "dog"}, method="GET"),
            line("empty", {"input": []}),
            line("long", {"input": long, "truncate": False}),
            line("picture", {"input": {"image": "aGVsbG8="}}),
            line("fetch", {"input": {"image": "https://example.com/cat.png"}}),
            line("dimensions", {"input": "dog", "dimensions": 3}),
            line("also good", {"input": long}),
        ],
    )
    gateway.wait_for(job, "succeeded", 60)
    assert gateway.of("complete", job)[0]["result"]["request_counts"] == {"total": 12, "completed": 2, "failed": 10}
    assert [answer["custom_id"] for answer in outputs(gateway, job)] == ["good", "also good"]
    errors = [
        (told["custom_id"], told["error"]["line"], told["error"]["code"], (told["response"] or {}).get("status_code"))
        for told in outputs(gateway, job, "errors.jsonl")
    ]
    assert errors == [
        (None, 2, "invalid_json", None),
        ("good", 4, "duplicate_custom_id", None),
        ("url", 5, "invalid_url", None),
        ("model", 6, "mismatched_model", None),
        ("method", 7, "invalid_method", None),
        ("empty", 8, "invalid_input", 400),
        ("long", 9, "input_too_long", 400),
        ("picture", 10, "unsupported_image", 415),
        ("fetch", 11, "image_url_refused", 400),
        ("dimensions", 12, "unsupported_dimensions", 400),
    ]


def test_lines_that_utf_8_has_no_bytes_for_and_integers_written_as_floats_harm_no_other_line(
    gateway: Gateway, lane: Lane
) -> None:
    half = "a\ud800"
    job = add(
        gateway,
        [
            line("good", {"input": "dog"}),
            line(half, {"input": "dog"}),
            line("key", {"input": "dog", half: 1}),
            line("text", {"input": "do" + "\ud800" + "g"}),
            line("floats", {"input": [1.0, 2.0]}),
            line("ints", {"input": [1, 2]}),
        ],
    )
    gateway.wait_for(job, "succeeded", 60)
    done = {told["custom_id"]: told["response"]["body"]["data"] for told in outputs(gateway, job)}
    assert list(done) == ["good", half, "text", "floats", "ints"]
    assert done["good"] == done[half] == done["text"]
    assert done["floats"] == done["ints"]
    errors = [(told["custom_id"], told["error"]["line"]) for told in outputs(gateway, job, "errors.jsonl")]
    assert errors == [("key", 3)]


def test_an_answer_that_json_has_no_word_for_is_an_error_of_its_line_alone(
    gateway: Gateway, lane: Lane, monkeypatch: pytest.MonkeyPatch
) -> None:
    def with_nan(endpoint: str, order: Any, *more: Any) -> dict[str, Any]:
        return {"data": [float("nan") if order.given["items"][0]["text"] == "break" else 1.0]}

    monkeypatch.setattr(batch_run, "response_of", with_nan)
    job = add(gateway, [line(text, {"input": text}) for text in ("one", "break", "two")])
    gateway.wait_for(job, "succeeded", 30)
    assert [told["custom_id"] for told in outputs(gateway, job)] == ["one", "two"]
    error = outputs(gateway, job, "errors.jsonl")[0]["error"]
    assert (error["code"], error["line"]) == ("worker_error", 2)


def test_a_batch_that_loses_its_worker_goes_on_where_it_was_with_nothing_lost_or_doubled(
    gateway: Gateway, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batch_run, "CHECKPOINT_LINES", 32)
    monkeypatch.setattr(batch_run, "LINES_AT_ONCE", 16)
    # 96 lines, every seventh wrong; 32 a checkpoint, and the first worker is lost after the second one.
    lines = [line(f"r{n}", {"input": [] if n % 7 == 0 else f"text {n}"}) for n in range(96)]
    job = add(gateway, lines)
    first = Lane(gateway, tmp_path / "first")

    def has_second_checkpoint() -> Any:
        return next((b["checkpoint"] for b in gateway.beats(job) if b.get("checkpoint", {}).get("step") == 64), None)

    checkpoint = gateway.wait(has_second_checkpoint, 60)
    with gateway.lock:  # its lease has ended and another worker may have the job
        gateway.answers[job] = {"is_held": False}
        gateway.state[job] = "elsewhere" if gateway.state[job] == "running" else gateway.state[job]
    first.stop()
    gateway.told.clear()
    gateway.answers.clear()
    again = add(gateway, lines, resume=checkpoint, fence=2, attempt=2)
    second = Lane(gateway, tmp_path / "second")
    gateway.wait_for(again, "succeeded", 60)
    second.stop()
    done = outputs(gateway, again)
    failed = outputs(gateway, again, "errors.jsonl")
    assert [told["custom_id"] for told in done] == [f"r{n}" for n in range(96) if n % 7]
    assert [told["custom_id"] for told in failed] == [f"r{n}" for n in range(96) if n % 7 == 0]
    assert [told["error"]["line"] for told in failed] == [n + 1 for n in range(96) if n % 7 == 0]
    assert all(told["response"]["body"]["model"] == MODEL for told in done)
    assert gateway.of("complete", again)[0]["result"]["request_counts"] == {"total": 96, "completed": 82, "failed": 14}


def test_a_batch_that_is_handed_back_leaves_a_checkpoint_of_all_it_did(gateway: Gateway, tmp_path: Path) -> None:
    lane = Lane(gateway, tmp_path)
    job = add(gateway, [line(f"r{n}", {"input": f"text {n}"}) for n in range(20_000)])
    gateway.wait(lambda: any(b.get("progress", {}).get("done", 0) > 0 for b in gateway.beats(job)), 60)
    lane.stop()
    told = gateway.of("fail", job)[0]
    assert told["outcome"] == "handed_back"
    checkpoint = gateway.checkpoints(job)[-1]
    step = checkpoint["step"]
    assert 0 < step < 20_000
    kept = b"".join(gateway.objects[item["name"]] for item in checkpoint["objects"])
    assert len(kept.splitlines()) == step


def test_parts_of_a_growing_file_stay_few(gateway: Gateway, tmp_path: Path) -> None:
    gateway.add("batch", {})
    lease = Lease.of(gateway.jobs[0])
    client = BrokerClient(gateway.url, TOKEN, gateway.contract, threading.Event())
    transfer = Transfer(client, new_http(), "w", HeldJob(lease))
    file = PartedFile("output", tmp_path)
    uploaded = 0
    objects: list[JobObject] = []

    def count(call: Call) -> bool:
        nonlocal uploaded
        uploaded += len(call.body) if call.route.startswith("PUT") else 0
        return False

    gateway.faults = [count]
    for index in range(300):
        file.append(f"{index:05}")
        objects = file.upload(transfer)
        assert len(objects) <= 20
    assert b"".join(gateway.objects[item.name] for item in objects) == file.path.read_bytes()
    assert uploaded < 12 * file.bytes


def ref() -> ModelRef:
    return ModelRef(MODEL, MODEL, ())


def no_fetch(item: Any, path: Path) -> None:
    raise AssertionError
