"""What a model is shown of one step: itself, the one above, where its inputs come from, the goal, what came before."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from tracekit_evaluators.diagnosis.finding import Finding
from tracekit_evaluators.diagnosis.material import Material
from tracekit_evaluators.diagnosis.outline import brief, cut, line

if TYPE_CHECKING:
    from tracekit_collector.trace import Span

_SHOWN: tuple[str, ...] = (
    "error_type",
    "error",
    "tool_arguments",
    "input_messages",
    "input",
    "tool_result",
    "documents",
)
_SHOWN += ("output_messages", "output", "finish_reasons")


def dossier(span: Span, material: Material, findings: Sequence[Finding], *, max_chars: int) -> str:
    """One step as a model is shown it, within so many characters.

    Args:
        span: The step.
        material: Its trace.
        findings: What is known to be wrong already, anywhere in the trace.
        max_chars: The most to show; the step itself gets two thirds of it.
    """
    third = max_chars // 3
    texts = material.texts(span.span_id)
    own = [(name, texts[name]) for name in _SHOWN if texts.get(name, "").strip()]
    own = [(name, text) for name, text in own if name in ("error", "output") or text != texts.get("error")]
    each = (2 * third) // max(len(own), 1)
    parts = [
        ("the goal", cut(material.trace.input or "(not recorded)", third // 3)),
        ("what came before", _before(span, material, third // 3)),
        ("the step above", _above(span, material, third // 6)),
        ("where its inputs come from", "\n".join(_sources(span, material))[: third // 6]),
        (
            "known of this step",
            "\n".join(f"{one.code}: {one.quote}" for one in findings if one.span_id == span.span_id),
        ),
        *((f"{name} of this step", cut(text, max(each, 200))) for name, text in own),
    ]
    head = f"This step: {span.step} {span.name}, span {span.span_id}" + (", FAILED" if span.failed else "")
    return "\n\n".join([head, *(f"[{name}]\n{text}" for name, text in parts if text.strip())])


def _before(span: Span, material: Material, longest: int) -> str:
    """The steps before, one line each, the nearest ones where not all fit."""
    place = material.order.get(span.span_id, 0)
    above = {each.span_id for each in material.above(span.span_id)}
    earlier = [each for each in material.trace.spans if material.order[each.span_id] < place and each.same_as is None]
    lines = [line(each, material, width=120) for each in earlier if each.span_id not in above]
    size, kept = 0, 0
    for text in reversed(lines):
        size += len(text) + 1
        if size > longest:
            break
        kept += 1
    left = len(lines) - kept
    return "\n".join([*([f"[… {left} earlier steps left out …]"] if left else []), *lines[len(lines) - kept :]])


def _above(span: Span, material: Material, longest: int) -> str:
    parent = material.parent(span.span_id)
    if parent is None:
        return ""
    text = material.texts(parent.span_id).get("input", "")
    return f"{parent.step} {parent.name} [{parent.span_id}]: {brief(text, longest)}"


def _sources(span: Span, material: Material) -> Iterator[str]:
    """For each literal of a call's arguments the first step that said it."""
    call = next((each for each in material.trace.tool_calls if each.span_id == span.span_id), None)
    if call is None:
        return
    place = material.order.get(span.span_id, 0)
    earlier = [each for each in material.trace.spans if material.order[each.span_id] < place]
    earlier.sort(key=lambda each: material.order[each.span_id])
    for path, literal in list(_literals(call.arguments, ""))[:12]:
        said = next((each for each in earlier if _says(each, literal, material)), None)
        where = "nowhere before" if said is None else f"first in {said.step} {said.name} [{said.span_id}]"
        yield f"{path} = {brief(literal, 60)}: {where}"


def _says(span: Span, literal: str, material: Material) -> bool:
    low = literal.lower()
    return any(low in text.lower() for text in material.texts(span.span_id).values())


def _literals(value: object, path: str) -> Iterator[tuple[str, str]]:
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield from _literals(item, f"{path}.{key}" if path else str(key))
    elif isinstance(value, list):
        for item in value:
            yield from _literals(item, path)
    elif isinstance(value, (str, int, float)) and not isinstance(value, bool) and 2 <= len(str(value)) <= 120:
        yield path, str(value)
