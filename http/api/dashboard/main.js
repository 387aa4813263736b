// The page: what the events bring goes into the state, and from there to each section, once a second.

import { askForKeys, register } from "./actions.js";
import { Detail, failure } from "./detail.js";
import { bytes, lines, make, memory, number, refill, write } from "./draw.js";
import { State } from "./state.js";
import { Live, ask } from "./stream.js";
import { Table } from "./table.js";
import { Nodes, Traffic, Workflows, isBack } from "./workflows.js";

const LINES = 500; // of the log
const SHOWN = 12; // troubles
const LEVELS = { DEBUG: 10, INFO: 20, WARNING: 30, ERROR: 40, CRITICAL: 50 };
const at = (id) => document.getElementById(id);

const state = new State();
const allowed = { register: false, keys: false, settings: false };
const may = () => ({ changes: at("unlock").checked, register: allowed.register });
const say = (text, bad = false) => { write(at("connection"), text); at("connection").className = bad ? "bad" : ""; };
let told = "";
const tell = (text) => { told = text; write(at("connection"), text); };

const table = new Table(state, choose);
const detail = new Detail(state, may, tell, () => {
  const chosen = table.chosen;
  table.chosen = null;
  table.show();
  [...at("body").children].find((row) => row.dataset.key === chosen)?.querySelector("button")?.focus();
});
const further = [new Workflows(state, choose), new Traffic(state), new Nodes(state)];
const live = new Live(receive, say, (message) => askForKeys(message, () => live.restart()));

function choose(key) {
  table.chosen = key;
  table.show();
  detail.open(key);
}

function receive(kind, data) {
  if (kind === "hello") {
    Object.assign(allowed, data);
    at("keys").hidden = !data.keys;
    at("log-section").hidden = !data.log;
    at("settings-section").hidden = !data.settings;
    at("log").replaceChildren();
    told = "";
  } else if (kind === "log") showLog(data);
  else {
    state.receive(data);
    if (told) told = write(at("connection"), told) ?? "";
    else say("Live");
    show(data);
  }
}

function show(event) {
  const { server } = state;
  write(at("server"), `${server.version} · pid ${server.pid} · up ${since(state.at - server.started)} · ${server.healthy ? "healthy" : "not healthy"}`);
  at("register").disabled = !(may().changes && allowed.register);
  const entries = table.show();
  showTrouble(entries, server);
  showLoad(server);
  if (event.gpus) showGpus();
  if (event.failures) showFailures();
  further.forEach((each) => each.show());
  detail.update();
}

function showTrouble(entries, server) {
  const found = server.missing.map((text) => ["bad", text, null]);
  entries.filter((entry) => entry.bad).sort((one, other) => other.bad - one.bad)
    .forEach((entry) => found.push([entry.bad > 1 ? "bad" : "warn", `${entry.row.name} ${entry.row.version}: ${entry.said.join("; ")}`, entry.key]));
  state.traffic.filter(isBack).forEach((each) => found.push(["warn", `${each.model}: the rollout of ${each.rollout.version} has stepped back: ${each.rollout.reason}`, null]));
  for (const gpu of state.gpus) {
    if (gpu.sick) found.push(["bad", `GPU ${gpu.gpu} is sick: ${gpu.sick}`, null]);
    else if (gpu.total && gpu.used > 0.97 * gpu.total) found.push(["warn", `GPU ${gpu.gpu} has ${bytes(gpu.total - gpu.used)} of ${bytes(gpu.total)} free`, null]);
  }
  const list = at("trouble");
  const shown = found.slice(0, SHOWN);
  const text = shown.map((each) => each.slice(0, 2).join()).join("\n") + found.length;
  if (list.dataset.shown !== text) {
    list.dataset.shown = text;
    const more = found.length > SHOWN ? [make("li", { class: "warn" }, `and ${found.length - SHOWN} more`)] : [];
    list.replaceChildren(...shown.map(([kind, said, key]) => make("li", { class: kind },
      key ? make("button", { type: "button", class: "link", on: { click: () => choose(key) } }, said) : said)), ...more);
  }
  const none = at("trouble-none");
  none.hidden = found.length > 0;
  none.className = "good";
  write(none, "No trouble: all workers serve, and nothing was refused or failed in the last 10 seconds.");
  write(at("trouble-told"), found.length ? `${found.length} ${found.length === 1 ? "trouble" : "troubles"}` : "No trouble");
}

function showLoad(server) {
  const { totals, load } = state;
  const [good, client, failed] = server.answered;
  refill(at("totals"), [
    ["Arrivals", `${number(totals.arrivals)}/s`], ["Goodput", `${number(totals.goodput)}/s`], ["Refused", `${number(totals.refused)}/s`],
    ["Failed", `${number(totals.failed)}/s`], ["Queued", number(totals.queued)], ["Running", number(totals.running)],
    ["Answers 2xx, 4xx, 5xx", `${number(good)}, ${number(client)}, ${number(failed)}`],
    ["Front's processor", state.processor === null ? "–" : `${number(state.processor * 100)} % of a core`],
    ...state.downloads.map((each) => [`Downloading ${each.url}`, `${bytes(each.receivedBytes)}${each.totalBytes ? ` of ${bytes(each.totalBytes)}` : ""}`]),
  ]);
  const series = [["arrivals", "one"], ["goodput", "two"], ["refused", "three"]]
    .map(([name, kind]) => ({ name, class: kind, values: load.map((each) => each[name]) }));
  at("load-chart").replaceChildren(lines(series, `Requests per second now: ${number(totals.arrivals)} arrive, ${number(totals.goodput)} succeed, ${number(totals.refused + totals.failed)} are refused or fail`));
}

function showGpus() {
  at("gpus-section").hidden = !state.gpus.length;
  at("gpus").replaceChildren(...state.gpus.map((gpu) => {
    const promised = gpu.workers.reduce((sum, each) => sum + each.promised, 0);
    const text = `${bytes(gpu.used)} of ${bytes(gpu.total)} used, ${bytes(promised)} promised${gpu.busy === null ? "" : `, ${number(gpu.busy)} % busy`}`;
    return make("div", { class: "card chart" }, make("h3", {}, `GPU ${gpu.gpu}: ${gpu.name}`), memory(gpu.used, promised, gpu.total, text), make("p", {}, text),
      gpu.sick ? make("p", { class: "bad-text" }, gpu.sick) : null, gpu.workers.map((each) => make("p", {}, `${each.worker}: ${bytes(each.promised)} promised, ${bytes(each.held)} held`)));
  }));
}

function showFailures() {
  at("failures-none").hidden = state.failures.length > 0;
  const open = new Set([...at("failures").querySelectorAll("details[open]")].map((each) => each.dataset.worker));
  at("failures").replaceChildren(...state.failures.map((each) => {
    const key = `${each.model} ${each.version} ${each.worker} ${each.time}`;
    return failure(each, `${each.model} ${each.version}, worker ${each.worker}`, open.has(key), key);
  }));
}

function showLog(found) {
  const box = at("log");
  const least = Number(at("level").value);
  box.append(...found.map((line) => {
    const level = LEVELS[line.level] ?? 20;
    const time = new Date(line.at * 1000).toISOString().slice(11, 23);
    const kind = level >= 40 ? "bad" : level >= 30 ? "warn" : "";
    return make("div", { class: kind, "data-level": level, hidden: level < least }, `${time} ${line.level} ${line.thread} – ${line.message}${line.trace ? `\n${line.trace}` : ""}`);
  }));
  while (box.children.length > LINES) box.firstChild.remove();
  if (at("follow").checked) box.scrollTop = box.scrollHeight;
}

function since(seconds) {
  const minutes = Math.floor(seconds / 60);
  if (minutes < 1) return `${Math.floor(seconds)} s`;
  return minutes < 60 ? `${minutes} min` : minutes < 2880 ? `${Math.floor(minutes / 60)} h` : `${Math.floor(minutes / 1440)} days`;
}

at("level").addEventListener("change", () => {
  const least = Number(at("level").value);
  for (const line of at("log").children) line.hidden = Number(line.dataset.level) < least;
});
at("unlock").addEventListener("change", () => { at("register").disabled = !(may().changes && allowed.register); detail.update(); });
at("register").addEventListener("click", () => register(tell));
at("keys").addEventListener("click", () => askForKeys("", () => live.restart()));
at("settings-details").addEventListener("toggle", async (event) => {
  if (!event.target.open) return;
  try {
    const found = await ask("GET", "dashboard/settings");
    const head = make("tr", {}, ["Setting", "Value", "From"].map((title) => make("th", { scope: "col", class: "text" }, title)));
    at("settings").replaceChildren(make("thead", {}, head), make("tbody", {}, found.map((each) => make("tr", {},
      make("th", { scope: "row", class: "text" }, each.key), make("td", { class: "text" }, each.value), make("td", { class: "text" }, each.origin)))));
  } catch (failed) { say(failed.message, true); }
});
live.start();
