// The list of all cases, the keys, and the address that remembers both.
const app = one("#app");
const pane = one("#pane");
const CHANGES = ["", "regressed", "improved", "mixed"];
const HELP = [["j k ↓ ↑", "next, previous case"], ["Enter", "open"], ["Esc", "close"], ["n p", "next, previous case, opened"], ["r", "next regression"], ["e", "next error"],
  ["1 … 5", "views of the trace"], ["← →", "fold, unfold a step"], ["[ ]", "fold, unfold all"], ["/", "search"], ["Tab, ← →, Enter", "bars of a chart: list the cases of one"], ["y", "copy a link to the case"], ["t", "light or dark"], ["?", "these keys"]];

const duration = (ms) => {
  if (ms === null) return "–";
  if (ms >= 60000) return `${Math.floor(ms / 60000)} min ${Math.round((ms % 60000) / 1000)} s`;
  const [unit, size] = ms >= 1000 ? ["s", 1000] : ms >= 1 ? ["ms", 1] : ["µs", 0.001];
  const amount = ms / size;
  return `${amount.toFixed(amount < 10 ? 2 : amount < 100 ? 1 : 0)} ${unit}`;
};
const money = (usd) => (usd === null ? "–" : usd === 0 ? "$0" : `$${usd >= 1 ? usd.toFixed(2) : usd.toPrecision(3)}`);

const start = async () => {
  const [cases, shelves] = await Promise.all([unpacked("listing"), unpacked("shelves")]);
  const total = cases.name.length;
  if (!total) return;
  const links = cases.link.map((link, place) => link === null ? cases.name[place] : link);
  const words = cases.name.map((name, place) => `${name} ${cases.ask[place]}`.toLowerCase());
  const state = { show: "all", sort: "place", down: false, q: "", bar: null, deep: null, case: null, tab: "chat" };
  const drawn = drawer(cases);
  const bars = picker(cases, (found) => {
    state.bar = found;
    draw();
    said.textContent = picked.title ? `${order.length.toLocaleString("en")} cases listed: ${picked.title}` : "all cases listed";
  });
  let order = [];

  const wanted = {
    all: () => true,
    regressed: (place) => cases.change[place] === 1 || cases.change[place] === 3,
    improved: (place) => cases.change[place] >= 2,
    failed: (place) => cases.flags[place] & 1,
    error: (place) => cases.flags[place] & 2,
  };
  const sorted = {
    place: (a, b) => a - b,
    case: (a, b) => cases.name[a].localeCompare(cases.name[b], "en", { numeric: true }) || a - b,
    ms: (a, b) => (cases.ms[b] ?? -1) - (cases.ms[a] ?? -1) || a - b,
    usd: (a, b) => (cases.usd[b] ?? -1) - (cases.usd[a] ?? -1) || a - b,
  };
  cases.columns.forEach((column, at) => {
    sorted[`score${at}`] = (a, b) => (column.value[a] ?? Infinity) - (column.value[b] ?? Infinity) || a - b;
  });

  const row = (at) => {
    const place = order[at];
    const change = CHANGES[cases.change[place]];
    const glyph = { regressed: "▼", improved: "▲", mixed: "◆" }[change] || "";
    const cell = (props, ...children) => el("span", { role: "gridcell", ...props }, ...children);
    const cells = cases.columns.map((column) => {
      const [text, tone, hint, mark, markTone] = column.cells[column.at[place]];
      return cell({ class: `c ${tone}`, title: hint }, text, mark ? el("small", { class: markTone, text: ` ${mark}` }) : "");
    });
    return el("div", { class: `row cols-${cells.length}`, role: "row", id: `row-${place}`, "aria-rowindex": String(at + 2), "data-case": cases.name[place] },
      cell({ class: `mark ${change === "improved" ? "good" : change ? "bad" : ""}`, title: change, text: glyph }),
      cell({ class: "name", title: cases.name[place], text: cases.name[place] }),
      cell({ class: "ask", dir: "auto" }, cases.flags[place] & 2 ? el("span", { class: "bad", title: "a trace ended in an error", text: "! " }) : "", cases.ask[place]),
      cells, cell({ class: "n", text: duration(cases.ms[place]) }), cell({ class: "n", text: money(cases.usd[place]) }));
  };
  const found = el("span", { id: "found", role: "status" });
  const search = el("input", { type: "search", id: "search", placeholder: "Search cases  ( / )", "aria-label": "Search cases; Enter searches in their texts too" });
  const said = el("span", { class: "sr", role: "status" });
  const picked = el("button", { type: "button", id: "picked", hidden: true, onclick: () => { state.bar = null; draw(); search.focus(); } });
  const chip = (key, name) => el("button", { type: "button", "data-show": key, onclick: () => { state.show = key; draw(); } }, name);
  const chips = [chip("all", "all"), ...(cases.compared ? [chip("regressed", "▼ regressed"), chip("improved", "▲ improved")] : []), chip("failed", "✗ failed"), chip("error", "! errors")];
  const by = (key, name, style) => {
    const button = el("button", { type: "button", "data-sort": key, title: `sort by ${name}`, text: name });
    button.addEventListener("click", () => {
      state.down = state.sort === key ? !state.down : false;
      state.sort = key;
      draw();
    });
    return el("span", { role: "columnheader", class: style }, button);
  };
  const head = el("div", { class: `row head cols-${cases.columns.length}`, role: "row", "aria-rowindex": "1" },
    by("place", "#", "mark"), by("case", "case"), el("span", { role: "columnheader", text: "input" }),
    cases.columns.map((column, at) => by(`score${at}`, column.name, "c")), by("ms", "duration", "n"), by("usd", "cost", "n"));
  const list = new Rows({ height: 30, most: "min(670px, 76vh)", render: row, label: "Cases", role: "grid", head, chosen: (at) => open(order[at]) });
  const grid = el("div", { class: "cases" }, list.box);
  const tools = el("div", { class: "tools" }, search, el("div", { class: "chips", role: "group", "aria-label": "Show" }, chips), picked, found, said,
    el("button", { type: "button", id: "keys", title: "keys ( ? )", text: "?", onclick: () => help() }),
    el("button", { type: "button", id: "theme", title: "light or dark ( t )", text: "◐", onclick: () => theme() }));

  const address = () => {
    const told = new URLSearchParams();
    if (state.case !== null) told.set("case", links[state.case]);
    if (state.case !== null && state.tab !== "chat") told.set("tab", state.tab);
    for (const [name, usual] of [["show", "all"], ["sort", "place"], ["q", ""]]) if (state[name] !== usual) told.set(name, state[name]);
    if (state.down) told.set("down", "1");
    if (state.bar) told.set("bar", state.bar.join("."));
    return told.size ? `#${told}` : "";
  };
  const remember = () => {
    try { history.replaceState(null, "", address() || location.pathname + location.search); } catch { /* some viewers forbid it */ }
  };
  const draw = () => {
    const terms = state.q.toLowerCase().split(/\s+/).filter(Boolean);
    const here = list.at >= 0 ? order[list.at] : null;
    const column = state.bar && cases.columns[state.bar[0]];
    const inBar = (place) => !column || Math.floor(column.bars.masks[place] / 2 ** state.bar[1]) % 2 === 1;
    picked.hidden = !column;
    picked.title = column ? `${column.name}: ${column.bars.labels[state.bar[1]]}` : "";
    picked.textContent = `${picked.title} ✕`;
    bars.mark(state.bar);
    order = [];
    for (let place = 0; place < total; place += 1) {
      const fits = terms.every((term) => words[place].includes(term)) || (state.deep && state.deep.has(place));
      if (wanted[state.show](place) && fits && inBar(place)) order.push(place);
    }
    order.sort(sorted[state.sort]);
    if (state.down) order.reverse();
    for (const each of chips) each.setAttribute("aria-pressed", String(each.dataset.show === state.show));
    for (const each of head.querySelectorAll("[data-sort]")) {
      const on = each.dataset.sort === state.sort;
      each.parentNode.setAttribute("aria-sort", on ? (state.down ? "descending" : "ascending") : "none");
    }
    found.textContent = order.length === total ? "" : `${order.length.toLocaleString("en")} of ${total.toLocaleString("en")}`;
    list.box.setAttribute("aria-rowcount", String(order.length + 1));
    list.fill(order.length, order.indexOf(here));
    drawn.draw(order, { filtered: order.length < total, chosen: state.show !== "all" || Boolean(column) });
    remember();
  };
  const searchDeep = async () => {
    const terms = state.q.toLowerCase().split(/\s+/).filter(Boolean);
    const deep = new Set();
    found.textContent = "searching in texts …";
    for (const [at, name] of shelves.texts.names.entries()) {
      (await unpacked(name)).forEach((each, place) => {
        const text = JSON.stringify(each).toLowerCase();
        if (terms.every((term) => text.includes(term))) deep.add(shelves.texts.starts[at] + place);
      });
    }
    state.deep = terms.length ? deep : null;
    draw();
  };

  const open = async (place) => {
    state.case = place;
    const at = order.indexOf(place);
    if (at >= 0) list.move(at);
    remember();
    const [texts, traces] = await Promise.all([shelved(shelves.texts, place), shelved(shelves.traces, place)]);
    if (state.case !== place) return;
    const change = CHANGES[cases.change[place]];
    const step = (by, name, glyph) => el("button", { type: "button", title: name, "aria-label": name, text: glyph, onclick: () => next(by) });
    const bar = el("div", { class: "bar" }, el("h2", { tabindex: "-1", text: cases.name[place] }),
      change ? el("span", { class: `chip ${change === "improved" ? "good" : "bad"}`, text: `${change === "improved" ? "▲" : "▼"} ${change}` }) : "",
      el("span", { class: "count", text: at >= 0 ? `${(at + 1).toLocaleString("en")} of ${order.length.toLocaleString("en")}` : "" }),
      el("span", { class: "grow" }), step(-1, "previous case ( p )", "↑"), step(1, "next case ( n )", "↓"),
      el("button", { type: "button", title: "copy a link ( y )", text: "link", onclick: (event) => copy(event.currentTarget) }),
      el("button", { type: "button", title: "close ( Esc )", "aria-label": "close", text: "✕", onclick: close }));
    const content = texts ? caseBody(texts, traces, () => state.tab, (tab) => { state.tab = tab; remember(); })
      : [el("p", { class: "note" }, "This case is listed alone, to keep the page small; raise --max-mb, or look it up with ", el("code", { text: "tracekit trace" }), ".")];
    const was = pane.hidden;
    pane.replaceChildren(bar, el("div", { class: "body" }, content));
    pane.setAttribute("aria-label", `Case ${cases.name[place]}`);
    pane.scrollTop = 0;
    pane.hidden = false;
    if (was) one("h2", pane).focus({ preventScroll: true });
  };
  const close = () => {
    pane.hidden = true;
    pane.replaceChildren();
    state.case = null;
    remember();
    list.box.focus({ preventScroll: true });
  };
  const next = (by, fits = () => true) => {
    let at = state.case === null ? list.at : order.indexOf(state.case);
    do at += by; while (at >= 0 && at < order.length && !fits(order[at]));
    if (at >= 0 && at < order.length) open(order[at]);
  };
  const move = (by) => {
    if (state.case !== null) return next(by);
    list.move(list.at + by);
    grid.scrollIntoView({ block: "nearest" });
    return list.box.focus({ preventScroll: true });
  };
  const copy = async (button) => {
    let told = "copied";
    try { await navigator.clipboard.writeText(location.href); } catch { told = "copy the address"; }
    if (button) button.textContent = told;
  };
  const theme = () => {
    const root = document.documentElement;
    const dark = root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
    root.dataset.theme = dark ? "light" : "dark";
  };
  const sheet = el("dialog", { id: "help", "aria-label": "Keys" }, el("h2", { text: "Keys" }),
    el("table", {}, el("tbody", {}, HELP.map(([key, what]) => el("tr", {}, el("th", { scope: "row" }, el("kbd", { text: key })), el("td", { text: what }))))));
  sheet.addEventListener("click", () => sheet.close());
  const help = () => (sheet.open ? sheet.close() : sheet.showModal());
  const tab = (place) => {
    const button = pane.querySelectorAll("[role=tab]")[place];
    if (button) button.click();
  };
  const read = () => {
    const told = new URLSearchParams(location.hash.slice(1));
    const known = (name, from, usual) => (Object.hasOwn(from, told.get(name) || "") ? told.get(name) : usual);
    state.show = known("show", wanted, "all");
    state.sort = known("sort", sorted, "place");
    state.down = told.get("down") === "1";
    state.q = search.value = told.get("q") || "";
    const [column, bar] = (told.get("bar") || "").split(".").map(Number);
    state.bar = cases.columns[column]?.bars?.labels[bar] === undefined ? null : [column, bar];
    state.tab = told.get("tab") || "chat";
    const place = told.has("case") ? links.indexOf(told.get("case")) : -1;
    if (place < 0) state.case = null;
    draw();
    if (place >= 0) open(place);
  };

  search.addEventListener("input", () => {
    state.q = search.value;
    state.deep = null;
    draw();
  });
  search.addEventListener("keydown", (event) => {
    if (event.key === "Enter") searchDeep();
  });
  addEventListener("hashchange", read);
  addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.target.matches("input, select")) {
      if (event.key === "Escape") event.target.blur();
      return;
    }
    const keys = {
      "/": () => search.focus(), "?": help, t: theme, j: () => move(1), k: () => move(-1), n: () => next(1), p: () => next(-1),
      r: () => next(1, wanted.regressed), e: () => next(1, wanted.error), y: () => copy(null),
      Escape: () => { if (state.case !== null && !sheet.open) close(); },
    };
    if (event.target === list.box) {
      Object.assign(keys, { ArrowDown: () => move(1), ArrowUp: () => move(-1), Home: () => list.move(0), End: () => list.move(order.length - 1) });
      if (list.at >= 0) keys.Enter = () => open(order[list.at]);
    }
    for (const digit of [1, 2, 3, 4, 5]) keys[digit] = () => tab(digit - 1);
    if (!keys[event.key] || (event.key === "Escape" && state.case === null)) return;
    event.preventDefault();
    keys[event.key]();
  });

  pane.setAttribute("role", "dialog");
  // The list has what the worst cases say; on paper they come back, since a list that scrolls cannot be printed.
  const worst = one("#worst");
  worst.remove();
  addEventListener("beforeprint", () => app.after(worst));
  addEventListener("afterprint", () => worst.remove());
  for (const card of document.querySelectorAll("[data-expires]")) {
    if (new Date(card.dataset.expires) > new Date()) continue;
    if (card.matches(".people")) { // what people would say is not known any more
      card.replaceChildren(el("th", { scope: "row", text: "as people would say" }),
        el("td", { class: "told", colspan: "20", text: `◆ not corrected: the judge’s calibration expired on ${card.dataset.expires}; tracekit judges calibrate measures it again` }));
      continue;
    }
    one(".chip", card).replaceChildren("◆ expired");
    one(".told", card).append(el("b", { class: "mixed", text: ` Expired since: it no longer counts.` }));
  }
  app.append(tools, drawn.box, grid);
  document.body.append(sheet);
  app.hidden = false;
  bars.grow(document);
  unfold(bars.grow);
  read();
  requestAnimationFrame(() => requestAnimationFrame(() => { document.documentElement.dataset.ready = String(Math.round(performance.now())); }));
};

if (typeof DecompressionStream === "undefined") {
  app.append(el("p", { class: "note", text: "This browser cannot unpack the list of all cases (it knows no DecompressionStream); the worst stand below." }));
  app.hidden = false;
} else start();
