"""A version that is being served, and the split of requests between versions."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Mapping
from typing import Any

from tracekit._inference import Choice
from tracekit.errors import UsageError
from tracekit_collector.serving.messages import Asked
from tracekit_collector.serving.pool import Limits, Pool
from tracekit_collector.serving.refusals import Refusal
from tracekit_collector.serving.target import Target
from tracekit_collector.signatures import Fit, first_misfit

_BODY_LIMIT = 262_144  # how much of a body the inference record keeps


class Deployment:
    """A version with its workers, its signature, and how its requests are recorded.

    Args:
        target: The version.
        limits: How much its workers take on.
    """

    def __init__(self, target: Target, limits: Limits) -> None:
        self.target = target
        self.pool = Pool(target, limits)
        self.choice = Choice.of(
            (), (), target.agent, target.version, _BODY_LIMIT, "x-session-id", "x-user-id", "x-trace-id"
        )
        self.version_header = header_text(target.version)
        self.input_schema: Mapping[str, Any] = {}
        self.output_schema: Mapping[str, Any] = {}
        self.asked = Asked({})
        self._fit = Fit({})

    async def start(self) -> None:
        """Start its workers.

        Raises:
            WorkerError: They did not start.
            UsageError: Its signature is no JSON schema.
        """
        await self.pool.start()
        signature = self.target.signature or self.pool.signature or {}
        self.input_schema = _schema(signature.get("input"))
        self.output_schema = _schema(signature.get("output"))
        self.asked = Asked(self.input_schema)
        try:
            self._fit = Fit(self.input_schema)
        except UsageError as error:
            await self.pool.close()
            raise UsageError(f"the input signature of {self.target.ref} is no JSON schema: {error}") from None

    async def retire(self) -> None:
        """Wait for the calls that it has, then end its workers."""
        await self.pool.drain()
        await self.pool.close()

    def check(self, value: object) -> None:
        """Compare an input with the signature.

        Raises:
            Refusal: It does not fit; 422, with path and reason of what is wrong.
        """
        found = self._fit.misfits(value)
        if found:
            raise Refusal(
                422,
                "invalid_input",
                f"the input does not fit the signature of {self.target.ref}: {first_misfit(found)}",
                param=found[0]["path"],
                more={"errors": found},
            )


class Split:
    """Which of the versions that are served answers a request.

    Args:
        share: How much of the requests the canary gets, from 0 to 1.
    """

    def __init__(self, share: float = 0.0) -> None:
        self.share = share
        self.main: Deployment | None = None
        self.canary: Deployment | None = None

    def all(self) -> list[Deployment]:
        """The versions that get requests."""
        return [each for each in (self.main, self.canary) if each is not None]

    def choose(self, session: str | None = None, model: str | None = None) -> Deployment:
        """The version that is to answer.

        Args:
            session: The request's session: all of one session go to one version.
            model: What the request wants: the agent's name, or one of its versions.

        Raises:
            Refusal: No such version is served (404), or none at all (503).
        """
        if self.main is None:
            raise Refusal(503, "not_ready", "no version is being served yet", headers={"retry-after": "1"})
        if model is not None:
            for each in self.all():
                if model in (each.target.ref, f"{each.target.agent}@{each.target.version}"):
                    return each
            if model != self.main.target.agent:
                known = ", ".join([self.main.target.agent, *(each.target.ref for each in self.all())])
                raise Refusal(
                    404, "model_not_found", f"{model[:200]!r} is not served here; {known} are", param="/model"
                )
        if self.canary is None:
            return self.main
        return self.canary if _place(session) < self.share else self.main


def header_text(text: str) -> str:
    """A text as an HTTP header can carry it."""
    return text.encode("ascii", "backslashreplace").decode("ascii").replace("\r", " ").replace("\n", " ")


def _place(session: str | None) -> float:
    if not session:
        return random.random()  # noqa: S311 - a split, no secret
    digest = hashlib.blake2b(session.encode("utf-8", "surrogateescape"), digest_size=8).digest()
    return int.from_bytes(digest, "big") / (1 << 64)


def _schema(said: object) -> Mapping[str, Any]:
    return said if isinstance(said, Mapping) else {}
