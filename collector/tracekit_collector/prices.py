"""What a model call costs, by the price list that ships with `genai-prices`; nothing is fetched.

The library finds a model's prices in some 50 µs; a settled span has 3. So the prices of a model are asked for once
for each stretch of time in which they cannot change, and kept as plain numbers a token.
"""

from __future__ import annotations

import datetime
import importlib.metadata
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

__all__ = ["Price", "add_cost", "is_told", "price", "source"]

PRICED_STEPS = frozenset({"llm", "embedding"})

_DAY_NS = 86_400 * 10**9
_HALF_HOUR_NS = 1_800 * 10**9  # prices by the time of day change at full and half hours
_LIST = "genai-prices"
_KEPT = 4_096  # models come from outside: what is remembered of them must not grow without end

# Our names of providers, where the price list has others.
_PROVIDERS = {
    "aws.bedrock": "aws",
    "azure.ai.inference": "azure",
    "azure.ai.openai": "azure",
    "gcp.vertex_ai": "google",
    "google (gemini)": "google",
    "mistral_ai": "mistral",
    "x_ai": "x-ai",
}
_AUDIO_IN = ("gen_ai.usage.audio.input_tokens", "llm.token_count.prompt_details.audio")
_AUDIO_OUT = ("gen_ai.usage.audio.output_tokens", "llm.token_count.completion_details.audio")


@dataclass(frozen=True, slots=True)
class Price:
    """What a call costs, and who says so.

    Args:
        usd: US dollars.
        source: The price list, its version, and the UTC date whose prices were taken.
    """

    usd: float
    source: str


@dataclass(frozen=True, slots=True)
class _Rates:
    """US dollars a token, from a number of input tokens on; None where the list has no price."""

    above: int
    input: float | None
    output: float | None
    cached: float | None
    cache_write: float | None
    reasoning: float | None
    audio_input: float | None
    audio_output: float | None
    request: float


@dataclass(frozen=True, slots=True)
class _Prices:
    """A model's prices in one stretch of time: the highest tier first."""

    tiers: tuple[_Rates, ...]
    source: str
    audio: bool


def price(
    model: str,
    input_tokens: int | None,
    output_tokens: int | None,
    cached_tokens: int | None = None,
    *,
    cache_write_tokens: int | None = None,
    reasoning_tokens: int | None = None,
    audio_input_tokens: int | None = None,
    audio_output_tokens: int | None = None,
    provider: str | None = None,
    base_url: str | None = None,
    at_ns: int | None = None,
) -> Price | None:
    """What one call costs; `None` where the tokens or the model's price are unknown.

    Args:
        model: The model's name.
        input_tokens: Tokens read: cached, written to the cache and audio ones with them.
        output_tokens: Tokens written: reasoning and audio ones with them.
        cached_tokens: Those of the input that came from the server's cache.
        cache_write_tokens: Those of the input that were put there.
        reasoning_tokens: Those of the output that were thought, not said.
        audio_input_tokens: Those of the input that were heard.
        audio_output_tokens: Those of the output that were spoken.
        provider: Whose prices count; one that the list does not know has none.
        base_url: The server, which tells whose prices count where `provider` does not.
        at_ns: When, in nanoseconds since 1970: prices change; now when not given.

    Example:
        >>> price("gpt-4o-mini", 1_000_000, 0, provider="openai").usd
        0.15
        >>> price("a-model-of-nobody", 10, 10, base_url="http://127.0.0.1:8000/v1") is None
        True
    """
    if input_tokens is None or output_tokens is None:
        return None
    found = _prices(model, provider, base_url, at_ns)
    if found is None:
        return None
    cost = _cost(
        next(tier for tier in found.tiers if input_tokens > tier.above or tier.above < 0),
        input_tokens,
        output_tokens,
        cached_tokens or 0,
        cache_write_tokens or 0,
        reasoning_tokens or 0,
        audio_input_tokens or 0,
        audio_output_tokens or 0,
    )
    return None if cost is None else Price(cost, found.source)


def add_cost(columns: dict[str, Any], attributes: Mapping[str, object], at_ns: int) -> None:
    """Give the columns of a call's span a cost, where the payload brought none and the price is known.

    Args:
        columns: Derived columns of `spans`; `cost_usd` and `cost_source` are added.
        attributes: The span's attributes, for tokens that have no column.
        at_ns: When the call began, in nanoseconds since 1970.
    """
    get = columns.get
    if get("step") not in PRICED_STEPS or get("cost_usd") is not None:
        return
    model, read, wrote = get("model") or get("model_requested"), get("input_tokens"), get("output_tokens")
    if model is None or read is None:
        return
    if wrote is None:
        if columns["step"] != "embedding":
            return
        wrote = 0  # an embedding writes no tokens
    found = _prices(model, get("provider"), None, at_ns)
    if found is None:
        return
    tiers = found.tiers
    rates = tiers[0] if len(tiers) == 1 else next(tier for tier in tiers if read > tier.above or tier.above < 0)
    heard = spoken = 0
    if found.audio:
        heard, spoken = _first_count(attributes, _AUDIO_IN), _first_count(attributes, _AUDIO_OUT)
    cached, written = get("cached_tokens") or 0, get("cache_write_tokens") or 0
    cost = _cost(rates, read, wrote, cached, written, get("reasoning_tokens") or 0, heard, spoken)
    if cost is not None:
        columns["cost_usd"] = cost
        columns["cost_source"] = found.source


def is_told(row: Mapping[str, object]) -> bool:
    """Whether a row's cost came in its payload; otherwise it was reckoned from a price list."""
    source = row.get("cost_source")
    return not (isinstance(source, str) and source.startswith(_LIST))


def _cost(
    rates: _Rates, read: int, wrote: int, cached: int, written: int, thought: int, heard: int, spoken: int
) -> float | None:
    """The sum over kinds of tokens; a kind without a price of its own costs what the rest of its side does."""
    cost = rates.request
    rest = read
    if cached and rates.cached is not None:
        cached = min(cached, rest)
        cost += cached * rates.cached
        rest -= cached
    if written and rates.cache_write is not None:
        written = min(written, rest)
        cost += written * rates.cache_write
        rest -= written
    if heard and rates.audio_input is not None:
        heard = min(heard, rest)
        cost += heard * rates.audio_input
        rest -= heard
    if rest:
        if rates.input is None:
            return None
        cost += rest * rates.input
    rest = wrote
    if thought and rates.reasoning is not None:
        thought = min(thought, rest)
        cost += thought * rates.reasoning
        rest -= thought
    if spoken and rates.audio_output is not None:
        spoken = min(spoken, rest)
        cost += spoken * rates.audio_output
        rest -= spoken
    if rest:
        if rates.output is None:
            return None
        cost += rest * rates.output
    return round(cost, 12)


# (model, provider, server) to how long its prices hold, and from the number of such a stretch to the prices in it.
_known: dict[tuple[str, str | None, str | None], tuple[int, dict[int, _Prices | None]]] = {}


def _prices(model: str, provider: str | None, base_url: str | None, at_ns: int | None) -> _Prices | None:
    if at_ns is None:
        at_ns = int(datetime.datetime.now(datetime.timezone.utc).timestamp() * 1e9)
    key = (model, provider, base_url)
    known = _known.get(key)
    if known is None:
        if len(_known) >= _KEPT:
            _known.clear()
        known = _known[key] = (_stretch(model, provider, base_url, at_ns), {})
    stretch, found = known
    number = at_ns // stretch
    try:
        return found[number]
    except KeyError:
        if len(found) >= _KEPT:
            found.clear()
        prices = found[number] = _asked(model, provider, base_url, number * stretch)
        return prices


def _calculated(model: str, provider: str | None, base_url: str | None, at_ns: int) -> Any:
    from genai_prices import Usage, calc_price  # noqa: PLC0415 - its list takes a sixth of a second to load

    at = datetime.datetime.fromtimestamp(at_ns // 10**9, datetime.timezone.utc)
    whose = {"provider_id": _PROVIDERS.get(provider, provider)} if provider else {"provider_api_url": base_url}
    try:
        return calc_price(Usage(input_tokens=0, output_tokens=0), model, genai_request_timestamp=at, **whose)
    except (LookupError, ValueError):
        return None


def _stretch(model: str, provider: str | None, base_url: str | None, at_ns: int) -> int:
    found = _calculated(model, provider, base_url, at_ns)
    listed = getattr(getattr(found, "model", None), "prices", None)
    if isinstance(listed, list) and any(hasattr(each.constraint, "start_time") for each in listed):
        return _HALF_HOUR_NS
    return _DAY_NS


def _asked(model: str, provider: str | None, base_url: str | None, at_ns: int) -> _Prices | None:
    found = _calculated(model, provider, base_url, at_ns)
    if found is None:
        return None
    listed = found.model_price
    starts = {tier.start for name in _MILLION for tier in getattr(getattr(listed, name, None), "tiers", ())}
    tiers = tuple(_rates(listed, start) for start in (*sorted(starts, reverse=True), -1))
    if tiers[-1].input is None and tiers[-1].output is None:
        return None  # sold by the hour, the page or the picture, of which a span tells nothing
    audio = any(tier.audio_input is not None or tier.audio_output is not None for tier in tiers)
    day = datetime.datetime.fromtimestamp(at_ns // 10**9, datetime.timezone.utc).date()
    return _Prices(tiers, f"{source()} {day}", audio)


# The list's prices of a million tokens, and what they are to us.
_MILLION = {
    "input_mtok": "input",
    "output_mtok": "output",
    "cache_read_mtok": "cached",
    "cache_write_mtok": "cache_write",
    "output_reasoning_mtok": "reasoning",
    "input_audio_mtok": "audio_input",
    "output_audio_mtok": "audio_output",
}


def _rates(listed: Any, above: int) -> _Rates:
    tokens = {field: _rate(getattr(listed, name, None), above) for name, field in _MILLION.items()}
    thousand = _rate(getattr(listed, "requests_kcount", None), above, per=1_000)
    return _Rates(above, request=thousand or 0.0, **tokens)


def _rate(listed: Any, above: int, *, per: int = 1_000_000) -> float | None:
    """The price of one; of prices in tiers, the tier that counts above so many input tokens."""
    if listed is None:
        return None
    value = listed
    if hasattr(listed, "tiers"):
        value = listed.base
        for tier in listed.tiers:
            if above >= tier.start:
                value = tier.price
    return float(value) / per


def _first_count(attributes: Mapping[str, object], keys: tuple[str, ...]) -> int:
    for key in keys:
        value = attributes.get(key)
        if isinstance(value, int) and value > 0:
            return value
    return 0


@cache
def source() -> str:
    """The price list that is installed, and its version, as `cost_source` names it before the date."""
    return f"{_LIST} {importlib.metadata.version(_LIST)}"
