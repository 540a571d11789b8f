// Charts of the cases that a filter leaves, by Observable Plot, which is unpacked when it is first needed.
const LIBRARY = ["library-0", "library-1"];
const MOST_ELEMENTS = 1480; // of the page with these charts
let loading = null;
const plotting = () => {
  loading = loading || (async () => {
    for (const code of await Promise.all(LIBRARY.map(unpacked))) document.head.append(el("script", { text: code }));
    return globalThis.Plot;
  })();
  return loading;
};

const TONES = ["good", "mixed", "bad", "none"];
const TONE_WORDS = { good: "passed", mixed: "sometimes", bad: "failed", none: "not scored" };
const colour = (name) => `var(--${{ good: "good", bad: "bad", mixed: "warn", none: "plain" }[name] || "fill"})`;

// Mean and, of ten values or more, 95 % interval by the normal distribution.
const estimated = (values) => {
  const n = values.length;
  if (!n) return null;
  const mean = values.reduce((sum, value) => sum + value, 0) / n;
  const spread = Math.sqrt(values.reduce((sum, value) => sum + (value - mean) ** 2, 0) / Math.max(1, n - 1));
  const reach = n >= 10 ? (1.96 * spread) / Math.sqrt(n) : null;
  return { n, mean, low: reach === null ? null : mean - reach, high: reach === null ? null : mean + reach };
};

const counted = (items) => {
  const found = new Map();
  for (const item of items) found.set(item, (found.get(item) || 0) + 1);
  return found;
};

// Round numbers on a logarithmic axis, five at most.
const decades = (values) => {
  const [least, most] = [Math.min(...values), Math.max(...values)];
  const every = [];
  for (let power = Math.floor(Math.log10(least)); power <= Math.ceil(Math.log10(most)); power += 1) {
    for (const step of [1, 2, 5]) every.push(Number((step * 10 ** power).toPrecision(1)));
  }
  const inside = every.filter((at) => at >= least && at <= most);
  return inside.length ? inside.filter((_, place) => place % Math.ceil(inside.length / 4) === 0) : [least];
};

// Marks that look alike become one path: a chart of many marks stays a few elements.
const OUTLINES = {
  rect: (mark) => { const [x, y, w, h] = ["x", "y", "width", "height"].map((name) => Number(mark.getAttribute(name))); return `M${x} ${y}h${w}v${h}h${-w}z`; },
  circle: (mark) => { const [x, y, r] = ["cx", "cy", "r"].map((name) => Number(mark.getAttribute(name))); return `M${x - r} ${y}a${r} ${r} 0 1 0 ${2 * r} 0a${r} ${r} 0 1 0 ${-2 * r} 0z`; },
  line: (mark) => { const [x1, y1, x2, y2] = ["x1", "y1", "x2", "y2"].map((name) => Number(mark.getAttribute(name))); return `M${x1} ${y1}L${x2} ${y2}`; },
};
const PLACED = new Set(["x", "y", "width", "height", "cx", "cy", "r", "x1", "y1", "x2", "y2"]);
const thinned = (drawn) => {
  for (const group of drawn.querySelectorAll("g")) {
    const alike = new Map();
    for (const mark of [...group.children]) {
      if (!OUTLINES[mark.tagName] || mark.childElementCount || mark.hasAttribute("transform")) continue;
      const look = [mark.tagName, ...[...mark.attributes].filter(({ name }) => !PLACED.has(name)).map(({ name, value }) => `${name}=${value}`)].join(";");
      alike.set(look, [...(alike.get(look) || []), mark]);
    }
    for (const [first, ...more] of alike.values()) {
      if (!more.length) continue;
      const merged = svg("path", { d: [first, ...more].map((mark) => OUTLINES[mark.tagName](mark)).join("") });
      for (const { name, value } of first.attributes) if (!PLACED.has(name)) merged.setAttribute(name, value);
      first.replaceWith(merged);
      for (const mark of more) mark.remove();
    }
  }
  return drawn;
};

const charts = (Plot, cases, order, { chosen, width }) => {
  const compared = cases.compared;
  const frame = (marks, more) => Plot.plot({ className: "plotted", width, height: 150, marginLeft: 44, marginRight: 12, marginTop: 14, marginBottom: 26, marks, ...more });
  const card = (title, note, drawn) => {
    // A picture with a name: Plot's labels of its parts would be read one by one.
    drawn.setAttribute("role", "img");
    drawn.setAttribute("aria-label", `${title} of the cases listed`);
    for (const part of drawn.querySelectorAll("[aria-label]")) part.removeAttribute("aria-label");
    thinned(drawn);
    return el("figure", { class: "card", "data-chart": title }, el("figcaption", {}, title, note ? el("span", { class: "muted", text: ` ${note}` }) : ""), drawn);
  };
  const known = (values) => order.map((place) => values[place]).filter((value) => value !== null && value !== undefined);
  const found = [];

  // The forest: of yes-or-no scores, in points against the baseline, or as shares.
  const rows = cases.columns.filter((column) => column.kind === "bool").map((column) => {
    const values = compared
      ? order.filter((place) => column.value[place] !== null && column.before[place] !== null).map((place) => 100 * (column.value[place] - column.before[place]))
      : known(column.value).map((value) => 100 * value);
    return { name: column.name, ...estimated(values) };
  }).filter((row) => row.n);
  if (rows.length) {
    const short = (name) => (name.length > 14 ? `${name.slice(0, 13)}…` : name);
    const tone = "var(--accent)";
    const reach = compared ? Math.min(100, Math.max(5, ...rows.map((row) => Math.abs(chosen || row.low === null ? row.mean : Math.max(Math.abs(row.low), Math.abs(row.high)))))) : 0;
    found.push(card(compared ? "Difference" : "Mean", `${compared ? "points" : "%"}, ${rows[0].n.toLocaleString("en")} cases`, frame([
      compared ? Plot.ruleX([0], { stroke: "var(--plain)", strokeDasharray: "2 2" }) : null,
      chosen ? null : Plot.ruleY(rows.filter((row) => row.low !== null), { y: "name", x1: (row) => row.low, x2: (row) => row.high, stroke: tone, strokeWidth: 2 }),
      Plot.dot(rows, { y: "name", x: "mean", r: 4, fill: tone }),
      Plot.text(rows, { y: "name", x: "mean", dy: -10, text: (row) => `${row.mean > 0 && compared ? "+" : row.mean < 0 ? "−" : ""}${Math.abs(row.mean).toFixed(1)}`, fill: "var(--ink)" }),
    ], { marginLeft: 92, x: { domain: compared ? [-reach, reach] : [0, 100], nice: compared, ticks: 5, label: null }, y: { label: null, tickFormat: short, tickSize: 0, domain: rows.map((row) => row.name) }, height: Math.max(110, 44 + 26 * rows.length) })));
  }

  for (const column of cases.columns) {
    if (column.kind === "number") {
      const [mine, theirs] = [known(column.value), compared ? known(column.before) : []];
      if (!mine.length) continue;
      const mean = estimated(mine);
      const bins = { thresholds: 16, domain: [Math.min(...mine, ...theirs), Math.max(...mine, ...theirs)] };
      found.push(card(column.name, `mean ${mean.mean.toPrecision(3)}`, frame([
        Plot.rectY(mine, Plot.binX({ y: "proportion" }, { x: { value: (each) => each, ...bins }, fill: "var(--fill)", inset: 0.5 })),
        theirs.length ? Plot.rectY(theirs, Plot.binX({ y: "proportion" }, { x: { value: (each) => each, ...bins }, stroke: "var(--theirs)", strokeWidth: 1.5, fill: "none" })) : null,
        Plot.ruleY([0], { stroke: "var(--line)" }),
      ], { x: { label: null, ticks: 4 }, y: { label: null, ticks: 3, tickFormat: "%" } })));
      if (theirs.length > 1) found.push(dots(Plot, frame, card, `${column.name}: now beside before`, order.filter((place) => column.value[place] !== null && column.before[place] !== null)
        .map((place) => ({ x: column.before[place], y: column.value[place], failed: Boolean(cases.flags[place]) })), { x: { label: null, ticks: 4 }, y: { label: null, ticks: 4 } }, true));
      continue;
    }
    const words = (place) => { const [text, tone] = column.cells[column.at[place]]; return column.kind === "bool" ? tone || "none" : text; };
    const [here, all] = [counted(order.map(words)), counted(column.at.map((_, place) => words(place)))];
    const names = column.kind === "bool" ? TONES.filter((tone) => all.has(tone)) : [...all.keys()].sort((a, b) => all.get(b) - all.get(a)).slice(0, 8);
    const bars = names.map((name) => ({ name: (TONE_WORDS[name] && column.kind === "bool" ? TONE_WORDS[name] : name).slice(0, 14), tone: name, count: here.get(name) || 0, share: (100 * (here.get(name) || 0)) / order.length, every: (100 * all.get(name)) / column.at.length }));
    found.push(card(column.name, "% of these cases; │ of all", frame([
      Plot.barX(bars, { y: "name", x: "share", fill: (bar) => (column.kind === "bool" ? colour(bar.tone) : "var(--fill)"), insetTop: 2, insetBottom: 2 }),
      Plot.tickX(bars, { y: "name", x: "every", stroke: "var(--theirs)", strokeWidth: 2 }),
      Plot.text(bars, { y: "name", x: 100, text: (bar) => bar.count.toLocaleString("en"), textAnchor: "start", dx: 6, fill: "var(--muted)" }),
    ], { marginLeft: 78, marginRight: 46, x: { domain: [0, 100], ticks: 3, label: null }, y: { label: null, tickSize: 0, domain: bars.map((bar) => bar.name) }, height: Math.max(80, 44 + 22 * bars.length) })));
  }

  const spent = order.filter((place) => cases.ms[place] > 0 && cases.usd[place] > 0)
    .map((place) => ({ x: cases.ms[place] / 1000, y: cases.usd[place], failed: Boolean(cases.flags[place]) }));
  if (spent.length > 1) {
    const [x, y] = [decades(spent.map((spot) => spot.x)), decades(spent.map((spot) => spot.y))];
    const log = { type: "log", label: null };
    found.push(dots(Plot, frame, card, "Time and cost", spent, { x: { ...log, ticks: x, tickFormat: (s) => duration(1000 * s) }, y: { ...log, ticks: y, tickFormat: money } }, false));
  }
  return found;
};

// A dot a case; of many cases a square a bin, so that the page stays small.
const dots = (Plot, frame, card, title, spots, scales, diagonal) => {
  const many = spots.length > 300;
  const ends = [Math.min(...spots.map((spot) => Math.min(spot.x, spot.y))), Math.max(...spots.map((spot) => Math.max(spot.x, spot.y)))];
  const even = { thresholds: 16 };
  const log = scales.x.type === "log";
  const cells = log
    ? Plot.dot(spots, Plot.hexbin({ r: "count" }, { x: "x", y: "y", fill: "var(--fill)", binWidth: 14 }))
    : Plot.rect(spots, Plot.bin({ fillOpacity: "count" }, { x: { value: "x", ...even }, y: { value: "y", ...even }, fill: "var(--accent)" }));
  return card(title, many ? `${spots.length.toLocaleString("en")} cases, binned` : spots.some((spot) => spot.failed) ? "○ failed" : "", frame([
    diagonal ? Plot.line([[ends[0], ends[0]], [ends[1], ends[1]]], { stroke: "var(--plain)", strokeDasharray: "2 2" }) : null,
    many ? cells : Plot.dot(spots, { x: "x", y: "y", r: 3, fill: (spot) => (spot.failed ? "var(--paper)" : "var(--fill)"), stroke: (spot) => (spot.failed ? "var(--bad)" : "var(--fill)"), strokeWidth: 1.5 }),
  ], { marginLeft: 56, ...scales }));
};

// The strip of charts above the list: empty and hidden until a filter leaves some of the cases.
const drawer = (cases) => {
  const box = el("section", { id: "drawn", "aria-label": "Charts of the cases that are listed", hidden: true });
  const able = Boolean(document.getElementById(LIBRARY[0]));
  let turn = 0;
  const draw = async (order, { filtered, chosen }) => {
    turn += 1;
    const mine = turn;
    if (!able || !filtered || !order.length) {
      box.hidden = true;
      box.replaceChildren();
      return;
    }
    await new Promise((done) => setTimeout(done, 120)); // a reader who types wants no chart a letter
    if (mine !== turn) return;
    const Plot = await plotting();
    if (mine !== turn) return;
    box.replaceChildren();
    const every = charts(Plot, cases, order, { chosen, width: 300 });
    let room = MOST_ELEMENTS - document.getElementsByTagName("*").length;
    const drawn = every.filter((card) => (room -= 1 + card.getElementsByTagName("*").length) > 0); // the page stays light
    box.hidden = false;
    box.replaceChildren(el("p", { class: "hint" }, `Charts of the ${order.length === 1 ? "one case" : `${order.length.toLocaleString("en")} cases`} listed. `,
      chosen ? "They were chosen by how they did, so no interval is drawn." : "Intervals take each case as independent and correct for nothing: a look, not a test.",
      drawn.length < every.length ? ` ${every.length - drawn.length} more charts are left out, to keep the page light.` : ""), el("div", { class: "cards" }, drawn));
    box.dataset.count = String(order.length);
  };
  return { box, draw };
};
