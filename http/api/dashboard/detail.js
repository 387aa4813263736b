// All that is known of one version: its load, batches, costs, workers, and what can be done with it.

import { profile, remove, scale, setDefault, stacks } from "./actions.js";
import { bars, bytes, curve, facts, make, ms, number, refill } from "./draw.js";
import { sumOf } from "./state.js";
import { ask } from "./stream.js";
import { trial } from "./try.js";

const EVERY = 2000; // ms between two questions for what events don't tell

export class Detail {
  #timer = 0;
  #drawn = "";

  constructor(state, may, say, closed) {
    this.state = state; this.may = may; this.say = say; this.closed = closed;
    this.box = document.getElementById("detail");
    this.key = null;
    this.box.addEventListener("keydown", (event) => { if (event.key === "Escape") this.close(); });
  }

  open(key) {
    this.key = key;
    this.#drawn = "";
    const { row } = this.state.models.get(key);
    const title = make("h2", { id: "detail-title", tabindex: -1 }, `${row.name} ${row.version}`);
    this.load = make("dl", { class: "facts" });
    this.pictures = make("div", { class: "panels" });
    this.workers = make("div", { class: "wide" });
    this.options = make("dl", { class: "facts" });
    this.trial = trial(row);
    this.problem = make("p", { class: "error" });
    const act = (label, run, kind = "") => make("button", { type: "button", class: kind, on: { click: () => run(this.#row(), this.say) } }, label);
    this.buttons = [act("Scale", scale), act("Make default", setDefault), act("Remove", remove, "danger"), act("Profile", profile)];
    const doing = act("Stacks", stacks);
    const close = make("button", { type: "button", on: { click: () => this.close() } }, "Close");
    const docs = make("a", { href: `docs?model=${encodeURIComponent(row.name)}` }, "Its API");
    this.box.replaceChildren(make("div", { class: "bar" }, title, ...this.buttons, doing, docs, close), this.problem, this.load,
      this.pictures, make("h3", {}, "Workers"), this.workers, this.trial.element,
      make("details", {}, make("summary", {}, "Options"), this.options));
    this.box.hidden = false;
    title.focus();
    this.update();
    this.#ask();
  }

  close() {
    clearTimeout(this.#timer);
    this.key = null;
    this.box.hidden = true;
    this.box.replaceChildren();
    this.closed();
  }

  #row() { return this.state.models.get(this.key)?.row; }

  /** Show what the latest event has told. */
  update() {
    if (this.key === null) return;
    const row = this.#row();
    if (!row) { this.close(); return; }
    const recent = this.state.recent(this.key);
    const locked = !this.may().changes;
    this.buttons.forEach((button, index) => { button.disabled = locked || (index === 1 && row.default) || (index === 2 && !this.may().register); });
    refill(this.load, [
      ["Arrivals", `${number(recent.arrivals)}/s`], ["Goodput", `${number(recent.goodput)}/s`],
      ["Refused", `${number(recent.refusedRate)}/s`], ["Failed", `${number(recent.failedRate)}/s`],
      ["p50", ms(recent.p50)], ["p99", ms(recent.p99)], ["p99 of waiting", ms(recent.waited99)],
      ["Queue", `${row.queued} of ${row.queueSize}`], ["Running", number(row.running)],
      ["Mean batch", `${number(recent.batch)} of ${row.batchSize}`], ["Requests", number(row.requests)], ["Succeeded", number(row.succeeded)],
      ...(row.text ? [
        ["Sequences", `${row.text.running} run, ${row.text.waiting} wait`], ["Tokens", `${number(recent.text.tokens)}/s`],
        ["Prompt tokens", `${number(recent.text.prompt)}/s`], ["First token p50", ms(recent.text.first50)],
        ["First token p99", ms(recent.text.first99)], ["Next token p99", ms(recent.text.next99)],
        ["KV memory", `${number(row.text.memory * 100)} %`],
      ] : []),
    ]);
    this.#draw(row);
  }

  async #ask() {
    const key = this.key;
    const row = this.#row();
    if (!row || document.hidden) { this.#later(); return; }
    try {
      const told = await ask("GET", `dashboard/models/${encodeURIComponent(row.name)}/${encodeURIComponent(row.version)}`);
      if (this.key !== key) return;
      this.told = told;
      this.problem.textContent = told.lacking;
      this.trial.tell(told.inputs);
      this.#showWorkers(told.described.workers);
      const { workers, jobQueueStatus, ...options } = told.described;
      refill(this.options, [["batching", told.rule], ...Object.entries(options).map(([name, value]) => [name, typeof value === "object" ? JSON.stringify(value) : value])]);
      this.#draw(row);
    } catch (failed) {
      if (this.key === key) this.problem.textContent = failed.message;
    }
    this.#later();
  }

  #later() {
    clearTimeout(this.#timer);
    if (this.key !== null) this.#timer = setTimeout(() => this.#ask(), EVERY);
  }

  #draw(row) {
    const costs = this.told && this.told.described.modelName === row.name && this.told.described.modelVersion === row.version ? this.told.costs : {};
    const now = JSON.stringify([costs, row.sizes, row.causes, row.refused, row.failed, row.cancelled, row.restarts]);
    if (now === this.#drawn) return;
    this.#drawn = now;
    const panel = (title, picture) => make("div", { class: "chart" }, make("h3", {}, title), picture);
    const counted = (title, counts) => (counts && sumOf(counts) ? [panel(title, bars(counts, `${title}: ${told(counts)}`))] : []);
    this.pictures.replaceChildren(
      ...Object.entries(costs).map(([device, cost]) => panel(`What a batch takes on ${device}; the best size is ${cost.best}`,
        curve(cost.sizes, cost.best, `Milliseconds by size: ${cost.sizes.map((each) => `${each.size}: ${ms(each.median)}`).join(", ")}`))),
      ...counted("Batches by size", row.sizes), ...counted("Why batches went", row.causes), ...counted("Refused, by reason", row.refused),
      ...counted("Failed, by reason", row.failed), ...counted("Clients that left", row.cancelled), ...counted("Workers started again", row.restarts),
    );
  }

  #showWorkers(workers) {
    const open = new Set([...this.workers.querySelectorAll("details[open]")].map((each) => each.dataset.worker));
    const states = new Map(this.#row().workers.map((each) => [String(each[0]), each[1]]));
    const nodes = workers.some((each) => each.node);
    const titles = ["Worker", "State", "Pid", "Memory", "GPU", ...(nodes ? ["Node"] : []), "Since", "Last error"];
    const rows = workers.map((each) => make("tr", {},
      make("th", { scope: "row", class: "text" }, each.id), make("td", { class: "text" }, (states.get(each.id) ?? "leaving").replace("_", " ")),
      make("td", {}, each.pid > 0 ? String(each.pid) : "–"), make("td", {}, bytes(each.memoryUsage)), make("td", { class: "text" }, each.gpuUsage),
      nodes ? make("td", { class: "text" }, each.node ?? "–") : null,
      make("td", { class: "text" }, each.startTime.slice(0, 19).replace("T", " ")), make("td", { class: "text bad-text" }, each.lastError ?? "")));
    const failures = workers.filter((each) => each.lastFailure).map((each) => failure(each.lastFailure, `worker ${each.id}`, open.has(each.id), each.id));
    const engines = workers.filter((each) => each.engine).map((each) => make("dl", { class: "facts" }, facts([["Worker", each.id], ...Object.entries(each.engine)])));
    const notes = workers.flatMap((each) => Object.entries(each.notes ?? {}).map(([subject, note]) => make("p", {}, `Worker ${each.id}, ${subject}: ${note}`)));
    const focused = document.activeElement?.closest?.("details")?.dataset.worker;
    this.workers.replaceChildren(make("table", {}, make("thead", {}, make("tr", {}, titles.map((title) => make("th", { scope: "col", class: "text" }, title)))), make("tbody", {}, rows)), ...engines, ...notes, ...failures);
    if (focused) this.workers.querySelector(`details[data-worker="${CSS.escape(focused)}"] summary`)?.focus();
  }
}

const told = (counts) => Object.entries(counts).map(([name, count]) => `${name} ${count}`).join(", ");

export function failure(found, where, open = false, worker = "") {
  const place = found.file ? ` (${found.file}, line ${found.line})` : "";
  return make("details", { class: "failure", open, "data-worker": worker },
    make("summary", {}, `${found.time.slice(0, 19).replace("T", " ")} UTC · ${where} · ${found.kind}: ${found.message}${place}`), make("pre", {}, found.traceback.join("\n")));
}
