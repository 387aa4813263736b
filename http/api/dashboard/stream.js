// The live events, read by fetch so that the key travels in a header, and the requests that change something.

const KEYS = "torchserve-keys";
const base = new URL(".", document.baseURI.replace(/\/dashboard\/?([?#].*)?$/, "/dashboard"));

export const address = (path) => new URL(path, base).href;

export const keys = {
  get: () => { try { return JSON.parse(sessionStorage.getItem(KEYS)) ?? {}; } catch { return {}; } },
  set: (found) => sessionStorage.setItem(KEYS, JSON.stringify(found)),
};

export function authorized(kind = "management") {
  const key = keys.get()[kind];
  return key ? { Authorization: `Bearer ${key}` } : {};
}

async function refusal(response) {
  const text = await response.text();
  let told = null;
  try { told = JSON.parse(text); } catch { /* told as text */ }
  const error = new Error(told?.message ?? told?.error ?? `${response.status} ${text.slice(0, 300)}`);
  error.keys = told?.type === "InvalidKeyException";
  error.retryAfter = Number(response.headers.get("Retry-After")) || 0;
  return error;
}

/** Ask for JSON, and return it. Raises an Error with the server's own message. */
export async function ask(method, path, { signal } = {}) {
  const response = await fetch(address(path), { method, headers: authorized(), signal });
  if (!response.ok) throw await refusal(response);
  try { return await response.json(); } catch { return null; }
}

/** Ask for a file, and have the browser save it. Returns its name and its size. Raises as `ask`. */
export async function save(method, path) {
  const response = await fetch(address(path), { method, headers: authorized() });
  if (!response.ok) throw await refusal(response);
  const data = await response.blob();
  const name = /filename="([^"]+)"/.exec(response.headers.get("Content-Disposition") ?? "")?.[1] ?? "file";
  const link = document.createElement("a");
  link.href = URL.createObjectURL(data);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
  return [name, data.size];
}

/** Hand each event to `take(kind, data)`, for as long as the page is seen; `say(text, bad)` tells how that goes. */
export class Live {
  #stop = null;
  #timer = 0;
  #wait = 1;

  constructor(take, say, refused) {
    this.take = take; this.say = say; this.refused = refused;
    document.addEventListener("visibilitychange", () => (document.hidden ? this.stop("Paused while hidden.") : this.start()));
  }

  start() {
    clearTimeout(this.#timer);
    if (this.#stop) return;
    const stop = (this.#stop = new AbortController());
    this.#read(stop.signal).then(
      () => this.#again("The server has ended the connection."),
      (error) => { if (!stop.signal.aborted) this.#failed(error); },
    );
  }

  stop(text) {
    clearTimeout(this.#timer);
    this.#stop?.abort();
    this.#stop = null;
    this.say(text, false);
  }

  restart() { this.stop("Connecting…"); this.start(); }

  #failed(error) {
    if (error.keys) { this.#stop = null; this.say(error.message, true); this.refused(error.message); return; }
    this.#again(error.message, error.retryAfter);
  }

  #again(text, after = 0) {
    this.#stop = null;
    const wait = Math.max(after, this.#wait);
    this.#wait = Math.min(15, this.#wait * 2);
    this.say(`${text} Trying again in ${wait} s.`, true);
    this.#timer = setTimeout(() => this.start(), wait * 1000);
  }

  async #read(signal) {
    const response = await fetch(address("dashboard/events"), { headers: authorized(), signal, cache: "no-store" });
    if (!response.ok) {
      const told = await response.json().catch(() => ({}));
      const error = new Error(told.message ?? `The server answers ${response.status}.`);
      error.keys = told.type === "InvalidKeyException";
      error.retryAfter = Number(response.headers.get("Retry-After")) || 0;
      throw error;
    }
    this.#wait = 1;
    let rest = "";
    const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
    for (;;) {
      const { value, done } = await reader.read();
      if (done) return;
      const pieces = (rest + value).split("\n\n");
      rest = pieces.pop();
      for (const piece of pieces) {
        const [kind, data] = piece.split("\n");
        const found = JSON.parse(data.slice("data: ".length));
        if (kind === "event: denied") throw Object.assign(new Error(found.message), { keys: true });
        this.take(kind.slice("event: ".length), found);
      }
    }
  }
}
