// What the rest is made of: elements, packed data, lists of any length, a word diff.
// Everything that came from a trace becomes text by textContent; no markup is ever parsed.
const one = (query, within = document) => within.querySelector(query);

const el = (tag, props, ...children) => {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(props || {})) {
    if (value === undefined || value === null || value === false) continue;
    if (name === "class") made.className = value;
    else if (name === "text") made.textContent = value;
    else if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else made.setAttribute(name, value === true ? "" : value);
  }
  made.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== ""));
  return made;
};

const svg = (tag, props, text) => {
  const made = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(props)) made.setAttribute(name, value);
  if (text) made.textContent = text;
  return made;
};

const packs = new Map();
const unpacked = (id) => {
  if (!packs.has(id)) {
    const bytes = Uint8Array.from(atob(document.getElementById(id).textContent), (letter) => letter.charCodeAt(0));
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
    packs.set(id, new Response(stream).json());
  }
  return packs.get(id);
};

// The item of a shelf at a place; null where there was no room for it.
const shelved = async (shelf, place) => {
  if (place >= shelf.end) return null;
  let at = shelf.starts.length - 1;
  while (shelf.starts[at] > place) at -= 1;
  return (await unpacked(shelf.names[at]))[place - shelf.starts[at]];
};

// A scroller that holds only the rows in view, all of one height.
class Rows {
  constructor({ height, render, label, role, most, chosen, head = null }) {
    Object.assign(this, { height, render, chosen, head, count: 0, at: -1, shown: [0, 0] });
    this.room = el("div", { class: "room", role: head ? "rowgroup" : "presentation" });
    this.box = el("div", { class: "rows", role, tabindex: "0", "aria-label": label }, head, this.room);
    this.box.style.maxHeight = most;
    this.box.addEventListener("scroll", () => this.draw(), { passive: true });
    this.watch = new ResizeObserver(() => this.draw());
    this.watch.observe(this.box);
  }

  fill(count, at = -1) {
    this.count = count;
    this.at = at;
    this.room.style.height = `${count * this.height}px`;
    this.draw(true);
  }

  draw(anew) {
    const first = Math.max(0, Math.floor(this.box.scrollTop / this.height) - 4);
    const last = Math.min(this.count, Math.ceil((this.box.scrollTop + this.box.clientHeight) / this.height) + 4);
    if (!anew && first === this.shown[0] && last === this.shown[1]) return;
    this.shown = [first, last];
    const rows = [];
    for (let place = first; place < last; place += 1) {
      const row = this.render(place);
      row.style.transform = `translateY(${place * this.height}px)`;
      if (place === this.at) {
        row.classList.add("at");
        row.setAttribute("aria-selected", "true");
        this.box.setAttribute("aria-activedescendant", row.id);
      }
      row.addEventListener("click", () => this.choose(place));
      rows.push(row);
    }
    if (this.at < first || this.at >= last) this.box.removeAttribute("aria-activedescendant");
    this.room.replaceChildren(...rows);
  }

  move(place) {
    this.at = Math.max(0, Math.min(this.count - 1, place));
    const top = this.at * this.height;
    const seen = this.box.clientHeight - this.height - (this.head ? this.head.offsetHeight : 0);
    if (top < this.box.scrollTop) this.box.scrollTop = top;
    else if (top > this.box.scrollTop + seen) this.box.scrollTop = top - seen;
    this.draw(true);
  }

  choose(place) {
    this.move(place);
    this.chosen(place);
  }
}

const WORDS = /\s+|[\p{L}\p{N}_]+|[^\s\p{L}\p{N}_]/gu;
const LINES = /[^\n]*\n|[^\n]+/g;

// Two texts in parts, as [text, whether it is only there]; by words, by lines where that would take long.
const differences = (before, after) => {
  for (const pattern of [WORDS, LINES]) {
    const [a, b] = [before.match(pattern) || [], after.match(pattern) || []];
    let start = 0;
    while (start < a.length && start < b.length && a[start] === b[start]) start += 1;
    let end = 0;
    while (end < a.length - start && end < b.length - start && a[a.length - 1 - end] === b[b.length - 1 - end]) end += 1;
    const [n, m] = [a.length - start - end, b.length - start - end];
    if (n * m > 3e6) continue;
    const same = aligned(a.slice(start, start + n), b.slice(start, start + m));
    return [a, b].map((side, of) => {
      const marks = side.map((_, place) => place >= start && place < side.length - end && !same[of].has(place - start));
      return joined(side, marks);
    });
  }
  return [[[before, true]], [[after, true]]];
};

// Which places of two lists are in their longest common subsequence.
const aligned = (a, b) => {
  const width = b.length + 1;
  const longest = new Uint16Array((a.length + 1) * width);
  for (let i = a.length - 1; i >= 0; i -= 1) {
    for (let j = b.length - 1; j >= 0; j -= 1) {
      const at = i * width + j;
      longest[at] = a[i] === b[j] ? longest[at + width + 1] + 1 : Math.max(longest[at + width], longest[at + 1]);
    }
  }
  const same = [new Set(), new Set()];
  for (let i = 0, j = 0; i < a.length && j < b.length; ) {
    if (a[i] === b[j]) {
      same[0].add(i);
      same[1].add(j);
      i += 1;
      j += 1;
    } else if (longest[(i + 1) * width + j] >= longest[i * width + j + 1]) i += 1;
    else j += 1;
  }
  return same;
};

const joined = (side, marks) => {
  const found = [];
  side.forEach((word, place) => {
    // A space between two changed words belongs to the change.
    const gap = !word.trim() && marks[place - 1] && marks[place + 1];
    const mark = marks[place] || Boolean(gap);
    const last = found[found.length - 1];
    if (last && last[1] === mark) last[0] += word;
    else found.push([word, mark]);
  });
  return found;
};

const body = (text) => (text === undefined ? null : typeof text === "string" ? [text, 0] : [text.t, text.x]);

// A text of the report, with what was cut off said.
const said = (text, style = "") => {
  const found = body(text);
  if (!found) return [el("p", { class: "muted", text: "none recorded" })];
  return [el("pre", { class: `text ${style}`, dir: "auto", tabindex: style ? null : "0", text: found[0] }), cut(found[1])];
};

const cut = (count) =>
  count ? el("p", { class: "cut", text: `✂ ${count.toLocaleString("en")} more characters are in the trace` }) : null;
