"""MLflow's prompts, which it keeps among its registered models, into the registry of prompts."""

from __future__ import annotations

import json

from tracekit.errors import NotFoundError, UsageError
from tracekit.prompts import checked_content, digest_of_content
from tracekit_collector.catalog.prompts import PromptVersion
from tracekit_collector.imports.mlflow_kinds import ModelVersion, RegisteredModel
from tracekit_collector.imports.tally import Tally
from tracekit_collector.store import Store

NUMBER = "mlflow.version"
"""The tag that keeps MLflow's number of a version: two of its versions that say the same are one here."""

_TEXT = "mlflow.prompt.text"
_KIND = "_mlflow_prompt_type"
_OWN = ("mlflow.prompt.", "_mlflow_")


def take_prompt(store: Store, prompt: RegisteredModel, tally: Tally, *, dry: bool) -> None:
    """Register a prompt's versions, and let its aliases stand for them.

    Args:
        store: Where to.
        prompt: The registered model that is one.
        tally: Where it is counted.
        dry: Whether the store stays as it is.
    """
    prompts = store.catalog.prompts
    try:
        held = {each.digest: each for each in prompts.versions(prompt.name)}
    except (NotFoundError, UsageError):
        held = {}
    numbers: dict[int, PromptVersion] = {}
    for version in sorted(prompt.versions, key=lambda each: each.number):
        if version.deleted:
            tally.skip("prompts", "deleted")
            continue
        try:
            content = _content(version)
            known = held.get(digest_of_content(checked_content(content, strict=True)))
            if known is None and not dry:
                tags = {key: value for key, value in version.tags.items() if not key.startswith(_OWN)}
                tags[NUMBER] = str(version.number)
                made = prompts.register(prompt.name, content, tags=tags, message=version.description)
                numbers[version.number] = held[made.digest] = made
            elif known is not None:
                numbers[version.number] = known
        except (UsageError, ValueError) as error:
            tally.skip("prompts", f"not possible here: {error}")
            continue
        tally.count("prompts", known=known is not None)
    for alias, number in sorted(prompt.aliases.items()):
        found = numbers.get(number)
        if found is None:
            if not dry:
                tally.skip("prompt aliases", "its version was left out")
            continue
        known_alias = prompts.aliases(prompt.name).get(alias) == found
        try:
            if not known_alias and not dry:
                prompts.set_alias(prompt.name, alias, found, why="imported from MLflow")
        except UsageError as error:
            tally.skip("prompt aliases", f"not possible here: {error}")
            continue
        tally.count("prompt aliases", known=known_alias)


def _content(version: ModelVersion) -> object:
    text = version.tags.get(_TEXT)
    if text is None:
        raise UsageError("a version without a text")
    return json.loads(text) if version.tags.get(_KIND) == "chat" else text
