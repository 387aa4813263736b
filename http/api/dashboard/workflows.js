// Workflows, traffic that is shared among versions, and the nodes that remote workers run on.

import { bars, make, ms, number, refill, write } from "./draw.js";
import { sumOf } from "./state.js";

const SHOWN = 30; // cards; those in trouble first

/** Cards of `kind` in a box: each is made once and then written into, so that the keyboard's focus stays. */
class Cards {
  #cards = new Map();

  constructor(section, box, more) {
    this.section = document.getElementById(section);
    this.box = document.getElementById(box);
    this.more = document.getElementById(more);
  }

  /** Show `found`: each is {key, shape, build}; a card is built anew only if its shape has changed. */
  show(found) {
    this.section.hidden = !found.length;
    const shown = found.slice(0, SHOWN);
    write(this.more, found.length > SHOWN ? `and ${found.length - SHOWN} more` : "");
    const keys = new Set(shown.map((each) => each.key));
    for (const [key, card] of this.#cards) if (!keys.has(key)) { card.element.remove(); this.#cards.delete(key); }
    shown.forEach((each, index) => {
      let card = this.#cards.get(each.key);
      if (!card || card.shape !== each.shape) {
        const made = { shape: each.shape, ...each.build() };
        if (card) card.element.replaceWith(made.element);
        this.#cards.set(each.key, (card = made));
      }
      card.fill?.(each);
      if (this.box.children[index] !== card.element && !card.element.contains(document.activeElement)) this.box.insertBefore(card.element, this.box.children[index] ?? null);
    });
  }
}

const COLUMNS = ["Node", "Feeds", "Workers", "Queue", "p99", "Failed", "Tried again"];

export class Workflows {
  #cards = new Cards("workflows-section", "workflows", "workflows-more");
  #keys = new Map(); // of models, by name: a node's model has one version

  constructor(state, choose) { this.state = state; this.choose = choose; }

  show() {
    if (this.state.workflows.size) this.#keys = new Map([...this.state.models].map(([key, { row }]) => [row.name, key]));
    const found = [...this.state.workflows.values()].map(({ row }) => ({ row, recent: row.recent }));
    found.sort((one, other) => sumOf(other.recent.failed) - sumOf(one.recent.failed) || (one.row.name < other.row.name ? -1 : 1));
    this.#cards.show(found.map(({ row, recent }) => ({
      key: row.name, shape: JSON.stringify(row.nodes.map((node) => [node.name, node.after])), row, recent, build: () => this.#build(row),
    })));
  }

  #build(row) {
    const facts = make("dl", { class: "facts" });
    const rows = row.nodes.map((node) => {
      const open = make("button", { type: "button", class: "link", on: { click: () => { if (this.#keys.has(node.model)) this.choose(this.#keys.get(node.model)); } } }, node.name);
      return make("tr", {}, make("th", { scope: "row", class: "text" }, open), COLUMNS.slice(1).map((_, column) => make("td", { class: column ? "" : "text" })));
    });
    const head = make("thead", {}, make("tr", {}, COLUMNS.map((title, column) => make("th", { scope: "col", class: column < 2 ? "text" : "" }, title))));
    const element = make("div", { class: "card" }, make("h3", {}, row.name), facts,
      make("div", { class: "wide", tabindex: 0, role: "region", "aria-label": `Nodes of ${row.name}` }, make("table", {}, head, make("tbody", {}, rows))));
    return { element, fill: (each) => this.#fill(each, facts, rows) };
  }

  #fill({ row, recent }, facts, rows) {
    refill(facts, [
      ["Requests", `${number(recent.arrivals)}/s`], ["Goodput", `${number(recent.goodput)}/s`], ["p50", ms(recent.p50)], ["p99", ms(recent.p99)],
      ["On their way", number(row.running)], ["Clients that left", number(row.left)],
    ]);
    row.nodes.forEach((node, index) => {
      const key = this.#keys.get(node.model);
      const model = this.state.models.get(key)?.row;
      const lately = recent.failed[node.name] ?? 0;
      const cells = [
        node.after.join(", ") || "the answer",
        model ? `${model.workers.filter((worker) => worker[1] === "ready").length}/${model.min} ready` : "–",
        model ? number(model.queued) : "–", model ? ms(this.state.recent(key).p99) : "–",
        lately ? `${number(node.failed)} (${lately} in ${Math.round(recent.seconds)} s)` : number(node.failed), number(node.repeated),
      ];
      cells.forEach((text, column) => write(rows[index].children[column + 1], text));
      const kind = lately ? "bad" : "";
      if (rows[index].className !== kind) rows[index].className = kind;
    });
  }
}

export class Traffic {
  #cards = new Cards("traffic-section", "traffic", "traffic-more");

  constructor(state) { this.state = state; }

  show() {
    const found = [...this.state.traffic].sort((one, other) => isBack(other) - isBack(one) || (one.model < other.model ? -1 : 1));
    this.#cards.show(found.map((each) => ({ key: each.model, shape: JSON.stringify(each), build: () => ({ element: traffic(each) }) })));
  }
}

export const isBack = (each) => each.rollout?.state === "stepped_back";

function traffic(each) {
  const { rollout, shadow } = each;
  const told = Object.entries(each.weights).map(([version, weight]) => `${version} ${weight} %`).join(", ");
  const outcomes = shadow ? Object.fromEntries(["same", "close", "different", "failed", "unmatched", "dropped"].map((name) => [name, shadow[name]])) : {};
  return make("div", { class: "card chart" }, make("h3", {}, each.model),
    told ? bars(each.weights, `Percent of the requests by version: ${told}`) : make("p", {}, "The default version answers all requests."),
    each.sticky ? make("p", {}, `Requests with one ${each.sticky} go to one version.`) : null,
    rollout ? make("p", { class: { stepped_back: "bad-text", complete: "good" }[rollout.state] ?? "" },
      `Rollout of ${rollout.version}: ${rollout.state.replaceAll("_", " ")}${rollout.reason ? `: ${rollout.reason}` : ""}`) : null,
    shadow ? [make("p", {}, `Shadow ${shadow.version}: ${shadow.percent} % are copied, ${shadow.running} of at most ${shadow.limit} run`),
      bars(outcomes, `Copies by outcome: ${Object.entries(outcomes).map(([name, count]) => `${name} ${count}`).join(", ")}`)] : null);
}

export class Nodes {
  #cards = new Cards("nodes-section", "nodes", "nodes-more");

  constructor(state) { this.state = state; }

  show() {
    const nodes = new Map();
    for (const { row } of this.state.models.values()) {
      for (const [, status, , , , node] of row.workers) {
        if (!node) continue;
        const found = nodes.get(node) ?? nodes.set(node, { workers: 0, ready: 0, models: new Set() }).get(node);
        found.workers += 1;
        found.ready += status === "ready";
        found.models.add(`${row.name} ${row.version}`);
      }
    }
    const found = [...nodes].sort(([one, a], [other, b]) => (b.workers - b.ready) - (a.workers - a.ready) || (one < other ? -1 : 1));
    this.#cards.show(found.map(([name, node]) => {
      const models = [...node.models].sort();
      const text = `${node.ready} of ${node.workers} workers serve: ${models.slice(0, 12).join(", ")}${models.length > 12 ? ` and ${models.length - 12} more` : ""}`;
      return { key: name, shape: text, build: () => ({ element: make("div", { class: "card" }, make("h3", {}, name), make("p", { class: node.ready < node.workers ? "warn-text" : "" }, text)) }) };
    }));
  }
}
