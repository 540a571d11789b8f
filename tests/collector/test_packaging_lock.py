"""Locking: every distribution with its version and hashes, the same by uv and by pip, and only from an index."""

from __future__ import annotations

import base64
import hashlib
import io
import shutil
import zipfile
from pathlib import Path

import pytest

from tracekit.errors import TracekitError, UsageError
from tracekit_collector.packaging import pythons
from tracekit_collector.packaging.archive import File
from tracekit_collector.packaging.build import Wanted, build
from tracekit_collector.packaging.environment import interpreter_of
from tracekit_collector.packaging.lock import Locker, lock, project_requirements, requirements_of
from tracekit_collector.packaging.source import Source
from tracekit_collector.packaging.verify import verify

LOCKERS = [
    "pip",
    pytest.param("uv", marks=pytest.mark.skipif(shutil.which("uv") is None, reason="uv is not installed here")),
]


def wheel(folder: Path, name: str, version: str, needs: str | None = None) -> str:
    """A wheel with one empty module; returns its hash."""
    about = f"{name}-{version}.dist-info"
    required = f"Requires-Dist: {needs}\n" if needs else ""
    files = {
        f"{name}.py": "",
        f"{about}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{required}",
        f"{about}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = "".join(
        f"{path},sha256={base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b'=').decode()},{len(text)}\n"
        for path, text in files.items()
    )
    told = io.BytesIO()
    with zipfile.ZipFile(told, "w") as archive:
        for path, text in {**files, f"{about}/RECORD": f"{record}{about}/RECORD,,\n"}.items():
            archive.writestr(path, text)
    folder.mkdir(exist_ok=True)
    (folder / f"{name}-{version}-py3-none-any.whl").write_bytes(told.getvalue())
    return hashlib.sha256(told.getvalue()).hexdigest()


@pytest.fixture
def index(tmp_path: Path) -> tuple[list[str], str]:
    """Options that name an index of our own, and the hash of what is in it."""
    folder = tmp_path / "wheels"
    for name in ("opentelemetry_sdk", "opentelemetry_exporter_otlp_proto_common"):
        wheel(folder, name, "1.99")
    wheel(folder, "Inner_Part", "2.0")
    wheel(folder, "outer", "0.9")
    digest = wheel(folder, "outer", "1.0", "inner-part>=1")
    return ["--no-index", f"--find-links {folder}"], digest


@pytest.mark.parametrize("locker", LOCKERS)
def test_a_lock_names_everything_with_version_and_hash(index: tuple[list[str], str], locker: Locker) -> None:
    options, digest = index
    found = lock(["outer<2", *options], python=pythons.ours(), locker=locker)
    assert found.dependencies == {
        "inner-part": "2.0",
        "opentelemetry-exporter-otlp-proto-common": "1.99",
        "opentelemetry-sdk": "1.99",
        "outer": "1.0",
    }
    assert found.requirements.endswith(f"outer==1.0 \\\n    --hash=sha256:{digest}\n")
    assert "wheels" not in found.requirements  # where a machine has its index is its own business


@pytest.mark.parametrize("locker", LOCKERS)
def test_what_cannot_be_had_is_told_in_the_tools_words(index: tuple[list[str], str], locker: Locker) -> None:
    with pytest.raises(TracekitError, match=r"the dependencies cannot be locked: (.|\n)*nowhere"):
        lock(["nowhere>=3", *index[0]], python=pythons.ours(), locker=locker)


def test_nothing_is_locked_without_dependencies_and_no_tool_is_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr(pythons, "pip_for", lambda _python: pytest.fail("asked for pip"))
    assert (lock([], python=pythons.ours()).requirements, lock(["  "], python=pythons.ours()).dependencies) == ("", {})


@pytest.mark.parametrize(
    "line",
    [
        "-e .",
        "--editable .",
        "./folder",
        "git+https://example.org/x.git",
        "name @ https://example.org/x-1.0.whl",
        "https://example.org/x-1.0.whl",
        "--trusted-host example.org",
    ],
)
def test_what_comes_from_no_index_is_refused(line: str) -> None:
    with pytest.raises(UsageError, match=r"no distribution of an index|cannot be locked"):
        lock([line], python=pythons.ours())


def test_a_requirements_file_is_read_with_those_it_names(tmp_path: Path) -> None:
    (tmp_path / "inner.txt").write_text("inner  # a comment\n\n# another\n")
    (tmp_path / "outer.txt").write_text(
        "-r inner.txt\nouter[fast]==1.0 \\\n    --hash=sha256:00 \\\n  --hash=sha256:11\n"
    )
    assert requirements_of(tmp_path / "outer.txt") == ["inner", "outer[fast]==1.0"]
    (tmp_path / "inner.txt").write_text("-r outer.txt\n")
    with pytest.raises(UsageError, match="names itself"):
        requirements_of(tmp_path / "outer.txt")
    with pytest.raises(UsageError, match="cannot read the requirements"):
        requirements_of(tmp_path / "none.txt")


def test_a_project_tells_its_dependencies(tmp_path: Path) -> None:
    file = tmp_path / "pyproject.toml"
    assert project_requirements(file) == []
    file.write_text('[project]\nname = "bot"\ndependencies = ["httpx>=0.28"]\n')
    assert project_requirements(file) == ["httpx>=0.28"]
    file.write_text('[project]\nname = "bot"\ndynamic = ["dependencies"]\n')
    with pytest.raises(UsageError, match="name them with --requirements"):
        project_requirements(file)
    file.write_text("[project\n")
    with pytest.raises(UsageError, match="cannot read"):
        project_requirements(file)


def test_a_hash_that_is_wrong_or_missing_stops_the_installation(
    index: tuple[list[str], str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "wheels"))
    monkeypatch.setattr(pythons, "uv", lambda: None)
    for text, message in (
        (f"outer==1.0 \\\n    --hash=sha256:{'0' * 64}\n", "DO NOT MATCH THE HASHES"),
        ("outer==1.0\n", "hashes are required"),
    ):
        with pytest.raises(TracekitError, match=rf"(?i)(.|\n)*{message}"):
            interpreter_of(text, pythons.ours(), cache=tmp_path / "cache")
    assert not list((tmp_path / "cache").glob("*/ready"))


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("locker", LOCKERS)
def test_a_package_with_dependencies_answers_in_an_environment_with_them(tmp_path: Path, locker: Locker) -> None:
    code = b"import idna, opentelemetry.sdk\ndef answer(name: str) -> str: return idna.encode(name).decode()\n"
    wanted = Wanted(
        "names", "names:answer", Source({"names.py": File(code)}, {}), requirements=["idna>=3"], locker=locker
    )
    try:
        package = build(Wanted(**{**vars(wanted), "example": {"input": "straße.de"}}), cache=tmp_path / "cache")
    except TracekitError as error:
        if "No matching distribution" in str(error) or "cannot be locked" in str(error):
            pytest.skip(f"no package index can be reached: {str(error)[-200:]}")
        raise
    assert package.manifest["example"]["output"] == "xn--strae-oqa.de"
    assert {"idna", "opentelemetry-sdk", "protobuf"} <= set(package.manifest["dependencies"])
    verdict = verify(package)
    assert verdict.passed, verdict.differences
