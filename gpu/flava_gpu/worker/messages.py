"""The messages of the worker protocol in Python's types. What arrives is checked against the schema first (contract.py)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

Device = Literal["cpu", "cuda", "mps"]
INTERACTIVE_KINDS = (
    "multimodal.embeddings",
    "multimodal.match",
    "multimodal.fill_mask",
    "multimodal.classify",
)
LONG_KINDS = ("batch", "fine_tuning")
JOB_KINDS = (*INTERACTIVE_KINDS, *LONG_KINDS)


@dataclass(frozen=True)
class JobObject:
    """One object of a job: its name within the job, its length and the SHA-256 that must hold."""

    name: str
    bytes: int
    sha256: str

    def to_json(self) -> dict[str, Any]:
        return {"name": self.name, "bytes": self.bytes, "sha256": self.sha256}

    @staticmethod
    def of(raw: dict[str, Any]) -> JobObject:
        return JobObject(raw["name"], raw["bytes"], raw["sha256"])


@dataclass(frozen=True)
class ModelRef:
    id: str
    base: str  # this worker's own model that it is, or was fine-tuned from
    objects: tuple[JobObject, ...]  # of a fine-tuned model, as model/…

    @property
    def is_base(self) -> bool:
        return not self.objects


@dataclass(frozen=True)
class Checkpoint:
    step: int
    objects: tuple[JobObject, ...]
    metrics: dict[str, float]

    def to_json(self) -> dict[str, Any]:
        return {"step": self.step, "objects": [item.to_json() for item in self.objects], "metrics": self.metrics}

    @staticmethod
    def of(raw: dict[str, Any]) -> Checkpoint:
        return Checkpoint(raw["step"], tuple(map(JobObject.of, raw["objects"])), dict(raw["metrics"]))


@dataclass(frozen=True)
class Lease:
    job: str
    kind: str
    fence: int
    attempt: int
    lease_ms: int
    max_runtime_ms: int
    model: ModelRef
    input: dict[str, Any]  # {"inline": …} or {"object": …}
    objects: tuple[JobObject, ...]
    resume: Checkpoint | None

    @staticmethod
    def of(raw: dict[str, Any]) -> Lease:
        model = raw["model"]
        return Lease(
            job=raw["job"],
            kind=raw["kind"],
            fence=raw["fence"],
            attempt=raw["attempt"],
            lease_ms=raw["lease_ms"],
            max_runtime_ms=raw["max_runtime_ms"],
            model=ModelRef(model["id"], model["base"], tuple(map(JobObject.of, model["objects"]))),
            input=raw["input"],
            objects=tuple(map(JobObject.of, raw["objects"])),
            resume=None if raw["resume"] is None else Checkpoint.of(raw["resume"]),
        )


@dataclass(frozen=True)
class WorkerModel:
    id: str
    heads: tuple[str, ...]
    is_loaded: bool = False


@dataclass(frozen=True)
class WorkerDescription:
    """Who asks for work and what it can do; `memory_mib` of one GPU, or of the machine where there is none."""

    id: str
    version: str
    device: Device
    gpus: int
    memory_mib: int
    kinds: tuple[str, ...]
    models: tuple[WorkerModel, ...]

    def to_json(self) -> dict[str, Any]:
        return {
            "id": self.id,
            "version": self.version,
            "device": self.device,
            "gpus": self.gpus,
            "memory_mib": self.memory_mib,
            "kinds": list(self.kinds),
            "models": [
                {"id": model.id, "heads": list(model.heads), "is_loaded": model.is_loaded} for model in self.models
            ],
        }


@dataclass(frozen=True)
class WriteUrl:
    name: str
    url: str


@dataclass(frozen=True)
class ReadUrl:
    name: str
    url: str
    bytes: int
    sha256: str
