// What changes the server, each behind a question; and the dialogs in which it is asked.

import { make } from "./draw.js";
import { ask, keys, save } from "./stream.js";

const dialog = () => document.getElementById("dialog");
const path = (...parts) => parts.map(encodeURIComponent).join("/");

/** Show a form in the dialog. `submit(values)` may return a promise; its failure is shown and the form stays. */
export function form(title, fields, action, submit, { danger = false, text = "" } = {}) {
  const box = dialog();
  const error = make("p", { class: "error", role: "alert" });
  const go = make("button", { type: "submit", class: danger ? "danger" : "primary" }, action);
  const controls = fields.map(({ name, label, type = "text", value = "", ...more }) => {
    const input = make("input", { name, type, value: type === "checkbox" ? null : value, checked: type === "checkbox" && value, autocomplete: "off", ...more });
    return [name, input, make("label", {}, label, input)];
  });
  const cancel = make("button", { type: "button", on: { click: () => box.close() } }, "Cancel");
  const made = make("form", {}, make("h2", { id: "dialog-title" }, title), text ? make("p", {}, text) : null,
    controls.map(([, , label]) => label), error, make("div", { class: "end" }, cancel, go));
  made.addEventListener("submit", async (event) => {
    event.preventDefault();
    go.disabled = true;
    error.textContent = "";
    try {
      await submit(Object.fromEntries(controls.map(([name, input]) => [name, input.type === "checkbox" ? input.checked : input.value.trim()])));
      box.close();
    } catch (failed) {
      error.textContent = failed.message;
      go.disabled = false;
    }
  });
  box.replaceChildren(made);
  if (!box.open) box.showModal();
  (controls[0]?.[1] ?? (danger ? cancel : go)).focus();
}

export function askForKeys(message, done) {
  const known = keys.get();
  form("Keys", [
    { name: "management", label: "Management key, to see and to manage", type: "password", value: known.management ?? "" },
    { name: "inference", label: "Inference key, to try models", type: "password", value: known.inference ?? "" },
  ], "Use them", (given) => { keys.set(given); done(); },
  { text: `${message ? `${message} ` : ""}The keys are in the server's key_file.json. They are kept in this tab until it is closed.` });
}

export function register(say) {
  const whole = { type: "number", min: 0 };
  form("Register a model", [
    { name: "url", label: "Archive: a file of the model store, or a URL", required: true },
    { name: "model_name", label: "Name (default: the archive's)" },
    { name: "initial_workers", label: "Workers", value: "1", ...whole },
    { name: "batch_size", label: "Batch size (default: the archive's, or 1)", ...whole, min: 1 },
    { name: "max_batch_delay", label: "Milliseconds that a request may wait for others", ...whole },
  ], "Register", async (given) => {
    const query = new URLSearchParams(Object.entries(given).filter(([, value]) => value !== ""));
    query.set("synchronous", "false");
    say((await ask("POST", `models?${query}`)).status);
  });
}

export function scale(row, say) {
  form(`Scale ${row.name} ${row.version}`, [
    { name: "min_worker", label: "Workers at least", type: "number", min: 0, value: row.min, required: true },
    { name: "max_worker", label: "Workers at most", type: "number", min: 0, value: row.max, required: true },
  ], "Scale", async (given) => say((await ask("PUT", `models/${path(row.name, row.version)}?${new URLSearchParams(given)}`)).status),
  { text: "Workers that leave finish their batch first." });
}

export function profile(row, say) {
  form(`Profile ${row.name} ${row.version}`, [
    { name: "seconds", label: "Seconds, up to 60", type: "number", min: 1, max: 60, value: 10, required: true },
    { name: "worker", label: "Worker (default: a busy one)", inputmode: "numeric" },
  ], "Profile", async (given) => {
    const query = new URLSearchParams(Object.entries(given).filter(([, value]) => value !== ""));
    const [name, size] = await save("POST", `models/${path(row.name, row.version)}/profile?${query}`);
    say(`${name}: ${size} bytes`);
  }, { text: "The worker goes on answering, more slowly. The file opens in Perfetto, chrome://tracing and TensorBoard." });
}

/** Show what the threads of each worker are doing. */
export async function stacks(row, say) {
  try {
    const { workers } = await ask("GET", `models/${path(row.name, row.version)}/stacks`);
    const box = dialog();
    const close = make("button", { type: "button", on: { click: () => box.close() } }, "Close");
    box.replaceChildren(make("h2", { id: "dialog-title" }, `What ${row.name} ${row.version} is doing`),
      ...workers.flatMap((each) => [make("h3", {}, `Worker ${each.id}: ${each.busy ? "runs a batch" : each.state.replace("_", " ")}`),
        make("pre", { class: "stacks", tabindex: 0 }, each.stacks?.join("\n") ?? each.error)]),
      workers.length ? "" : make("p", {}, "It has no workers."), make("div", { class: "end" }, close));
    box.showModal();
    close.focus();
  } catch (failed) { say(failed.message, true); }
}

export function setDefault(row, say) {
  form(`Make version ${row.version} the default of ${row.name}?`, [], "Make it the default",
    async () => say((await ask("PUT", `models/${path(row.name, row.version)}/set-default`)).status),
    { text: "Requests that name no version go to it from then on." });
}

export function remove(row, say) {
  form(`Remove ${row.name} ${row.version}?`, [], "Remove it",
    async () => say((await ask("DELETE", `models/${path(row.name, row.version)}`)).status),
    { danger: true, text: "Requests that it has accepted are answered first. It has to be registered again to come back." });
}
