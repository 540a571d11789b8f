"use strict";
// The page reads whole without this: it only filters, sorts, moves and remembers.
(() => {
  const one = (query) => document.querySelector(query);
  const list = one(".cases");
  const tools = one(".tools");
  if (!list || !tools) return;
  const cases = [...list.querySelectorAll(":scope > .case")];
  const search = one("#search");
  const sort = one("#sort");
  const found = one("#found");
  const chips = [...tools.querySelectorAll("[data-show]")];
  const words = new Map();
  let show = "all";

  const said = (item) => {
    if (!words.has(item)) words.set(item, item.textContent.toLowerCase());
    return words.get(item);
  };
  const wanted = {
    all: () => true,
    regressed: (item) => item.dataset.change === "regressed" || item.dataset.change === "mixed",
    improved: (item) => item.dataset.change === "improved" || item.dataset.change === "mixed",
    failed: (item) => "failed" in item.dataset,
    error: (item) => "error" in item.dataset,
  };
  const order = {
    place: (a, b) => a.dataset.place - b.dataset.place,
    case: (a, b) => a.dataset.case.localeCompare(b.dataset.case, "en", { numeric: true }),
    ms: (a, b) => b.dataset.ms - a.dataset.ms,
    usd: (a, b) => b.dataset.usd - a.dataset.usd,
  };
  const filter = () => {
    const terms = search.value.toLowerCase().split(/\s+/).filter(Boolean);
    let count = 0;
    for (const item of cases) {
      item.hidden = !(wanted[show](item) && terms.every((term) => said(item).includes(term)));
      if (!item.hidden) count += 1;
    }
    found.textContent = count === cases.length ? "" : `${count} of ${cases.length}`;
  };
  const visible = () => cases.filter((item) => !item.hidden).sort((a, b) => (a.compareDocumentPosition(b) & 4 ? -1 : 1));
  const move = (step) => {
    const shown = visible();
    const at = shown.findIndex((item) => item.contains(document.activeElement));
    const next = shown[at < 0 ? (step > 0 ? 0 : shown.length - 1) : Math.min(shown.length - 1, Math.max(0, at + step))];
    if (next) next.querySelector("summary").focus();
  };
  const theme = () => {
    const root = document.documentElement;
    const dark = root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
    root.dataset.theme = dark ? "light" : "dark";
  };
  const open = () => {
    const item = location.hash.length > 1 && document.getElementById(decodeURIComponent(location.hash.slice(1)));
    if (!item || !item.matches(".case")) return;
    item.hidden = false;
    item.open = true;
    item.scrollIntoView();
  };

  tools.hidden = false;
  search.addEventListener("input", filter);
  for (const chip of chips) {
    chip.addEventListener("click", () => {
      show = chip.dataset.show;
      for (const each of chips) each.setAttribute("aria-pressed", String(each === chip));
      filter();
    });
  }
  sort.addEventListener("change", () => list.append(...[...cases].sort(order[sort.value])));
  one("#theme").addEventListener("click", theme);
  list.addEventListener("toggle", (event) => {
    const item = event.target;
    if (!item.matches(".case")) return;
    const here = item.open ? `#${item.id}` : location.pathname + location.search;
    try { history.replaceState(null, "", here); } catch { /* some viewers forbid it */ }
  }, true);
  addEventListener("hashchange", open);
  addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.target.matches("input, select")) {
      if (event.key === "Escape") event.target.blur();
      return;
    }
    const keys = { "/": () => search.focus(), j: () => move(1), k: () => move(-1), t: theme };
    if (keys[event.key]) {
      event.preventDefault();
      keys[event.key]();
    }
  });
  open();
})();
