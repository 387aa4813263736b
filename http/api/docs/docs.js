// Swagger UI over the document of this address, or of one model; and the gRPC services that the document tells of.

const KEYS = "torchserve-keys"; // as the dashboard keeps them, in this tab
const base = new URL(".", document.baseURI.replace(/\/docs\/?([?#].*)?$/, "/docs"));
const chosen = document.getElementById("choose").elements;
const told = document.getElementById("told");
const keys = () => { try { return JSON.parse(sessionStorage.getItem(KEYS)) ?? {}; } catch { return {}; } };

function headers(kind) {
  const key = chosen.key.value || keys()[kind] || keys().inference || keys().management;
  return key ? { Authorization: `Bearer ${key}` } : {};
}

async function read(model) {
  if (!model) return (await fetch(new URL("api-description", base))).json();
  const name = encodeURIComponent(model);
  let problem = "";
  for (const [path, kind] of [[`predictions/${name}`, "inference"], [`dashboard/predictions/${name}`, "inference"], [`models/${name}`, "management"]]) {
    const response = await fetch(new URL(path, base), { method: "OPTIONS", headers: headers(kind) });
    const found = await response.json().catch(() => ({}));
    if (response.ok && found.openapi) return found;
    if (found.message && found.type !== "ResourceNotFoundException") problem ||= found.message;
  }
  throw new Error(problem || `Nothing is known of ${model} here.`);
}

function element(name, attributes, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
}

function showServices(services) {
  document.getElementById("grpc").hidden = !services.length;
  const message = (name, stream) => element("code", {}, `${stream ? "stream " : ""}${name}`);
  const rows = services.flatMap((service) => service.methods.map((method) => element("tr", {},
    element("td", {}, element("code", {}, method.path)), element("td", {}, message(method.takes, method.takesStream)),
    element("td", {}, message(method.returns, method.returnsStream)), element("td", {}, element("a", { href: `docs/${service.proto}` }, service.proto)))));
  const head = element("tr", {}, ...["Method", "Takes", "Returns", "Defined in"].map((title) => element("th", { scope: "col" }, title)));
  document.getElementById("services").replaceChildren(element("table", {}, element("thead", {}, head), element("tbody", {}, ...rows)));
}

async function show() {
  told.textContent = "";
  try {
    const spec = await read(chosen.model.value.trim());
    spec.servers = [{ url: base.href.replace(/\/$/, "") }];
    SwaggerUIBundle({
      spec,
      dom_id: "#swagger",
      deepLinking: false,
      validatorUrl: null,
      defaultModelsExpandDepth: -1,
      requestInterceptor: (request) => {
        if (!request.headers.Authorization) Object.assign(request.headers, headers(/\/(models|dashboard)/.test(new URL(request.url).pathname) ? "management" : "inference"));
        return request;
      },
    });
    showServices(spec["x-grpc"] ?? []);
  } catch (failed) {
    told.textContent = failed.message;
  }
}

chosen.model.value = new URLSearchParams(location.search).get("model") ?? "";
document.getElementById("choose").addEventListener("submit", (event) => { event.preventDefault(); show(); });
show();
