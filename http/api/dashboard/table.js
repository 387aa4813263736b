// The table of models. Only the rows in sight are elements, so that a thousand models cost what thirty do.

import { make, ms, number, write } from "./draw.js";
import { keyOf, troubleOf } from "./state.js";

const HEIGHT = 35; // pixels of a row, its line included
const AROUND = 6; // rows above and below those in sight

const COLUMNS = [
  ["Model", "text", (entry) => entry.row.name],
  ["Version", "text", (entry) => `${entry.row.version}${entry.row.default ? " (default)" : ""}`],
  ["Workers", "text", (entry) => `${entry.ready}/${entry.row.min}${entry.row.max > entry.row.min ? `–${entry.row.max}` : ""} ready`],
  ["Queue", "", (entry) => number(entry.row.queued)],
  ["Running", "less", (entry) => number(entry.row.running)],
  ["Arrivals/s", "", (entry) => number(entry.recent.arrivals)],
  ["Goodput/s", "", (entry) => number(entry.recent.goodput)],
  ["Refused/s", "less", (entry) => number(entry.recent.refusedRate)],
  ["p50", "less", (entry) => ms(entry.recent.p50)],
  ["p99", "", (entry) => ms(entry.recent.p99)],
  ["Batch", "less", (entry) => number(entry.recent.batch)],
  ["Tokens/s", "less", (entry) => (entry.recent.text ? number(entry.recent.text.tokens) : "")],
];

export class Table {
  #entries = [];
  #rows = [];

  constructor(state, choose) {
    this.state = state;
    this.choose = choose;
    this.chosen = null;
    this.box = document.getElementById("rows");
    this.body = document.getElementById("body");
    this.filter = document.getElementById("filter");
    this.order = document.getElementById("sort");
    this.count = document.getElementById("count");
    document.getElementById("columns").append(...COLUMNS.map(([title, kind]) => make("th", { scope: "col", class: kind }, title)));
    this.above = make("tr", { class: "spacer", "aria-hidden": true }, make("td", { colspan: COLUMNS.length }));
    this.below = this.above.cloneNode(true);
    this.body.append(this.above, this.below);
    this.filter.addEventListener("input", () => { this.box.scrollTop = 0; this.show(); });
    this.order.addEventListener("change", () => this.show());
    this.box.addEventListener("scroll", () => this.#draw());
  }

  /** Sort and filter anew, and draw what is in sight. Returns all entries with their trouble. */
  show() {
    const all = [];
    for (const [key, known] of this.state.models) {
      const recent = this.state.recent(key);
      const [bad, said] = troubleOf(known, recent);
      all.push({ key, row: known.row, recent, bad, said, ready: known.row.workers.filter((worker) => worker[1] === "ready").length });
    }
    const words = this.filter.value.toLowerCase().split(/\s+/).filter(Boolean);
    const wanted = all.filter(({ row }) => words.every((word) => `${row.name} ${row.version}`.toLowerCase().includes(word)));
    const by = {
      trouble: (entry) => -entry.bad, name: () => 0, arrivals: (entry) => -entry.recent.arrivals,
      p99: (entry) => -(entry.recent.p99 ?? 0), queued: (entry) => -entry.row.queued,
    }[this.order.value];
    wanted.sort((one, other) => by(one) - by(other) || compare(one.row.name, other.row.name) || compare(one.row.version, other.row.version));
    this.#entries = wanted;
    write(this.count, words.length ? `${wanted.length} of ${all.length}` : `${all.length} ${all.length === 1 ? "version" : "versions"}`);
    document.getElementById("table").setAttribute("aria-rowcount", wanted.length + 1);
    this.#draw();
    return all;
  }

  #draw() {
    const entries = this.#entries;
    const first = Math.max(0, Math.min(Math.floor(this.box.scrollTop / HEIGHT) - AROUND, entries.length - 1));
    const last = Math.min(entries.length, first + Math.ceil((this.box.clientHeight || 400) / HEIGHT) + 2 * AROUND);
    this.above.firstChild.style.height = `${first * HEIGHT}px`;
    this.below.firstChild.style.height = `${(entries.length - last) * HEIGHT}px`;
    this.above.hidden = !first;
    this.below.hidden = last >= entries.length;
    while (this.#rows.length > last - first) this.#rows.pop().remove();
    while (this.#rows.length < last - first) {
      const made = this.#row();
      this.#rows.push(made);
      this.below.before(made);
    }
    this.#rows.forEach((element, index) => this.#fill(element, entries[first + index], first + index));
  }

  #row() {
    const open = make("button", { type: "button", class: "link" });
    const row = make("tr", {}, make("th", { scope: "row", class: "text" }, open), COLUMNS.slice(1).map(([, kind]) => make("td", { class: kind })));
    row.firstChild.className = "text name";
    open.addEventListener("click", () => this.choose(row.dataset.key));
    return row;
  }

  #fill(element, entry, index) {
    element.dataset.key = entry.key;
    element.setAttribute("aria-rowindex", index + 2);
    const kind = `${["", "warn", "bad"][entry.bad]} ${entry.key === this.chosen ? "chosen" : ""}`.trim();
    if (element.className !== kind) element.className = kind;
    COLUMNS.forEach(([, , text], column) => {
      const cell = element.children[column];
      write(column ? cell : cell.firstChild, text(entry));
    });
    const title = entry.said.join("; ");
    if (element.title !== title) element.title = title;
  }
}

const compare = (one, other) => (one < other ? -1 : one > other ? 1 : 0);
export { keyOf };
