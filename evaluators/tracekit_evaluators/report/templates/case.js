// A case opened: what was asked, both outputs with their words compared, both explanations, its traces.
const marked = (parts, tag) => el("pre", { class: "text", dir: "auto", tabindex: "0" }, parts.map(([words, only]) => (only ? el(tag, { text: words }) : words)));

const outputs = (mine, theirs) => {
  const [a, b] = [body(theirs), body(mine)];
  if (!a || !b) return [said(theirs), said(mine), ""];
  if (a[0] === b[0]) return [said(theirs), said(mine), "the same output"];
  const [before, after] = differences(a[0], b[0]);
  return [[marked(before, "del"), cut(a[1])], [marked(after, "ins"), cut(b[1])], ""];
};

const why = (verdict) => [
  verdict.explanation === undefined ? el("span", { class: "muted", text: "–" }) : said(verdict.explanation, "plain"),
  (verdict.evidence || []).map(([span, quote]) =>
    el("blockquote", { dir: "auto" }, body(quote)[0], body(quote)[1] ? "…" : "", " ", span ? el("code", { text: span }) : "")),
].flat(2);

const verdicts = (mine, theirs) => {
  const head = (words, span) => el("th", { scope: "col", colspan: span > 1 ? String(span) : null, text: words });
  const rows = mine.map((verdict) => {
    const old = theirs && theirs.find((each) => each.score === verdict.score);
    return el("tr", {},
      el("th", { scope: "row", text: verdict.score }),
      theirs ? [el("td", { class: `v ${(old && old.tone) || ""}`, text: old ? old.value : "–" }), el("td", { class: "why" }, old ? why(old) : [])] : [],
      el("td", { class: `v ${verdict.tone || ""}`, text: verdict.value }), el("td", { class: "why" }, why(verdict)),
      el("td", { class: "muted judge", text: verdict.judge || "" }));
  });
  return el("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "Verdicts" }, el("table", { class: `verdicts${theirs ? " two" : ""}` },
    el("thead", {}, el("tr", {}, head("score"), theirs ? head("baseline", 2) : [], head(theirs ? "this run" : "said", 2), head("judge"))),
    el("tbody", {}, rows)));
};

const attempt = (tried, other, traces, tab, chosen) => {
  const trace = (traces || []).find((each) => each.trace_id === tried.trace_id);
  const missing = !tried.trace_id ? "" : !tried.stored ? `Trace ${tried.trace_id} is not in the store.`
    : `This trace is not in the page, to keep it small: tracekit trace ${tried.trace_id}`;
  const theirs = other && other.trace_id !== tried.trace_id ? (traces || []).find((each) => each.trace_id === other.trace_id) : null;
  return [tried.verdicts ? verdicts(tried.verdicts, other && other.verdicts) : null,
    trace ? traceView(trace, tab, chosen, theirs) : missing ? el("p", { class: "hint", text: missing }) : null].filter(Boolean);
};

const caseBody = (found, traces, tab, chosen) => {
  const tries = found.attempts || [];
  const before = (found.baseline || [])[0];
  const first = tries[0] || {};
  const [old, now, note] = before ? outputs(first.output, before.output) : [null, said(first.output), ""];
  const section = (title, label, content) =>
    el("section", {}, el("h3", {}, title, label ? el("span", { class: "muted", text: ` ${label}` }) : ""), content);
  const parts = [el("div", { class: `pair${before ? " three" : ""}` },
    section("Input", "", said(found.input)),
    before ? section("Baseline’s output", before.label, old) : null,
    section("Output", [first.label, note].filter(Boolean).join(", "), now))];
  const inside = el("div", { class: "inside" });
  const show = (place) => {
    for (const [at, button] of buttons.entries()) button.setAttribute("aria-pressed", String(at === place));
    const shown = tries[place];
    inside.replaceChildren(...(place ? [section("Output", shown.label, said(shown.output))] : []),
      ...attempt(shown, before, traces, tab(), chosen));
  };
  const buttons = tries.length < 2 ? [] : tries.map((tried, place) => {
    const bad = (tried.verdicts || []).filter((verdict) => verdict.tone === "bad").length;
    return el("button", { type: "button", onclick: () => show(place) }, `${bad ? "✗" : "✓"} ${tried.label}`);
  });
  if (buttons.length) parts.push(el("div", { class: "chips tries", role: "group", "aria-label": "Tries" }, buttons));
  if (found.attempts_left_out) parts.push(el("p", { class: "cut", text: `✂ ${found.attempts_left_out} more tries are in the store` }));
  if (tries.length) show(0);
  return [...parts, inside];
};
