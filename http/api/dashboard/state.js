// The server's state as events bring it. A row has totals since its version was registered, and under `recent` the
// rates and quantiles of the last seconds.

const WINDOW = 10; // looks that the front's processor time is taken over
const REMEMBERED = 120; // points of the load's chart

export const keyOf = (name, version) => JSON.stringify([name, version]);

export class State {
  constructor() {
    this.models = new Map(); // key -> {row}
    this.server = null;
    this.gpus = [];
    this.failures = [];
    this.downloads = [];
    this.traffic = [];
    this.workflows = new Map(); // name -> {row}
    this.at = 0;
    this.load = []; // {at, arrivals, goodput, refused}
    this.past = []; // [at, processorSeconds]
  }

  /** Take in an event, and return the keys of the rows that have changed. */
  receive(event) {
    if (event.whole) {
      this.models = new Map();
      for (const row of event.models) this.models.set(keyOf(row.name, row.version), { row });
      const names = new Set(event.workflows.map((row) => row.name));
      for (const name of this.workflows.keys()) if (!names.has(name)) this.workflows.delete(name);
    }
    this.at = event.at;
    this.server = event.server;
    for (const name of ["gpus", "failures", "downloads", "traffic"]) if (event[name]) this[name] = event[name];
    const changed = event.models.map((row) => this.#put(this.models, keyOf(row.name, row.version), row));
    for (const row of event.workflows ?? []) this.#put(this.workflows, row.name, row);
    for (const name of event.workflowsGone ?? []) this.workflows.delete(name);
    for (const [name, version] of event.gone) this.models.delete(keyOf(name, version));
    this.past.push([event.at, event.server.processorSeconds]);
    if (this.past.length > WINDOW) this.past.shift();
    this.#sum();
    return changed;
  }

  #put(entries, key, row) {
    entries.set(key, { row });
    return key;
  }

  /** What has happened to a version in the last seconds. */
  recent(key) {
    return this.models.get(key)?.row.recent ?? null;
  }

  #sum() {
    let arrivals = 0, goodput = 0, refused = 0, failed = 0, queued = 0, running = 0;
    for (const [key, { row }] of this.models) {
      const recent = this.recent(key);
      arrivals += recent.arrivals; goodput += recent.goodput;
      refused += recent.refusedRate; failed += recent.failedRate;
      queued += row.queued; running += row.running;
    }
    this.totals = { arrivals, goodput, refused, failed, queued, running };
    this.load.push({ at: this.at, arrivals, goodput, refused: refused + failed });
    if (this.load.length > REMEMBERED) this.load.shift();
  }

  /** The share of a core that the front takes. */
  get processor() {
    if (this.past.length < 2) return null;
    const [from, to] = [this.past[0], this.past[this.past.length - 1]];
    return (to[1] - from[1]) / Math.max(0.5, to[0] - from[0]);
  }
}

export const sumOf = (counts) => Object.values(counts).reduce((sum, count) => sum + count, 0);

/** What is wrong with a version: [how bad from 0 to 2, sentences]. */
export function troubleOf({ row }, recent) {
  const said = [];
  let bad = 0;
  const ready = row.workers.filter((worker) => worker[1] === "ready").length;
  for (const [number, status, , , error] of row.workers) {
    if (status === "given_up" || status === "waiting") {
      bad = 2;
      said.push(`worker ${number} ${status === "waiting" ? "waits for its next start" : "is given up"}${error ? `: ${error}` : ""}`);
    }
  }
  for (const [number, status, , , why] of row.workers) {
    if (status === "loading" && why) said.push(`worker ${number} is being started: ${why}`);
  }
  if (ready < row.min && !row.onDemand) {
    bad = Math.max(bad, row.workers.some((worker) => worker[1] === "loading") && ready ? 1 : 2);
    said.unshift(`${ready} of ${row.min} workers serve`);
  }
  const told = (counts, verb) => Object.entries(counts).map(([reason, count]) => `${count} ${verb} (${reason.replaceAll("_", " ")})`);
  if (sumOf(recent.failed)) { bad = 2; said.push(...told(recent.failed, "failed")); }
  if (sumOf(recent.refused)) { bad = Math.max(bad, 1); said.push(...told(recent.refused, "refused")); }
  if (row.queued >= 0.8 * row.queueSize) { bad = Math.max(bad, 1); said.push(`${row.queued} of ${row.queueSize} places in the queue are taken`); }
  return [bad, said];
}
