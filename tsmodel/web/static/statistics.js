// What the values of the range come to.

import { Latest } from "./api.js";
import { at, counted, element, shown } from "./dom.js";
import { view } from "./state.js";
import { fromIso, lasting, told } from "./times.js";

const request = new Latest();
const time = (text) => (text === null || text === undefined ? "–" : told(fromIso(text)));
const length = (text) => (text === null ? "–" : lasting(BigInt(text)));

const ROWS = [
  ["points", (line) => counted(line.points)],
  ["corrected", (line) => (line.corrected ? `${counted(line.corrected)} (${counted(line.records)} records)` : "0")],
  ["values", (line) => counted(line.values)],
  ["mean", (line) => shown(line.mean)],
  ["deviation", (line) => shown(line.std)],
  ["min", (line) => [shown(line.min), time(line.min_time)]],
  ["5 %", (line) => shown(line.p05)],
  ["median", (line) => shown(line.median)],
  ["95 %", (line) => shown(line.p95)],
  ["max", (line) => [shown(line.max), time(line.max_time)]],
  ["first", (line) => [shown(line.first), time(line.first_time)]],
  ["last", (line) => [shown(line.last), time(line.last_time)]],
  ["typical step", (line) => length(line.typical_step)],
  ["longest gap", (line) => [length(line.longest_gap), line.longest_gap_start ? `from ${time(line.longest_gap_start)}` : ""]],
];

/** Shows the statistics of what a request picks. */
export async function show(picked, fields) {
  at("panel-statistics").setAttribute("aria-busy", "true");
  const answer = await request.get("/api/statistics", { ...picked, field: fields, versions: view.versions ? "all" : "latest" });
  if (answer === null) return;
  at("panel-statistics").removeAttribute("aria-busy");
  const heads = answer.lines.map((line) =>
    element("th", { scope: "col" }, line.series, element("small", {}, `${line.field ?? "records"}${line.unit ? ` [${line.unit}]` : ""}`)),
  );
  at("statistics").tHead.replaceChildren(element("tr", {}, element("td", {}), ...heads));
  at("statistics").tBodies[0].replaceChildren(
    ...ROWS.map(([name, of]) => element("tr", {}, element("th", { scope: "row" }, name), ...answer.lines.map((line) => cell(of(line))))),
  );
}

function cell(told) {
  const [value, more] = Array.isArray(told) ? told : [told, null];
  return element("td", { class: "number" }, value, more ? element("small", {}, more) : null);
}

/** Breaks off what is asked. */
export const stop = () => request.stop();
