// A trace: chat, waterfall, tree, tool calls, raw.
const facts = (pairs) =>
  el("p", { class: "facts-line" }, (pairs || []).map(([name, value]) => el("span", {}, el("b", { text: name }), ` ${value}`)));

const chat = (trace) => {
  const messages = (trace.messages || []).map((message) => {
    const parts = (message.parts || []).flatMap((part) => [
      part.kind === "text" ? null : el("p", { class: "kind" }, part.kind, " ", part.title ? el("b", { text: part.title }) : ""),
      part.text === undefined ? null : said(part.text, part.kind === "text" ? "plain" : ""),
    ]);
    const role = ["user", "assistant", "tool", "system"].includes(message.role) ? message.role : "other";
    if (role !== "system") return el("div", { class: `message ${role}` }, el("p", { class: "role", text: message.role }), parts.flat());
    return el("details", { class: "message system" }, el("summary", { class: "role", text: "▸ system" }), parts.flat());
  });
  const left = trace.messages_left_out;
  return el("div", { class: "chat" }, messages, left ? el("p", { class: "cut", text: `✂ ${left} more messages are in the trace` }) : null);
};

const toolCalls = (trace) => {
  const rows = (trace.calls || []).map((call, place) =>
    el("tr", {},
      el("td", { class: "n muted", text: String(place + 1) }),
      el("th", { scope: "row" }, call.name, " ",
        call.outcome === "ok" ? "" : el("span", { class: `chip ${call.outcome === "error" ? "bad" : ""}`, text: call.outcome === "error" ? "✕ error" : call.outcome })),
      el("td", {}, said(call.arguments)),
      el("td", {}, call.error ? el("p", { class: "fault", text: call.error }) : null, call.error && call.result === undefined ? null : said(call.result)),
      el("td", { class: "n", text: call.duration })));
  const left = trace.calls_left_out;
  return el("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "Tool calls" },
    el("table", { class: "calls" },
      el("thead", {}, el("tr", {}, ["", "tool", "arguments", "result", "took"].map((name) => el("th", { scope: "col", text: name })))),
      el("tbody", {}, rows)),
    left ? el("p", { class: "cut", text: `✂ ${left} more calls are in the trace` }) : null);
};

const kindOf = (span) => `k-${String(span.step || "span").replace(/[^a-z]/g, "")}`;

const brief = (text) => {
  const found = body(text);
  return found ? found[0].slice(0, 160).replace(/\s+/g, " ") : "";
};

// The spans as a tree, with bars on a ruler or with what went in and came out.
const spanRows = (trace, bars) => {
  const { rows = [], ticks = [], length = 1, left_out: left } = trace.waterfall || {};
  const folded = new Set();
  let seen = [];
  const detail = el("div", { class: "sbody" });
  const parentOf = (place) => {
    for (let at = place - 1; at >= 0; at -= 1) if ((rows[at].depth || 0) < (rows[place].depth || 0)) return at;
    return -1;
  };
  const opens = (place) => place + 1 < rows.length && (rows[place + 1].depth || 0) > (rows[place].depth || 0);
  const look = () => {
    seen = [];
    for (let place = 0, under = Infinity; place < rows.length; place += 1) {
      const depth = rows[place].depth || 0;
      if (depth > under) continue;
      under = folded.has(place) ? depth : Infinity;
      seen.push(place);
    }
  };
  const bar = (span) => {
    const x = Math.min(99.6, (100 * (span.start || 0)) / length);
    const width = Math.min(100 - x, Math.max(0.4, (100 * (span.length || 0)) / length));
    const where = x + width <= 86 ? "right" : width >= 14 ? "inside" : "left";
    const drawn = svg("svg", {});
    drawn.append(svg("rect", { class: kindOf(span), x: `${x}%`, y: 7, width: `${width}%`, height: 10, rx: 2 }));
    const words = { x: `${where === "left" ? x : x + width}%`, dx: where === "right" ? 5 : -5, y: 16 };
    if (where !== "right") words["text-anchor"] = "end";
    if (where === "inside") words.class = "in";
    drawn.append(svg("text", words, span.duration));
    return drawn;
  };
  const list = new Rows({
    height: 24, most: "min(480px, 50vh)", role: "tree", label: bars ? "Waterfall" : "Tree of steps",
    render: (at) => {
      const place = seen[at];
      const span = rows[place];
      const fold = el("span", { class: "fold", "aria-hidden": "true", text: opens(place) ? (folded.has(place) ? "▸" : "▾") : "" });
      fold.addEventListener("click", (event) => {
        event.stopPropagation();
        turn(at);
      });
      const name = el("span", { class: "sname" }, fold, el("i", { class: `k ${kindOf(span)}`, title: span.step }),
        span.error ? el("b", { class: "bad", title: "error", text: "✕ " }) : "", span.name);
      name.style.paddingLeft = `${Math.min(span.depth || 0, 20) * 14}px`;
      const words = el("span", { class: "io" }, el("span", { text: brief(span.input) }),
        span.output === undefined ? "" : el("span", { class: "out", text: `→ ${brief(span.output)}` }), el("span", { class: "took", text: span.duration }));
      return el("div", {
        class: `wrow${span.error ? " failed" : ""}`, id: `span-${trace.trace_id}-${place}`, role: "treeitem", "aria-level": String((span.depth || 0) + 1),
        "aria-expanded": opens(place) ? String(!folded.has(place)) : null,
      }, name, bars ? bar(span) : words);
    },
    chosen: (at) => {
      const span = rows[seen[at]];
      detail.replaceChildren(...[facts(span.facts),
        ...(span.input === undefined ? [] : [el("h4", { text: "input" }), ...said(span.input)]),
        ...(span.output === undefined ? [] : [el("h4", { text: "output" }), ...said(span.output)])].filter(Boolean));
    },
  });
  const turn = (at) => {
    const place = seen[at];
    if (!opens(place)) return;
    if (!folded.delete(place)) folded.add(place);
    look();
    list.fill(seen.length, seen.indexOf(place));
  };
  const all = (close) => {
    const here = seen[Math.max(0, list.at)];
    folded.clear();
    if (close) rows.forEach((_, place) => opens(place) && folded.add(place));
    look();
    list.fill(seen.length, seen.indexOf(here));
  };
  list.box.addEventListener("keydown", (event) => {
    const at = Math.max(0, list.at);
    const place = seen[at];
    const keys = {
      ArrowDown: () => list.choose(list.at + 1),
      ArrowUp: () => list.choose(at - 1),
      Home: () => list.choose(0),
      End: () => list.choose(seen.length - 1),
      ArrowRight: () => (folded.has(place) ? turn(at) : opens(place) && list.choose(at + 1)),
      ArrowLeft: () => (opens(place) && !folded.has(place) ? turn(at) : parentOf(place) >= 0 && list.choose(seen.indexOf(parentOf(place)))),
      "[": () => all(true),
      "]": () => all(false),
    };
    if (!keys[event.key] || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    event.stopPropagation();
    keys[event.key]();
  });
  look();
  queueMicrotask(() => list.fill(seen.length));
  const ruler = svg("svg", {});
  ticks.forEach((tick, quarter) =>
    ruler.append(svg("text", { x: `${quarter * 25}%`, y: 13, "text-anchor": quarter === 0 ? "start" : quarter === 4 ? "end" : "middle" }, tick)));
  return el("div", { class: `waterfall${bars ? "" : " plain"}` },
    bars ? el("div", { class: "wrow ruler", "aria-hidden": "true" }, el("span", {}), ruler) : null,
    list.box, detail,
    left ? el("p", { class: "cut", text: `✂ ${left} more spans are in the trace` }) : null);
};

const raw = (trace) =>
  el("div", {},
    el("p", { class: "hint" }, "What this page holds of the trace. The whole: ", el("code", { text: `tracekit trace ${trace.trace_id} --format json` })),
    el("pre", { class: "text", tabindex: "0", dir: "auto", text: JSON.stringify(trace, null, 2) }));

const TABS = [
  ["chat", "Chat", chat, (trace) => (trace.messages || []).length],
  ["waterfall", "Waterfall", (trace) => spanRows(trace, true), (trace) => ((trace.waterfall || {}).rows || []).length],
  ["tree", "Tree", (trace) => spanRows(trace, false), (trace) => ((trace.waterfall || {}).rows || []).length],
  ["tools", "Tool calls", toolCalls, (trace) => (trace.calls || []).length],
  ["raw", "Raw", raw, () => 1],
];

// What stands above the views of a trace.
const traceHead = (trace, side) => [
  side ? el("h3", { text: side }) : null,
  facts([...(trace.facts || []), ["trace", trace.trace_id]]),
  trace.failed ? el("p", { class: "fault" }, el("b", { text: "✕ error " }), trace.error || "") : null,
];

// A trace in the view that is wanted; where there is one, the baseline's beside it in the same view.
const traceView = (trace, wanted, chosen, theirs) => {
  const both = theirs ? [theirs, trace] : [trace];
  const panel = el("div", { class: `tab${theirs ? " both" : ""}`, role: "tabpanel" });
  const heads = theirs ? el("div", { class: "tab both" }, el("div", {}, traceHead(theirs, "Baseline’s trace")), el("div", {}, traceHead(trace, "Trace"))) : traceHead(trace);
  const offered = TABS.filter(([, , , count]) => both.some(count));
  const buttons = offered.map(([key, name, , count], place) =>
    el("button", { type: "button", role: "tab", "data-tab": key, onclick: () => show(key, true), title: `${name} ( ${place + 1} )` },
      name, key === "raw" ? "" : el("span", { class: "count", text: ` ${count(trace)}` })));
  const show = (key, told) => {
    const [name, , draw, count] = offered.find(([each]) => each === key) || offered[0];
    for (const button of buttons) button.setAttribute("aria-selected", String(button.dataset.tab === name));
    const none = () => el("p", { class: "muted", text: "This trace has none." });
    panel.replaceChildren(...both.map((each) => el("div", {}, count(each) ? draw(each) : none())));
    if (told) chosen(name);
  };
  show(wanted, false);
  return el("section", { class: "trace", "aria-label": `Trace ${trace.trace_id}` },
    heads,
    el("div", { class: "tabs", role: "tablist", "aria-label": "Views of the trace" }, buttons), panel);
};
