// The server's state as events bring it, and the rates and quantiles between two looks at it.
// A row has totals since its version was registered; what is shown covers the last WINDOW seconds.

export const WINDOW = 10;
const REMEMBERED = 120; // points of the load's chart

export const keyOf = (name, version) => JSON.stringify([name, version]);

export class State {
  constructor() {
    this.models = new Map(); // key -> {row, past: [[at, row], ...]}, oldest first
    this.bounds = {};
    this.server = null;
    this.gpus = [];
    this.failures = [];
    this.downloads = [];
    this.traffic = [];
    this.workflows = new Map(); // name -> {row, past}, as of models
    this.at = 0;
    this.load = []; // {at, arrivals, goodput, refused}
    this.past = []; // [at, processorSeconds]
  }

  /** Take in an event, and return the keys of the rows that have changed. */
  receive(event) {
    if (event.whole) {
      const before = this.models;
      this.models = new Map();
      for (const row of event.models) {
        const key = keyOf(row.name, row.version);
        const known = before.get(key);
        this.models.set(key, known && known.row.requests <= row.requests ? known : { row, past: [] });
      }
      this.bounds = event.bounds;
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
    const known = entries.get(key) ?? { row, past: [] };
    if (row.requests < known.row.requests) known.past = []; // another one of the same name
    known.past.push([this.at, row]);
    known.row = row;
    entries.set(key, known);
    return key;
  }

  /** The row as it was WINDOW seconds ago, and the seconds since; those that are older are forgotten. */
  #before(entry) {
    const since = this.at - WINDOW;
    while (entry.past.length > 1 && entry.past[1][0] <= since) entry.past.shift();
    const [at, row] = entry.past[0] ?? [this.at, entry.row];
    return [row, Math.max(at, since)];
  }

  /** What has happened to a version in the last seconds. */
  recent(key) {
    const entry = this.models.get(key);
    if (!entry) return null;
    const now = entry.row;
    const [before, at] = this.#before(entry);
    const seconds = Math.max(1, this.at - at);
    const rate = (name) => grown(now[name], before[name]) / seconds;
    const batches = sumOf(grownBy(now.sizes, before.sizes));
    const jobs = Object.entries(grownBy(now.sizes, before.sizes)).reduce((sum, [size, count]) => sum + size * count, 0);
    const refused = grownBy(now.refused, before.refused);
    const failed = grownBy(now.failed, before.failed);
    const found = {
      seconds,
      arrivals: rate("requests"),
      goodput: rate("succeeded"),
      refused, failed,
      refusedRate: sumOf(refused) / seconds,
      failedRate: sumOf(failed) / seconds,
      causes: grownBy(now.causes, before.causes),
      sizes: grownBy(now.sizes, before.sizes),
      batch: batches ? jobs / batches : null,
      p50: this.#quantile(0.5, "latency", now, before),
      p99: this.#quantile(0.99, "latency", now, before),
      waited99: this.#quantile(0.99, "waited", now, before),
    };
    if (now.text) {
      const old = before.text ?? now.text;
      found.text = {
        tokens: grown(now.text.tokens, old.tokens) / seconds,
        prompt: grown(now.text.promptTokens, old.promptTokens) / seconds,
        first50: this.#quantile(0.5, "firstToken", now, before),
        first99: this.#quantile(0.99, "firstToken", now, before),
        next99: this.#quantile(0.99, "nextToken", now, before),
      };
    }
    return found;
  }

  /** What has happened to a workflow in the last seconds. */
  recentOf(name) {
    const entry = this.workflows.get(name);
    const now = entry.row;
    const [before, at] = this.#before(entry);
    const seconds = Math.max(1, this.at - at);
    const old = new Map(before.nodes.map((node) => [node.name, node.failed]));
    const failed = now.nodes.map((node) => [node.name, grown(node.failed, old.get(node.name))]).filter(([, count]) => count > 0);
    return {
      seconds, failed: Object.fromEntries(failed),
      arrivals: grown(now.requests, before.requests) / seconds, goodput: grown(now.succeeded, before.succeeded) / seconds,
      p50: this.#quantile(0.5, "latency", now, before), p99: this.#quantile(0.99, "latency", now, before),
    };
  }

  #quantile(share, name, now, before) {
    if (!now[name]) return null;
    const counts = now[name].map((count, index) => grown(count, before[name]?.[index] ?? 0));
    return quantile(share, this.bounds[name] ?? [], counts);
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

const grown = (now = 0, before = 0) => (now >= before ? now - before : now);
const grownBy = (now = {}, before = {}) =>
  Object.fromEntries(Object.entries(now).map(([name, count]) => [name, grown(count, before[name])]).filter(([, count]) => count > 0));
export const sumOf = (counts) => Object.values(counts).reduce((sum, count) => sum + count, 0);

/** The value below which a share of a histogram's observations lies, spread evenly within a bucket; null if it is empty. */
export function quantile(share, bounds, counts) {
  const total = counts.reduce((sum, count) => sum + count, 0);
  if (!total) return null;
  const rank = share * total;
  let below = 0, low = 0;
  for (let index = 0; index < counts.length; index += 1) {
    if (counts[index] && below + counts[index] >= rank) {
      if (index >= bounds.length) return low;
      return low + ((bounds[index] - low) * (rank - below)) / counts[index];
    }
    below += counts[index];
    low = bounds[index] ?? low;
  }
  return low;
}

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
