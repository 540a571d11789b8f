"""The Go SDK, unmodified, exports by HTTP and gRPC, and its spans become the rows that the Python SDK's become."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.id_generator import IdGenerator
from opentelemetry.trace import Link, SpanKind, Status, StatusCode, set_span_in_context

from tracekit_collector.anyvalue import attributes_from_text
from tracekit_collector.folding import unfold

GO = Path(__file__).parent / "go"
RELEASE = "trixie"  # the first Debian whose Go SDK has its OTLP exporters (1.31, on Go 1.24)
KEYS = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
TRACE_ID = 0x5B8EFDF0444D2A109111223344556677
START = 1_795_435_348_123_456_789


def run(*words: str, folder: Path, environment: dict[str, str], seconds: int) -> str:
    """What it prints; the test is skipped where it cannot be done, for the machine may have no network."""
    try:
        done = subprocess.run(
            words,
            cwd=folder,
            env={**os.environ, **environment},
            capture_output=True,
            text=True,
            timeout=seconds,
            check=False,
        )
    except subprocess.TimeoutExpired:
        pytest.skip(f"{words[0]} {words[1]} took longer than {seconds} s")
    if done.returncode != 0:
        pytest.skip(f"{' '.join(words[:2])} failed: {done.stderr.strip()[-200:]}")
    return done.stdout


def debian_mirror(folder: Path) -> str:
    """Where this machine has its Debian packages from."""
    told = run(
        *("apt-get", "indextargets", "--format", "$(REPO_URI)", "Created-By: Packages"),
        folder=folder,
        environment={},
        seconds=20,
    )
    for line in told.splitlines():
        if line.rstrip("/").endswith("/debian"):
            return line
    pytest.skip("needs a Debian machine, whose packages hold the Go SDK")


def build(binary: Path, folder: Path) -> None:
    """Compile the client with a later Debian's Go and SDK, unpacked beside the system and not into it."""
    for name in ("lists/partial", "cache/archives/partial", "packages"):
        (folder / name).mkdir(parents=True)
    (folder / "status").touch()
    (folder / "sources.list").write_text(f"deb [signed-by={KEYS}] {debian_mirror(folder)} {RELEASE} main\n")
    (folder / "apt.conf").write_text(
        f'Dir::Etc::sourcelist "{folder}/sources.list";\nDir::Etc::sourceparts "-";\n'
        f'Dir::State::lists "{folder}/lists";\nDir::State::status "{folder}/status";\n'
        f'Dir::Cache "{folder}/cache";\nAPT::Sandbox::User "";\n'
    )
    apt = {"APT_CONFIG": str(folder / "apt.conf")}
    run("apt-get", "update", folder=folder, environment=apt, seconds=60)
    packages = (GO / "packages.txt").read_text().split()
    run("apt-get", "download", *packages, folder=folder / "packages", environment=apt, seconds=120)
    for package in sorted((folder / "packages").glob("*.deb")):
        subprocess.run(["dpkg-deb", "--extract", str(package), "root"], cwd=folder, check=True, timeout=60)
    (root,) = (folder / "root/usr/lib").glob("go-*")
    environment = {
        "GOROOT": str(root),
        "GOPATH": str(folder / "root/usr/share/gocode"),
        "GOCACHE": str(folder / "compiled"),
        "GO111MODULE": "off",
        "GOTOOLCHAIN": "local",
        "CGO_ENABLED": "0",
    }
    # What the packages hold is known, so that a client which does not compile is a fault of ours and no reason to skip.
    subprocess.run(
        [str(root / "bin/go"), "build", "-o", str(folder / "client"), str(GO / "send_two_ways.go")],
        env={**os.environ, **environment},
        check=True,
        timeout=280,
    )
    binary.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(folder / "client", binary.with_suffix(".new")).replace(binary)


@pytest.fixture(scope="session")
def go_client() -> Path:
    """The client as one file, kept between test runs for as long as its source and its packages stay the same."""
    if not KEYS.is_file() or shutil.which("apt-get") is None or shutil.which("dpkg-deb") is None:
        pytest.skip("needs a Debian machine, whose packages hold the Go SDK")
    digest = hashlib.sha256(b"".join(path.read_bytes() for path in sorted(GO.iterdir()))).hexdigest()[:16]
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    binary = cache / "tracekit-tests" / "go" / f"client-{digest}"
    if not binary.is_file():
        with tempfile.TemporaryDirectory(prefix="tracekit-go-") as folder:
            build(binary, Path(folder))
    return binary


class LiteralIds(IdGenerator):
    """The ids that the Go client's spans have."""

    made = 0

    def generate_trace_id(self) -> int:
        return TRACE_ID

    def generate_span_id(self) -> int:
        self.made += 1
        return (0xA1 << 56) + self.made


def send_the_same_with_python(url: str) -> None:
    resource = Resource({"host.cpus": 2, "service.name": "same-agent", "zones": ["a", "b"]})  # Go sorts them
    provider = TracerProvider(resource=resource, id_generator=LiteralIds())
    provider.add_span_processor(SimpleSpanProcessor(OTLPSpanExporter(endpoint=f"{url}/v1/traces")))
    tracer = provider.get_tracer("acme", "0.9.0")
    root = tracer.start_span(
        "invoke_agent bot",
        kind=SpanKind.SERVER,
        attributes={"gen_ai.operation.name": "invoke_agent"},
        start_time=START,
    )
    child = tracer.start_span(
        "chat gpt-4o",
        context=set_span_in_context(root),
        kind=SpanKind.CLIENT,
        attributes=ATTRIBUTES,
        links=[Link(root.get_span_context(), {"why": "parent"})],
        start_time=START + 1,
    )
    child.add_event("first token", {"index": 0}, timestamp=START + 2)
    child.set_status(Status(StatusCode.ERROR, "model said no"))
    child.end(START + 1001)
    root.end(START + 2000)
    provider.shutdown()


ATTRIBUTES = {
    "gen_ai.operation.name": "chat",
    "gen_ai.request.model": "gpt-4o",
    "gen_ai.usage.input_tokens": 12,
    "text": "Grüße 日本 🎉",
    "empty": "",
    "int": 57,
    "big": 2**63 - 1,
    "small": -(2**63),
    "double": 0.1,
    "whole": 2.0,
    "yes": True,
    "list": ["a", "b"],
    "numbers": [1, 2],
    "doubles": [1.0, 2.5],
    "flags": [True, False],
    "large": "x" * 2000,
}


@pytest.mark.slow
@pytest.mark.timeout(500)  # the first run fetches 63 MB and compiles for a minute
def test_spans_of_the_go_sdk_become_the_rows_of_the_python_sdk_by_every_way(three, go_client):
    by_http, by_grpc, by_python = three.collectors
    done = subprocess.run(
        [str(go_client), by_http.url, by_grpc.grpc_target], capture_output=True, text=True, timeout=50, check=False
    )
    assert done.returncode == 0, done.stderr
    send_the_same_with_python(by_python.url)
    http_rows, grpc_rows, python_rows = three.rows()
    assert http_rows == grpc_rows == python_rows
    root, child = http_rows
    assert (root["trace_id"], root["span_id"]) == ("5b8efdf0444d2a109111223344556677", "a100000000000001")
    assert (child["name"], child["kind"], child["status_message"]) == ("chat gpt-4o", "client", "model said no")
    assert (child["parent_span_id"], child["start_ns"], child["duration_ns"]) == ("a100000000000001", START + 1, 1000)
    assert attributes_from_text(unfold(str(child["attributes"]), child)) == ATTRIBUTES
