"""What goes into a package and comes out: hostile archives are refused, secrets and litter stay out."""

from __future__ import annotations

import gzip
import io
import os
import subprocess
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tracekit.errors import DecodeError, UsageError
from tracekit_collector.packaging import archive, source
from tracekit_collector.packaging.archive import File, pack, unpacked
from tracekit_collector.packaging.manifest import read, written
from tracekit_collector.packaging.package import Package
from tracekit_collector.packaging.source import from_git, from_paths

_NAMES = st.from_regex(r"[a-zA-Zäß_][a-zA-Z0-9ä _.-]{0,120}(/[a-z]{1,9}\.py)?", fullmatch=True)
MANIFEST: dict[str, object] = {
    "agent": "bot",
    "label": None,
    "entry_point": "bot:answer",
    "root": "",
    "python": "3.11",
    "code": {},
    "parameters": {},
    "prompts": {},
    "tools": None,
    "models": None,
    "dependencies": {},
    "signature": {},
    "example": None,
}


@given(st.dictionaries(_NAMES, st.tuples(st.binary(max_size=200_000), st.booleans()), max_size=5))
def test_files_come_back_as_they_went_in(files: dict[str, tuple[bytes, bool]]) -> None:
    apart = {name: value for name, value in files.items() if name.partition("/")[0] not in files or "/" not in name}
    held = {name: File(*value) for name, value in apart.items()}
    assert unpacked(pack(held)) == held
    assert pack(dict(reversed(held.items()))) == pack(held)


def test_the_bytes_of_a_package_are_these() -> None:
    """No clock, owner, umask or compressor is in them."""
    package = pack({"a.py": File(b"x = 1\n"), "run.sh": File(b"", executable=True)})
    assert package[:10] == b"\x1f\x8b\x08\0\0\0\0\0\0\xff"
    with tarfile.open(fileobj=io.BytesIO(gzip.decompress(package))) as tar:
        told = [(each.name, each.mode, each.mtime, each.uid, each.uname) for each in tar]
    assert told == [("a.py", 0o644, 0, 0, ""), ("run.sh", 0o755, 0, 0, "")]


def tar_of(*members: Callable[[tarfile.TarFile], None]) -> bytes:
    told = io.BytesIO()
    with tarfile.open(fileobj=told, mode="w:gz") as tar:
        for member in members:
            member(tar)
    return told.getvalue()


def member(name: str, kind: bytes = tarfile.REGTYPE, target: str = "") -> Callable[[tarfile.TarFile], None]:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return lambda tar: tar.addfile(info)


@pytest.mark.parametrize(
    ("name", "kind", "message"),
    [
        ("../evil", tarfile.REGTYPE, "leads out of it"),
        ("/etc/evil", tarfile.REGTYPE, "leads out of it"),
        ("source/../../evil", tarfile.REGTYPE, "leads out of it"),
        ("source\\..\\evil", tarfile.REGTYPE, "leads out of it"),
        ("c:/evil", tarfile.REGTYPE, "leads out of it"),
        ("link", tarfile.SYMTYPE, "no plain file"),
        ("hard", tarfile.LNKTYPE, "no plain file"),
        ("device", tarfile.CHRTYPE, "no plain file"),
        ("pipe", tarfile.FIFOTYPE, "no plain file"),
        ("folder", tarfile.DIRTYPE, "no plain file"),
    ],
)
def test_a_member_that_is_no_plain_file_below_the_folder_is_refused(name: str, kind: bytes, message: str) -> None:
    with pytest.raises(DecodeError, match=message):
        unpacked(tar_of(member(name, kind, "/etc/passwd")))


def test_a_name_that_is_there_twice_is_refused() -> None:
    with pytest.raises(DecodeError, match="'a' twice"):
        unpacked(tar_of(member("a"), member("a")))
    with pytest.raises(DecodeError, match="'a/b' twice"):
        unpacked(tar_of(member("a"), member("a/b")))


def test_a_package_that_is_cut_short_damaged_or_none_is_refused() -> None:
    package = Package.made(MANIFEST, "", {"bot.py": File(b"x" * 70_000)}).content
    for size in (0, 5, 20, len(package) // 2, len(package) - 1):
        with pytest.raises(DecodeError):
            unpacked(package[:size])
    changed = bytearray(package)
    changed[3_000] ^= 1
    with pytest.raises(DecodeError, match="damaged"):
        unpacked(bytes(changed))
    with pytest.raises(DecodeError, match="something follows its end"):
        unpacked(package + b"more")
    with pytest.raises(DecodeError, match="no gzip file"):
        unpacked(b"PK\x03\x04 a zip file")
    with pytest.raises(DecodeError, match=r"the package has no package\.json"):
        Package.of(pack({"a": File(b"")}))


def test_a_package_that_would_fill_the_memory_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archive, "LIMIT", 1 << 20)
    monkeypatch.setattr(archive, "_SLACK", 1 << 20)
    with pytest.raises(DecodeError, match="more than 1 MiB"):
        unpacked(gzip.compress(b"\0" * (64 << 20)))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": 2}, "newer than this tracekit"),
        ({"format": "1"}, "is no manifest"),
        ({"python": "3"}, "must be such as 3.11"),
        ({"entry_point": "bot"}, "must be module:callable"),
        ({"root": "../x"}, "outside of the package"),
        ({"prompts": []}, "has no prompts that can be used"),
    ],
)
def test_a_manifest_that_cannot_be_used_is_refused(change: dict[str, object], message: str) -> None:
    with pytest.raises(DecodeError, match=message):
        read(written({**MANIFEST, **change}))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An agent's folder with all that gathers in one."""
    files = {
        "bot.py": "x = 1\n",
        "pack/tool.py": "y = 2\n",
        ".gitignore": "data/\n",
        "data/large.bin": "0",
        ".env": "KEY=1",
        ".env.example": "KEY=",
        "deploy/id_rsa": "key",
        "notes.txt": "-----BEGIN RSA PRIVATE KEY-----\n" + "A" * 64,
        "__pycache__/bot.cpython-311.pyc": "",
        ".venv/pyvenv.cfg": "",
        "mine/pyvenv.cfg": "",
        "mine/lib/site.py": "",
        "node_modules/x.js": "",
        ".tracekit/catalog.db": "",
    }
    for name, text in files.items():
        path = tmp_path / "agent" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    (tmp_path / "agent" / "passwords").symlink_to("/etc/passwd")
    return tmp_path / "agent"


HELD = [".env.example", ".gitignore", "bot.py", "pack/tool.py"]
LEFT = [
    ".env (its name is that of a secret)",
    "deploy/id_rsa (its name is that of a secret)",
    "notes.txt (it holds a private key)",
    "passwords (it is a link)",
]


def test_litter_and_secrets_stay_out_of_a_listed_folder(folder: Path) -> None:
    found = from_paths([folder], folder=folder)
    assert list(found.files) == HELD
    assert found.left_out == LEFT


def test_litter_and_secrets_stay_out_of_what_git_has(folder: Path) -> None:
    git(folder, "init", "-q")
    git(folder, "add", "--force", ".")
    git(folder, "commit", "-q", "-m", "all of it")
    found = from_git(folder)
    assert list(found.files) == [*HELD[:3], "data/large.bin", "mine/lib/site.py", "mine/pyvenv.cfg", HELD[3]]
    assert found.left_out == LEFT
    assert set(found.code) == {"commit", "source"}


def test_without_git_nothing_but_its_ignored_files_comes_along(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    assert list(from_paths([folder], folder=folder).files) == [*HELD[:3], "data/large.bin", HELD[3]]


def test_a_dirty_tree_is_refused_or_said(tmp_path: Path) -> None:
    (tmp_path / "bot.py").write_text("x = 1\n")
    git(tmp_path, "init", "-q")
    git(tmp_path, "add", "bot.py")
    git(tmp_path, "commit", "-q", "-m", "one")
    clean = from_git(tmp_path)
    (tmp_path / "notes.txt").write_text("not code")
    assert from_git(tmp_path) == clean
    (tmp_path / "new.py").write_text("")
    with pytest.raises(
        UsageError, match=r"differs from its commit .* \(new\.py\); commit it, or package it with --dirty"
    ):
        from_git(tmp_path)
    (tmp_path / "bot.py").write_text("x = 2\n")
    dirty = from_git(tmp_path, dirty=True)
    assert dirty.code == {**clean.code, "dirty": True, "source": dirty.code["source"]}
    assert dirty.files["bot.py"].content == b"x = 2\n"
    assert dirty.code["source"] != clean.code["source"]


def test_line_endings_of_a_checkout_do_not_count(tmp_path: Path) -> None:
    (tmp_path / "bot.py").write_bytes(b"x = 1\n")
    git(tmp_path, "init", "-q")
    git(tmp_path, "add", "bot.py")
    git(tmp_path, "commit", "-q", "-m", "one")
    clean = from_git(tmp_path)
    git(tmp_path, "config", "core.autocrlf", "true")
    assert from_git(tmp_path) == clean


def test_listed_files_keep_their_names_below_the_folder_and_others_go_to_the_top(tmp_path: Path) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    for path in (here / "pack" / "one.py", there / "two.py", there / "deep" / "three.py", tmp_path / "four.py"):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(path.name)
    found = from_paths([here / "pack", there, tmp_path / "four.py"], folder=here)
    assert list(found.files) == ["deep/three.py", "four.py", "pack/one.py", "two.py"]
    (here / "two.py").write_text("another")
    with pytest.raises(UsageError, match=r"two files the name two\.py"):
        from_paths([there, here / "two.py"], folder=here)
    with pytest.raises(UsageError, match="there is no such file"):
        from_paths([here / "nope"], folder=here)


def test_a_source_that_is_too_large_is_refused_by_its_largest_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(source, "LIMIT", 3 << 20)
    (tmp_path / "weights.bin").write_bytes(bytes(2 << 20))
    (tmp_path / "more.bin").write_bytes(bytes(2 << 20))
    with pytest.raises(UsageError, match=r"larger than a package may be \(3 MiB, .*more\.bin|weights\.bin"):
        from_paths([tmp_path], folder=tmp_path)


def test_a_folder_that_git_does_not_know_has_to_be_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="name it with --source"):
        from_git(tmp_path)


def git(folder: Path, *words: str) -> None:
    named = ["-c", "user.name=Ada", "-c", "user.email=ada@example.org"]
    clean = {key: value for key, value in os.environ.items() if not key.startswith("GIT_")}
    subprocess.run(["git", *named, *words], cwd=folder, env=clean, check=True, capture_output=True)


def test_an_installed_package_keeps_its_name_and_those_around_it_are_folders(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    inner = tmp_path / "outer_of_it" / "inner"
    (inner / "__pycache__").mkdir(parents=True)
    for place in (inner.parent, inner):
        (place / "__init__.py").write_text("")
    (inner / "bot.py").write_text("answer = str.upper\n")
    (inner / "__pycache__" / "bot.pyc").write_text("")
    (inner.parent / "other.py").write_text("")
    monkeypatch.syspath_prepend(str(tmp_path))
    found = from_paths([], folder=tmp_path, modules=["outer_of_it.inner"])
    assert sorted(found.files) == ["outer_of_it/inner/__init__.py", "outer_of_it/inner/bot.py"]
    assert found.root("outer_of_it.inner.bot") == ""
    assert sorted(from_paths([], folder=tmp_path, modules=["outer_of_it.other"]).files) == ["outer_of_it/other.py"]


@pytest.mark.parametrize("module", ["no_such.thing", "math", "json.tool.part", ".relative", ""])
def test_what_has_no_source_cannot_be_packaged_as_a_module(module: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no module of this name with a source"):
        from_paths([], folder=tmp_path, modules=[module])
