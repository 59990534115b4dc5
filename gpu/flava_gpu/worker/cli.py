"""`flava-gpu work`: reads flags, brings up the lanes and takes them down again. PyTorch is imported here, once, lazily."""

from __future__ import annotations

import argparse
import contextlib
import importlib.metadata
import logging
import os
import re
import shutil
import signal
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

from flava_gpu.worker.batch.run import BatchRun
from flava_gpu.worker.broker_client import BrokerClient, FatalRefusalError
from flava_gpu.worker.catalog import ModelCatalog
from flava_gpu.worker.contract import MAX_LEASED_JOBS, MAX_WAIT_MS, load_contract
from flava_gpu.worker.device_turns import DeviceTurns
from flava_gpu.worker.lanes import InteractiveLane, Lane, LaneSettings, LongLane
from flava_gpu.worker.messages import INTERACTIVE_KINDS, JOB_KINDS, LONG_KINDS, WorkerDescription, WorkerModel
from flava_gpu.worker.model_store import ModelStore
from flava_gpu.worker.training import TrainingRun
from flava_gpu.worker.transfer import new_http

logger = logging.getLogger("flava_gpu.worker")

MIB = 1 << 20
MODEL_SHARE = 0.5
"""Of the device's memory that loaded models may take; the rest is for what they compute."""
EXIT_REFUSED = 3
FOLDER = "flava-worker-"
TOKEN_VARIABLE = "FLAVA_WORKER_TOKEN"
KIND_GROUPS = {"interactive": INTERACTIVE_KINDS, "all": JOB_KINDS}


@dataclass(frozen=True)
class Options:
    url: str
    token: str
    models: Path
    kinds: tuple[str, ...]
    max_jobs: int
    lease_ms: int
    wait_ms: int
    memory_mib: int | None
    device: str
    id: str
    workdir: Path | None
    threads: int | None
    allow_pickle: bool


def main(arguments: Sequence[str] | None = None) -> None:
    options = parse(arguments)
    logging.basicConfig(
        level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s", datefmt="%H:%M:%S"
    )
    logging.getLogger("httpx2").setLevel(logging.WARNING)  # its lines would show presigned URLs
    with contextlib.ExitStack() as stack:
        parent = options.workdir or Path(tempfile.gettempdir())
        parent.mkdir(parents=True, exist_ok=True)
        sweep(parent)
        workdir = stack.enter_context(tempfile.TemporaryDirectory(prefix=f"{FOLDER}{os.getpid()}-", dir=parent))
        code = work(options, Path(workdir))
    logging.shutdown()
    sys.stdout.flush()
    # A poll that the gateway still holds is of no interest: its connection ends with the process.
    os._exit(code)


def work(options: Options, workdir: Path) -> int:
    """Runs until a signal ends it or the gateway refuses it. @returns the exit code"""
    from flava_gpu.worker import machine  # seconds: PyTorch
    from flava_gpu.worker.tasks.runtime import FlavaRuntime, load_runtime

    if options.threads is not None:
        machine.set_threads(options.threads)
    device = machine.find_device(options.device)
    memory_mib = options.memory_mib or machine.memory_mib(device)
    contract = load_contract()
    catalog = ModelCatalog(options.models, allow_pickle=options.allow_pickle)
    store: ModelStore[FlavaRuntime] = ModelStore(
        catalog,
        lambda folder, heads: load_runtime(folder, heads, device, allow_pickle=options.allow_pickle),
        int(memory_mib * MIB * MODEL_SHARE),
        workdir / "models",
    )
    models = tuple(WorkerModel(model.id, model.heads) for model in catalog.models())
    if not models:
        logger.warning("%s holds no model: expected folders <name>/checkpoint", options.models)
    stopping = threading.Event()
    client = BrokerClient(options.url, options.token, contract, stopping)
    turns = DeviceTurns()

    def settings(worker_id: str, kinds: tuple[str, ...]) -> LaneSettings:
        worker = WorkerDescription(
            id=worker_id,
            version=version(),
            device=device,
            gpus=machine.gpu_count(device),
            memory_mib=memory_mib,
            kinds=kinds,
            models=models,
        )
        return LaneSettings(
            client,
            new_http(),
            contract,
            worker,
            store.loaded_ids,
            options.lease_ms,
            options.wait_ms,
            workdir,
            stopping,
        )

    interactive = tuple(kind for kind in INTERACTIVE_KINDS if kind in options.kinds)
    long = tuple(kind for kind in LONG_KINDS if kind in options.kinds)
    lanes: list[Lane] = []
    if interactive:
        machine.warm_first(store, catalog)
        run_together = machine.InteractiveRuns(store, lambda: turns.take(is_urgent=True))
        lanes.append(InteractiveLane(settings(options.id, interactive), run_together, options.max_jobs))
    if long:
        long_id = f"{options.id}.long" if interactive else options.id
        runners = {
            "batch": BatchRun(store, lambda: turns.take(is_urgent=False), workdir),
            "fine_tuning": TrainingRun(store, device, machine.gpu_count(device), workdir, options.threads),
        }
        lanes.append(LongLane(settings(long_id, long), runners))
    names = ", ".join(f"{model.id} ({' '.join(model.heads)})" for model in models)
    logger.info("worker %s on %s for %s, models: %s", options.id, device, options.url, names or "none")
    return run_lanes(lanes, stopping)


def sweep(parent: Path) -> None:
    """Removes what workers left behind that were killed: data sets and models, gigabytes each time."""
    for folder in parent.glob(f"{FOLDER}*-*"):
        pid = folder.name.removeprefix(FOLDER).partition("-")[0]
        if pid.isdigit() and (int(pid) == os.getpid() or not is_running(int(pid))):
            shutil.rmtree(folder, ignore_errors=True)


def is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass  # another user's
    return True


def run_lanes(lanes: Sequence[Lane], stopping: threading.Event) -> int:
    """Until every lane has ended. A first signal asks them to; a second one does not ask."""
    code = 0

    def stop() -> None:
        stopping.set()
        for lane in lanes:
            lane.stop()

    def on_signal(number: int, _: FrameType | None) -> None:
        if stopping.is_set():
            os._exit(128 + number)
        logger.info("stopping: held interactive jobs are finished, long ones handed back")
        # Not from the handler itself, which may have interrupted a holder of the locks that this takes.
        threading.Thread(target=stop, name="stop").start()

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, on_signal)

    def run(lane: Lane) -> None:
        nonlocal code
        try:
            lane.run()
        except FatalRefusalError as error:
            logger.error("the gateway refuses this worker: %s", error)
            code = EXIT_REFUSED
        except Exception:
            logger.exception("the lane %s ended by a fault", lane.worker_id)
            code = 1
        stop()

    threads = [threading.Thread(target=run, args=(lane,), name=lane.worker_id) for lane in lanes]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        time.sleep(0.1)  # a join would keep Python from running signal handlers
    return code


def parse(arguments: Sequence[str] | None) -> Options:
    parser = argparse.ArgumentParser(prog="flava-gpu", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    command = commands.add_parser("work", help="lease jobs from a gateway and do them")
    command.add_argument("--url", default=os.environ.get("FLAVA_URL", "http://127.0.0.1:8787"), help="the gateway")
    command.add_argument(
        "--token", default=os.environ.get(TOKEN_VARIABLE), help=f"worker token; better in {TOKEN_VARIABLE}"
    )
    command.add_argument("--models", type=Path, default=Path("models"), help="folder of <name>/checkpoint")
    command.add_argument("--kinds", default="all", help=f"comma-separated: all, interactive, {', '.join(JOB_KINDS)}")
    command.add_argument("--max-jobs", type=int, default=16, help="interactive jobs held at once")
    command.add_argument("--lease-seconds", type=float, default=30, help="how long a silent worker keeps its jobs")
    command.add_argument("--wait-seconds", type=float, default=MAX_WAIT_MS / 1000, help="of one long poll")
    command.add_argument("--memory-mib", type=int, help="what the device may be taken to have; its own by default")
    command.add_argument("--device", default="auto", choices=["auto", "cuda", "mps", "cpu"])
    command.add_argument("--id", default=default_id(), help="of this worker, as GET /v1/workers shows it")
    command.add_argument("--workdir", type=Path, help="for objects in passing; a temporary folder by default")
    command.add_argument("--threads", type=int, help="CPU threads; PyTorch's own choice by default")
    command.add_argument("--allow-pickle", action="store_true", help="read pytorch_model.bin: only of who you trust")
    found = parser.parse_args(arguments)
    if not found.token:
        parser.error(f"a worker token is needed: --token, or {TOKEN_VARIABLE} in the environment")
    if not 1 <= found.max_jobs <= MAX_LEASED_JOBS:
        parser.error(f"--max-jobs: expected 1 to {MAX_LEASED_JOBS}")
    if not 1 <= found.lease_seconds <= 600:
        parser.error("--lease-seconds: expected 1 to 600")
    if not 0 <= found.wait_seconds <= MAX_WAIT_MS / 1000:
        parser.error(f"--wait-seconds: expected 0 to {MAX_WAIT_MS // 1000}")
    kinds: list[str] = []
    for name in found.kinds.split(","):
        if name not in KIND_GROUPS and name not in JOB_KINDS:
            parser.error(f"--kinds: unknown kind {name}")
        kinds += KIND_GROUPS.get(name, (name,))
    return Options(
        url=found.url,
        token=found.token,
        models=found.models,
        kinds=tuple(kinds),
        max_jobs=found.max_jobs,
        lease_ms=round(found.lease_seconds * 1000),
        wait_ms=round(found.wait_seconds * 1000),
        memory_mib=found.memory_mib,
        device=found.device,
        id=re.sub(r"[^A-Za-z0-9._-]", "-", found.id)[:48],
        workdir=found.workdir,
        threads=found.threads,
        allow_pickle=found.allow_pickle,
    )


def default_id() -> str:
    return f"{socket.gethostname().split('.')[0]}-{os.getpid()}"


def version() -> str:
    try:
        return importlib.metadata.version("flava-gpu")
    except importlib.metadata.PackageNotFoundError:
        return "0.1.0"  # out of a checkout, not installed
