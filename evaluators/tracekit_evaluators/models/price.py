"""What a judge's model call costs, by the price list that the collector uses too."""

from __future__ import annotations

from tracekit_collector import prices


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
    found = prices.price(model, input_tokens, output_tokens, cached_tokens, provider=provider, base_url=base_url)
    return None if found is None else found.usd
