"""Settings: one table of what can be set, by a flag or argument, by environment, by a file.

An explicit argument wins, then `TRACEKIT_*` and the standard `OTEL_*` variables, then `[tool.tracekit]` in the nearest
`pyproject.toml` or the nearest `tracekit.toml`, then the default.
"""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from tracekit.errors import SettingError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


@dataclass(frozen=True)
class Setting:
    """One thing that can be set.

    Args:
        name: Its name in files and as an argument of `tracekit.init`.
        variables: Environment variables that set it, the first that is set winning.
        default: Its value when nothing sets it; `None` where nothing is sensible.
        help: What it does, in one sentence.
    """

    name: str
    variables: tuple[str, ...]
    default: str | None
    help: str


SETTINGS: dict[str, Setting] = {
    setting.name: setting
    for setting in (
        Setting("store", ("TRACEKIT_STORE",), ".tracekit", "The store's folder."),
        Setting(
            "catalog",
            ("TRACEKIT_CATALOG",),
            None,
            "URL of the catalog, such as postgresql+psycopg://USER@HOST/DATABASE; without it, where the store has it.",
        ),
        Setting(
            "endpoint",
            ("TRACEKIT_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT"),
            None,
            "Base URL of an OTLP/HTTP collector; without it, spans go to the local store.",
        ),
        Setting("project", ("TRACEKIT_PROJECT",), None, "The project that traces belong to."),
        Setting("agent", ("TRACEKIT_AGENT",), None, "The agent's name, put on every span of the process."),
        Setting("agent_version", ("TRACEKIT_AGENT_VERSION",), None, "The agent's version, put on every span."),
        Setting("run_id", ("TRACEKIT_RUN_ID",), None, "The id of a run that `tracekit.run` takes part in."),
        Setting("environment", ("TRACEKIT_ENVIRONMENT",), None, "Where the process runs: production, staging, dev."),
        Setting("service", ("OTEL_SERVICE_NAME",), None, "The service's name."),
        Setting(
            "capture_content",
            ("TRACEKIT_CAPTURE_CONTENT", "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT"),
            "1",
            "0 keeps inputs and outputs out of spans.",
        ),
        Setting(
            "redact",
            ("TRACEKIT_REDACT",),
            "keys,secrets",
            "What is redacted before it leaves the process: keys, secrets, personal, email, card, iban, phone, or off.",
        ),
        Setting(
            "attachments", ("TRACEKIT_ATTACHMENTS",), "1", "0 keeps the content of attachments out of the local store."
        ),
        Setting("sample", ("TRACEKIT_SAMPLE",), None, "How many of the traces are delivered, from 0 to 1."),
        Setting("sample_errors", ("TRACEKIT_SAMPLE_ERRORS",), "0", "1 delivers every trace that has an error."),
        Setting(
            "environments",
            ("TRACEKIT_ENVIRONMENTS",),
            None,
            "Where environments of packaged agents are kept; the user's cache folder.",
        ),
        Setting("spool", ("TRACEKIT_SPOOL",), None, "Where spans wait for an endpoint; the user's cache folder."),
        Setting("spool_mb", ("TRACEKIT_SPOOL_MB",), "64", "How many MiB may wait for an endpoint; 0 keeps none."),
        Setting("handle_sigterm", ("TRACEKIT_HANDLE_SIGTERM",), "0", "1 delivers what there is at SIGTERM."),
        Setting("disabled", ("TRACEKIT_DISABLED", "OTEL_SDK_DISABLED"), "0", "1 turns the SDK off."),
        Setting(
            "instrument",
            ("TRACEKIT_INSTRUMENT",),
            "0",
            "1 activates every installed instrumentation; names, with commas between, activate those.",
        ),
        Setting("propagate_threads", ("TRACEKIT_PROPAGATE_THREADS",), "0", "1 carries the trace into new threads."),
        Setting("baggage", ("TRACEKIT_BAGGAGE",), "1", "0 keeps session and user from the services that are called."),
        Setting(
            "update_golden",
            ("TRACEKIT_UPDATE_GOLDEN",),
            "0",
            "1 writes golden files of spans anew, in tests that compare.",
        ),
        Setting("host", ("TRACEKIT_HOST",), "127.0.0.1", "The address that the collector listens on."),
        Setting("port", ("TRACEKIT_PORT",), "4318", "The port that the collector listens on for HTTP."),
        Setting("grpc_port", ("TRACEKIT_GRPC_PORT",), "4317", "The port that it listens on for gRPC; off opens none."),
        Setting("tls_cert", ("TRACEKIT_TLS_CERT",), None, "File of the collector's certificate chain, for TLS."),
        Setting("tls_key", ("TRACEKIT_TLS_KEY",), None, "File of that certificate's private key."),
        Setting(
            "cors_origins",
            ("TRACEKIT_CORS_ORIGINS",),
            None,
            "Web pages that may send to the collector, with commas between, beside those of this machine; * for all.",
        ),
        Setting(
            "retain",
            ("TRACEKIT_RETAIN",),
            None,
            "Which traces the store keeps: 90d, 20gb, 5000traces, for each project or by name; all when not set.",
        ),
        Setting("query_memory_mb", ("TRACEKIT_QUERY_MEMORY_MB",), "4096", "How many MiB of memory queries may take."),
        Setting(
            "processors",
            ("TRACEKIT_PROCESSORS",),
            None,
            "What happens to requests before they are kept: specs such as redaction, with spaces between.",
        ),
        Setting("forward", ("TRACEKIT_FORWARD",), None, "OTLP endpoints that get a copy, with spaces between."),
        Setting("forward_mb", ("TRACEKIT_FORWARD_MB",), "1024", "How many MiB may wait to be forwarded."),
        Setting("insecure", ("TRACEKIT_INSECURE",), "0", "1 lets other machines in although no token was ever made."),
        Setting("judge_model", ("TRACEKIT_JUDGE_MODEL",), None, "The model that judges ask unless told otherwise."),
        Setting("openai_base_url", ("OPENAI_BASE_URL",), None, "Base URL of an OpenAI-compatible model server."),
        Setting("openai_api_key", ("OPENAI_API_KEY",), None, "Key for that server; never written anywhere."),
        Setting("anthropic_base_url", ("ANTHROPIC_BASE_URL",), None, "Base URL of a server of Anthropic's messages."),
        Setting("anthropic_api_key", ("ANTHROPIC_API_KEY",), None, "Key for that server; never written anywhere."),
    )
}


_OFF = frozenset({"0", "false", "no", "off", "", "no_content", "event_only"})


def setting(name: str, given: str | None = None) -> str | None:
    """The value in force for a setting.

    Args:
        name: A name in `SETTINGS`.
        given: An explicit argument or flag, which wins when it is not `None`.

    Raises:
        SettingError: A configuration file cannot be read.

    Example:
        >>> setting("port", "9999")
        '9999'
    """
    if given is not None:
        return given
    known = SETTINGS[name]
    for variable in known.variables:
        if os.environ.get(variable):
            return os.environ[variable]
    value = _from_file(Path.cwd()).get(name)
    return known.default if value is None else str(value)


def origin(name: str) -> str:
    """Where the value in force for a setting comes from: `$VARIABLE`, `file` or `default`.

    Args:
        name: A name in `SETTINGS`.

    Raises:
        SettingError: A configuration file cannot be read.
    """
    for variable in SETTINGS[name].variables:
        if os.environ.get(variable):
            return f"${variable}"
    return "default" if _from_file(Path.cwd()).get(name) is None else "file"


def switch(name: str) -> bool:
    """Whether an on/off setting is on; 0, false, no and off mean off, and so do OpenTelemetry's words for that."""
    return (setting(name) or "0").strip().lower() not in _OFF


def store_path(given: str | os.PathLike[str] | None = None) -> Path:
    """The store's folder that is in force."""
    return Path(setting("store", None if given is None else os.fspath(given)) or ".tracekit")


@lru_cache(maxsize=8)
def _from_file(folder: Path) -> dict[str, object]:
    for place in (folder, *folder.parents):
        for path, keys in ((place / "tracekit.toml", ()), (place / "pyproject.toml", ("tool", "tracekit"))):
            if path.is_file():
                table = _table(path, keys)
                if table is not None:
                    return table
    return {}


def _table(path: Path, keys: tuple[str, ...]) -> dict[str, object] | None:
    try:
        table: object = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise SettingError(f"cannot read {path}: {error}") from error
    for key in keys:
        table = table.get(key) if isinstance(table, dict) else None
    if not isinstance(table, dict):
        return None
    unknown = sorted(set(table) - set(SETTINGS))
    if unknown:
        raise SettingError(f"{path} sets {', '.join(unknown)}, which is no setting; known: {', '.join(SETTINGS)}")
    return table
