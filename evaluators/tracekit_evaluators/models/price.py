"""What a model call costs, by the price list that ships with `genai-prices`; nothing is fetched."""

from __future__ import annotations

from genai_prices import Usage, calc_price


def price(
    model: str,
    input_tokens: int | None,
    output_tokens: int | None,
    cached_tokens: int | None = None,
    *,
    provider: str | None = None,
    base_url: str | None = None,
) -> float | None:
    """US dollars for one call; `None` where the tokens or the model's price are unknown.

    Args:
        model: The model's name.
        input_tokens: Tokens read, cached ones with them.
        output_tokens: Tokens written.
        cached_tokens: Those of the input that came from the server's cache.
        provider: Whose prices count.
        base_url: The server, which tells whose prices count where `provider` does not.

    Example:
        >>> price("a-model-of-nobody", 10, 10, base_url="http://127.0.0.1:8000/v1") is None
        True
    """
    if input_tokens is None or output_tokens is None:
        return None
    usage = Usage(input_tokens=input_tokens, output_tokens=output_tokens, cache_read_tokens=cached_tokens or 0)
    try:
        if provider:
            return float(calc_price(usage, model, provider_id=provider).total_price)
        return float(calc_price(usage, model, provider_api_url=base_url).total_price)
    except (LookupError, ValueError):
        return None
