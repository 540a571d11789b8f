"""Drawings as PNG, by resvg, which comes with the extra `png`."""

from __future__ import annotations

from tracekit.errors import MissingExtraError, UsageError


def png(drawing: str, *, scale: float = 2.0) -> bytes:
    r"""An SVG drawing as a PNG picture, in light colours.

    Args:
        drawing: The SVG, as `drawings` gives it.
        scale: How many pixels a unit of the drawing takes, above 0.

    Raises:
        MissingExtraError: resvg is not installed.
        UsageError: It cannot draw this.

    Example:
        >>> png('<svg xmlns="http://www.w3.org/2000/svg" width="4" height="2"/>')[:4]
        b'\x89PNG'
    """
    try:
        import resvg_py  # noqa: PLC0415 - an extra
    except ImportError:
        raise MissingExtraError("PNG pictures need resvg: pip install 'tracekit[png]'") from None
    try:
        return bytes(resvg_py.svg_to_bytes(svg_string=drawing, zoom=scale))
    except ValueError as error:
        raise UsageError(f"cannot draw this as PNG: {error}") from error
