// A form to try a model: a file, JSON or a text goes in; a picture comes back as a picture, a stream as it comes.

import { make, number } from "./draw.js";
import { address, authorized } from "./stream.js";

const MOST = 200_000; // characters of an answer that are shown

export function trial(row) {
  const kind = make("select", { name: "kind" }, ["File", "JSON", "Text"].map((name) => make("option", {}, name)));
  const file = make("input", { type: "file" });
  const text = make("textarea", { spellcheck: "false" });
  const fileLabel = make("label", {}, "File ", file);
  const textLabel = make("label", { hidden: true }, "Body ", text);
  const send = make("button", { type: "submit", class: "primary" }, "Send");
  const stop = make("button", { type: "button", hidden: true }, "Stop");
  const note = make("p", { role: "status" });
  const answer = make("div", { class: "answer", tabindex: 0, role: "region", "aria-label": "Answer", hidden: true });
  const inputs = make("p", {});
  const form = make("form", {}, make("h3", {}, "Try it"), inputs,
    make("div", { class: "bar" }, make("label", {}, "Send a ", kind), fileLabel, send, stop), textLabel, note, answer);
  let running = null;
  kind.addEventListener("change", () => {
    fileLabel.hidden = kind.value !== "File";
    textLabel.hidden = kind.value === "File";
    if (kind.value === "JSON" && !text.value) text.value = "{}";
  });
  stop.addEventListener("click", () => running?.abort());
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const [body, type] = kind.value === "File" ? [file.files[0], file.files[0]?.type || "application/octet-stream"]
      : [text.value, kind.value === "JSON" ? "application/json" : "text/plain; charset=utf-8"];
    if (body === undefined) { note.textContent = "Choose a file first."; return; }
    running = new AbortController();
    send.disabled = true;
    stop.hidden = false;
    try {
      await predict(row, body, type, running.signal, note, answer);
    } catch (failed) {
      note.textContent = running.signal.aborted ? "Stopped." : failed.message;
    } finally {
      send.disabled = false;
      stop.hidden = true;
    }
  });
  return {
    element: form,
    tell: (known) => {
      const told = (known ?? []).map((each) => `${each.name} ${each.datatype ?? ""} ${each.shape ? `[${each.shape.join(", ")}]` : ""}`.trim()).join("; ");
      inputs.textContent = told ? `Inputs: ${told}` : "";
    },
  };
}

async function predict(row, body, type, signal, note, answer) {
  const began = performance.now();
  answer.hidden = true;
  answer.replaceChildren();
  note.textContent = "Waiting…";
  const path = `dashboard/predictions/${encodeURIComponent(row.name)}/${encodeURIComponent(row.version)}`;
  const response = await fetch(address(path), { method: "POST", body, signal, headers: { "Content-Type": type, ...authorized("inference") } });
  const came = response.headers.get("Content-Type") ?? "";
  const told = (size) => `${response.status} · ${number(performance.now() - began)} ms · ${size.toLocaleString("en")} bytes${came ? ` · ${came}` : ""}`;
  answer.hidden = false;
  if (came.startsWith("image/")) {
    const blob = await response.blob();
    picture(blob, answer);
    note.textContent = told(blob.size);
    return;
  }
  const shown = make("span", {});
  answer.append(shown);
  const decoder = new TextDecoder();
  let size = 0, whole = "";
  const pieces = [];
  for (const reader = response.body.getReader(); ;) {
    const { value, done } = await reader.read();
    if (done) break;
    size += value.length;
    pieces.push(value);
    whole += decoder.decode(value, { stream: true });
    if (shown.textContent.length < MOST) shown.textContent = whole.slice(0, MOST);
    note.textContent = `${told(size)} · coming`;
  }
  note.textContent = told(size);
  const kind = seen(pieces[0]);
  if (kind && !came.includes("json")) { picture(new Blob(pieces, { type: kind }), answer); return; }
  if (size < MOST) try { shown.textContent = JSON.stringify(JSON.parse(whole), null, 2); } catch { /* it is no JSON */ }
}

function picture(blob, answer) {
  const url = URL.createObjectURL(blob);
  const image = make("img", { src: url, alt: "The answer as a picture" });
  image.addEventListener("load", () => URL.revokeObjectURL(url));
  answer.replaceChildren(image);
}

/** The type of a picture by its first bytes: handlers seldom say it. */
function seen(bytes) {
  if (!bytes) return "";
  const start = [...bytes.slice(0, 12)].map((each) => String.fromCharCode(each)).join("");
  if (start.startsWith("\x89PNG")) return "image/png";
  if (start.startsWith("\xff\xd8\xff")) return "image/jpeg";
  if (start.startsWith("GIF8")) return "image/gif";
  return start.startsWith("RIFF") && start.slice(8) === "WEBP" ? "image/webp" : "";
}
