// What a reader does with the charts of the first screen: open what is folded, pick a bar and see its cases.
const SVG_TAGS = new Set(["svg", "path", "line", "rect", "circle", "text", "polygon", "polyline", "g", "title"]);
const grown = ([tag, attributes, ...children]) => {
  const made = SVG_TAGS.has(tag) ? svg(tag, attributes) : el(tag, attributes);
  made.append(...children.map((child) => (typeof child === "string" ? child : grown(child))));
  return made;
};

const unfold = (grow) => {
  for (const fold of document.querySelectorAll(".folded")) {
    fold.addEventListener("toggle", async () => {
      const pack = one("script", fold);
      if (!fold.open || !pack) return;
      const tree = await unpacked(pack.id);
      if (!pack.isConnected) return;
      pack.replaceWith(...tree.map(grown));
      grow(fold);
    });
  }
};

// Bars that can be picked by pointer and by keys; `pick(column, bar)` is told which, null for none.
const picker = (cases, pick) => {
  const shown = [];
  const words = ({ labels, counts, before }, at) =>
    `${labels[at]}: ${counts[at].toLocaleString("en")}${before.length ? `, baseline ${before[at].toLocaleString("en")}` : ""}`;
  const histogram = (card, drawn, place, bars) => {
    const told = el("span", { class: "muted bar-said" });
    one("figcaption", card).append(told);
    const plane = one("svg", drawn);
    const width = 100 / bars.labels.length;
    const cursor = svg("rect", { class: "cursor", y: 0, height: 100, width });
    let at = 0;
    let picked = null;
    const show = (to) => {
      at = Math.max(0, Math.min(bars.labels.length - 1, to));
      cursor.setAttribute("x", at * width);
      cursor.classList.toggle("picked", at === picked);
      if (!cursor.isConnected) plane.append(cursor);
      told.textContent = words(bars, at);
      drawn.setAttribute("aria-valuenow", String(at));
      drawn.setAttribute("aria-valuetext", words(bars, at));
    };
    const rest = () => {
      if (picked !== null) return show(picked);
      cursor.remove();
      told.textContent = "";
      return null;
    };
    const under = (event) => {
      const box = plane.getBoundingClientRect();
      return Math.floor((bars.labels.length * (event.clientX - box.left)) / box.width);
    };
    const chosen = () => pick(picked === at ? null : [place, at]);
    for (const [name, value] of Object.entries({ tabindex: "0", role: "slider", "aria-label": `Bars of ${cases.columns[place].name}; Enter lists the cases of one`,
      "aria-valuemin": "0", "aria-valuemax": String(bars.labels.length - 1), "aria-valuenow": "0", "aria-valuetext": words(bars, 0) })) drawn.setAttribute(name, value);
    drawn.addEventListener("pointermove", (event) => show(under(event)));
    drawn.addEventListener("pointerleave", rest);
    drawn.addEventListener("focus", () => show(picked ?? at));
    drawn.addEventListener("blur", rest);
    drawn.addEventListener("click", (event) => {
      show(under(event));
      chosen();
    });
    drawn.addEventListener("keydown", (event) => {
      const keys = { ArrowRight: () => show(at + 1), ArrowLeft: () => show(at - 1), ArrowUp: () => show(at + 1), ArrowDown: () => show(at - 1),
        Home: () => show(0), End: () => show(bars.labels.length - 1), Enter: chosen, " ": chosen };
      if (!keys[event.key] || event.ctrlKey || event.metaKey || event.altKey) return;
      event.preventDefault();
      event.stopPropagation();
      keys[event.key]();
    });
    shown.push((found) => {
      picked = found && found[0] === place ? found[1] : null;
      if (picked === null && document.activeElement === drawn) show(at);
      else rest();
    });
  };
  const shares = (card, place, bars) => {
    const buttons = [...card.querySelectorAll("th")].map((head, at) => {
      const button = el("button", { type: "button", title: "list these cases", text: head.textContent, "aria-pressed": "false" });
      button.addEventListener("click", () => pick(button.getAttribute("aria-pressed") === "true" ? null : [place, at]));
      head.replaceChildren(button);
      return button;
    });
    shown.push((found) => buttons.forEach((button, at) => button.setAttribute("aria-pressed", String(Boolean(found && found[0] === place && found[1] === at)))));
  };
  const grow = (within) => {
    for (const card of within.querySelectorAll("[data-column]")) {
      const place = Number(card.dataset.column);
      const { bars } = cases.columns[place];
      const drawn = one(".histogram", card);
      if (!bars) continue;
      if (drawn) histogram(card, drawn, place, bars);
      else shares(card, place, bars);
    }
  };
  return { grow, mark: (found) => shown.forEach((each) => each(found)) };
};
