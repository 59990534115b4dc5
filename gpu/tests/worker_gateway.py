"""A gateway that speaks the worker protocol over real HTTP and can be made to misbehave, for the tests of the worker.

It holds jobs in memory, checks every request against the contract, and keeps what it was told. `faults` are asked before
each answer and may break it.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
import socket
import threading
import time
from collections import defaultdict
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from flava_gpu.worker.contract import CONTRACT_HEADER, Contract, load_contract

TOKEN = "fwt_test_secret"
MESSAGES = {
    "lease": "LeaseRequest",
    "heartbeat": "HeartbeatRequest",
    "complete": "CompleteRequest",
    "fail": "FailRequest",
    "urls": "UrlsRequest",
}
Json = dict[str, Any]
Fault = Callable[["Call"], bool]
"""Returns whether it has answered (or cut off) the request itself."""


class Call:
    """One request as a fault sees it."""

    def __init__(self, handler: BaseHTTPRequestHandler, route: str, body: bytes) -> None:
        self.handler = handler
        self.route = route  # lease, …, or "PUT name" and "GET name" for objects
        self.body = body

    def answer(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        self.handler.send_response(status)
        for name, value in {"content-length": str(len(body)), **headers}.items():
            self.handler.send_header(name, value)
        self.handler.end_headers()
        self.handler.wfile.write(body)

    def cut(self, status: int = 200, length: int = 0, body: bytes = b"") -> None:
        """Promises `length` bytes, sends `body` and closes the connection."""
        self.answer(status, b"", {"content-length": str(length)})
        self.handler.wfile.write(body)
        self.handler.close_connection = True


class Gateway:
    def __init__(self, port: int = 0) -> None:
        self.contract: Contract = load_contract()
        self.told_version = str(self.contract.version)
        self.jobs: list[Json] = []  # leases that wait
        self.state: dict[str, str] = {}
        self.told: dict[str, list[Json]] = defaultdict(list)
        self.objects: dict[str, bytes] = {}
        self.answers: dict[str, Json] = {}  # by job: is_held, should_cancel, should_pause
        self.faults: list[Fault] = []
        self.connections: set[socket.socket] = set()
        self.lock = threading.Condition()
        self._begin(port)

    def _begin(self, port: int) -> None:
        gateway = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def setup(self) -> None:
                super().setup()
                gateway.connections.add(self.connection)

            def finish(self) -> None:
                gateway.connections.discard(self.connection)
                super().finish()

            def do_POST(self) -> None:
                gateway._handle(self, self.path.removeprefix("/v1/worker/"))

            def do_PUT(self) -> None:
                gateway._handle(self, f"PUT {self.path[9:].partition('?')[0]}")

            def do_GET(self) -> None:
                gateway._handle(self, f"GET {self.path[9:].partition('?')[0]}")

            def log_message(self, format: str, *args: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self.server.daemon_threads = True
        self.port = self.server.server_port
        self.url = f"http://127.0.0.1:{self.port}"
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        self.thread.start()

    def stop(self) -> None:
        """As a process that is killed: its connections end with it."""
        self.server.shutdown()
        self.server.server_close()
        for connection in list(self.connections):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def restart(self) -> None:
        self._begin(self.port)

    def add(self, kind: str, given: Any, objects: dict[str, bytes] | None = None, **more: Any) -> str:
        """Puts a job into the queue. @returns its id"""
        prefix = {"batch": "batch_", "fine_tuning": "ftjob-"}.get(kind, "job_")
        with self.lock:
            job = f"{prefix}{len(self.state):024x}"
            self.state[job] = "queued"
            described = [self.store(name, data) for name, data in (objects or {}).items()]
            self.jobs.append(
                {
                    "job": job,
                    "kind": kind,
                    "fence": 1,
                    "attempt": 1,
                    "lease_ms": 3000,
                    "max_runtime_ms": 600_000,
                    "model": {"id": "flava-emoji", "base": "flava-emoji", "objects": []},
                    "input": {"inline": given},
                    "objects": described,
                    "resume": None,
                    **more,
                }
            )
            self.lock.notify_all()
        return job

    def store(self, name: str, data: bytes) -> Json:
        self.objects[name] = data
        return {"name": name, "bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}

    def wait(self, is_there: Callable[[], Any], seconds: float = 20) -> Any:
        """What `is_there` gives once it gives something."""
        until = time.monotonic() + seconds
        with self.lock:
            while not (found := is_there()):
                left = until - time.monotonic()
                assert left > 0, f"nothing came within {seconds} s: {dict(self.told)}"
                self.lock.wait(min(left, 0.05))
        return found

    def wait_for(self, job: str, state: str, seconds: float = 20) -> None:
        self.wait(lambda: self.state[job] == state, seconds)

    def of(self, route: str, job: str) -> list[Json]:
        return [told for told in self.told[route] if told["job"] == job]

    def beats(self, job: str) -> list[Json]:
        return [part for told in self.told["heartbeat"] for part in told["jobs"] if part["job"] == job]

    def checkpoints(self, job: str) -> list[Json]:
        """As they were told, with heartbeats and with the end."""
        told = [*self.beats(job), *self.of("fail", job)]
        return [part["checkpoint"] for part in told if part.get("checkpoint") is not None]

    def _handle(self, handler: BaseHTTPRequestHandler, route: str) -> None:
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            self._dispatch(handler, route)

    def _dispatch(self, handler: BaseHTTPRequestHandler, route: str) -> None:
        length = int(handler.headers.get("content-length", 0))
        body = handler.rfile.read(length)
        call = Call(handler, route, body)
        for fault in list(self.faults):
            if fault(call):
                return
        if route.startswith(("PUT ", "GET ")):
            self._object(call, handler)
        else:
            self._message(call, handler)

    def _object(self, call: Call, handler: BaseHTTPRequestHandler) -> None:
        assert "authorization" not in handler.headers, "a presigned URL is called without the worker's token"
        verb, _, name = call.route.partition(" ")
        with self.lock:
            if verb == "PUT":
                self.objects[name] = call.body
                call.answer(200, b"", {})
                return
            data = self.objects.get(name)
        if data is None:
            call.answer(404, b"", {})
            return
        asked = re.fullmatch(r"bytes=(\d+)-", handler.headers.get("range", ""))
        start = int(asked[1]) if asked else 0
        call.answer(206 if asked else 200, data[start:], {})

    def _message(self, call: Call, handler: BaseHTTPRequestHandler) -> None:
        theirs = handler.headers[CONTRACT_HEADER]
        if handler.headers["authorization"] != f"Bearer {TOKEN}":
            self._refuse(call, 401, "invalid_worker_token")
        elif theirs != self.told_version:
            self._refuse(call, 409, "contract_version_unsupported")
        else:
            message = json.loads(call.body)
            self.contract.check(MESSAGES[call.route], message)
            with self.lock:
                answer = getattr(self, f"_{call.route}")(message)
                self.told[call.route].append(message)
                self.lock.notify_all()
            if answer is None:
                self._refuse(call, 409, "stale_lease")
            else:
                self._answer(call, 200, answer)

    def _refuse(self, call: Call, status: int, code: str) -> None:
        error = {"message": code, "type": "invalid_request_error", "param": None, "code": code}
        self._answer(call, status, {"error": error})

    def _answer(self, call: Call, status: int, body: Json) -> None:
        headers = {"content-type": "application/json", CONTRACT_HEADER: self.told_version}
        call.answer(status, json.dumps(body).encode(), headers)

    def _lease(self, message: Json) -> Json:
        until = time.monotonic() + min(message["wait_ms"], 2000) / 1000
        kinds = message["worker"]["kinds"]
        while not (ready := [job for job in self.jobs if job["kind"] in kinds]) and time.monotonic() < until:
            self.lock.wait(0.05)
        given = ready[: message["max_jobs"]]
        for job in given:
            self.jobs.remove(job)
            self.state[job["job"]] = "running"
        return {"leases": given}

    def _heartbeat(self, message: Json) -> Json:
        return {
            "jobs": [
                {
                    "job": part["job"],
                    "is_held": self.state[part["job"]] == "running",
                    "should_cancel": False,
                    "should_pause": False,
                    **self.answers.get(part["job"], {}),
                }
                for part in message["jobs"]
            ]
        }

    def _complete(self, message: Json) -> Json | None:
        if self.state[message["job"]] not in ("running", "succeeded"):
            return None
        is_first = self.state[message["job"]] == "running"
        self.state[message["job"]] = "succeeded"
        return {"is_first": is_first}

    def _fail(self, message: Json) -> Json | None:
        if self.state[message["job"]] != "running":
            return None
        self.state[message["job"]] = message["outcome"]
        return {"state": message["outcome"]}

    def _urls(self, message: Json) -> Json:
        sign = time.monotonic_ns()
        reads = [
            {
                "name": name,
                "url": f"{self.url}/objects/{name}?signature={sign}",
                "bytes": len(self.objects[name]),
                "sha256": hashlib.sha256(self.objects[name]).hexdigest(),
            }
            for name in message["reads"]
        ]
        writes = [
            {"name": item["name"], "url": f"{self.url}/objects/{item['name']}?signature={sign}"}
            for item in message["writes"]
        ]
        return {"expires_in_seconds": 900, "reads": reads, "writes": writes}
