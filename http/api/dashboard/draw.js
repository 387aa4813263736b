// Elements and small pictures. Whatever the server tells becomes text, never markup.

const SVG = "http://www.w3.org/2000/svg";

/** Make an element: attributes by name, `on` for listeners; children are nodes or become text. */
export function make(name, attributes = {}, ...children) {
  return filled(document.createElement(name), attributes, children);
}

function svg(name, attributes = {}, ...children) {
  return filled(document.createElementNS(SVG, name), attributes, children);
}

function filled(element, attributes, children) {
  for (const [key, value] of Object.entries(attributes)) {
    if (key === "on") for (const [event, listener] of Object.entries(value)) element.addEventListener(event, listener);
    else if (value === true) element.setAttribute(key, "");
    else if (value !== false && value !== null && value !== undefined) element.setAttribute(key, value);
  }
  element.append(...children.flat().filter((child) => child !== null && child !== undefined));
  return element;
}

export const write = (element, text) => { if (element.textContent !== text) element.textContent = text; };

export function number(value, digits = 1) {
  if (value === null || value === undefined || Number.isNaN(value)) return "–";
  if (value >= 10000) return Math.round(value).toLocaleString("en");
  return value >= 100 || Number.isInteger(value) ? String(Math.round(value)) : value.toFixed(digits);
}

export const ms = (seconds) => (seconds === null || seconds === undefined ? "–" : `${number(seconds * 1000, seconds < 0.01 ? 2 : 1)} ms`);
export const bytes = (count) => (count >= 2 ** 30 ? `${(count / 2 ** 30).toFixed(1)} GiB` : `${Math.round(count / 2 ** 20)} MiB`);

export function facts(pairs) {
  return pairs.filter(([, value]) => value !== null && value !== undefined && value !== "")
    .map(([term, value]) => make("div", {}, make("dt", {}, term), make("dd", {}, String(value))));
}

/** Write the values of facts into place, or anew if their terms have changed. */
export function refill(list, pairs) {
  const made = facts(pairs);
  const old = [...list.children];
  if (old.length !== made.length || old.some((each, index) => each.firstChild.textContent !== made[index].firstChild.textContent)) {
    list.replaceChildren(...made);
  } else old.forEach((each, index) => write(each.lastChild, made[index].lastChild.textContent));
}

const WIDTH = 600, LEFT = 46, RIGHT = 8, TOP = 10;

function frame(height, label, ...children) {
  return svg("svg", { viewBox: `0 0 ${WIDTH} ${height}`, role: "img", "aria-label": label }, ...children);
}

function axes(height, most, unit, labels, top = TOP) {
  const bottom = height - 20;
  return [
    svg("path", { class: "axis", d: `M${LEFT} ${top}V${bottom}H${WIDTH - RIGHT}` }),
    svg("text", { x: LEFT - 4, y: top + 8, "text-anchor": "end" }, `${number(most)}`),
    svg("text", { x: LEFT - 4, y: bottom, "text-anchor": "end" }, "0"),
    svg("text", { x: LEFT + 4, y: TOP + 8 }, unit),
    ...labels.map(([x, text]) => svg("text", { x, y: height - 5, "text-anchor": "middle" }, text)),
  ];
}

/** Lines over time: `series` are {name, class, values}. */
export function lines(series, label) {
  const height = 166, bottom = height - 20, top = TOP + 16; // the legend is above the lines
  const most = Math.max(1, ...series.flatMap((each) => each.values));
  const count = Math.max(2, ...series.map((each) => each.values.length));
  const x = (index) => LEFT + ((WIDTH - LEFT - RIGHT) * index) / (count - 1);
  const y = (value) => bottom - ((bottom - top) * value) / most;
  const drawn = series.map((each) => svg("polyline", { class: each.class, points: each.values.map((value, index) => `${x(index).toFixed(1)},${y(value).toFixed(1)}`).join(" ") }));
  const legend = series.map((each, index) => [
    svg("path", { class: each.class, d: `M${WIDTH - 300 + index * 100} 12h22` }),
    svg("text", { x: WIDTH - 274 + index * 100, y: 16 }, each.name),
  ]);
  return frame(height, label, ...axes(height, most, "per second", [[LEFT + 30, `${count - 1} s ago`], [WIDTH - 24, "now"]], top), ...drawn, ...legend.flat());
}

/** What a batch of each size takes: the median as a line through what was measured, nine of ten batches as a second. */
export function curve(sizes, best, label) {
  const height = 170, bottom = height - 20;
  const most = Math.max(...sizes.map((each) => each.p90)) * 1000 || 1;
  const largest = Math.max(...sizes.map((each) => each.size));
  const x = (size) => LEFT + 10 + ((WIDTH - LEFT - RIGHT - 30) * size) / largest;
  const y = (seconds) => bottom - ((bottom - TOP - 14) * seconds * 1000) / most;
  const points = (name) => sizes.map((each) => `${x(each.size).toFixed(1)},${y(each[name]).toFixed(1)}`).join(" ");
  return frame(
    height, label,
    ...axes(height, most, "ms a batch: median and, dashed, nine of ten", sizes.filter((_, index) => index % Math.ceil(sizes.length / 12) === 0).map((each) => [x(each.size), String(each.size)])),
    svg("path", { class: "three", d: `M${x(best)} ${TOP + 12}V${bottom}` }),
    svg("polyline", { class: "one", points: points("median") }),
    svg("polyline", { class: "two", points: points("p90") }),
    ...sizes.map((each) => svg("circle", { class: "dot", r: 3.5, cx: x(each.size), cy: y(each.median) }, svg("title", {}, `${each.size}: ${ms(each.median)}, ${each.runs} runs`))),
  );
}

const short = (text) => (text.length > 20 ? `${text.slice(0, 19)}…` : text);

/** Bars of counts by name. */
export function bars(counts, label) {
  const entries = Object.entries(counts);
  const most = Math.max(1, ...entries.map(([, count]) => count));
  const height = entries.length * 20 + 6;
  return frame(height, label, ...entries.flatMap(([name, count], index) => [
    svg("text", { x: 118, y: index * 20 + 17, "text-anchor": "end" }, short(name.replaceAll("_", " "))),
    svg("rect", { class: "fill", x: 126, y: index * 20 + 6, height: 13, width: Math.max(1, (count / most) * (WIDTH - 220)) }),
    svg("text", { x: 132 + Math.max(1, (count / most) * (WIDTH - 220)), y: index * 20 + 17 }, number(count)),
  ]));
}

/** A GPU's memory: what is used, and what is promised to workers. */
export function memory(used, promised, total, label) {
  const width = (part) => Math.min(1, total ? part / total : 0) * 580;
  return svg("svg", { viewBox: "0 0 600 40", role: "img", "aria-label": label },
    svg("rect", { class: "track", x: 10, y: 4, width: 580, height: 14 }), svg("rect", { class: "fill", x: 10, y: 4, width: width(used), height: 14 }),
    svg("rect", { class: "track", x: 10, y: 22, width: 580, height: 14 }), svg("rect", { class: "fill-two", x: 10, y: 22, width: width(promised), height: 14 }));
}
