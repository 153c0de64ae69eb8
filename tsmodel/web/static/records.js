// The table of records, a page at a time; with all versions, what corrects and what is corrected stand out.

import { Latest, url } from "./api.js";
import { at, counted, element, shown } from "./dom.js";
import { view } from "./state.js";
import { fromIso, told } from "./times.js";

const PAGE = 100;
const LEFT = new Set(["cap", "acq", "payload"]);
const request = new Latest();
let next = null;
let shownRows = 0;
let asked = null;

/** Shows the first page for what a request picks, or the `more` that follow. */
export async function show(picked, more = false) {
  asked = more ? asked : picked;
  const page = await request.get("/api/records", {
    ...asked,
    versions: view.versions ? "all" : "latest",
    order: view.newest ? "-cap" : "cap",
    limit: PAGE,
    after: more ? next : null,
  });
  if (page === null) return;
  const body = at("records").tBodies[0];
  if (!more) {
    at("records").tHead.replaceChildren(element("tr", {}, ...page.columns.map((name) => element("th", { scope: "col", class: LEFT.has(name) ? "left" : null }, name))));
    body.replaceChildren();
    shownRows = 0;
  }
  body.append(...page.records.map((record) => row(record, page.columns)));
  shownRows += page.records.length;
  next = page.next;
  at("records-more").hidden = next === null;
  const skipped = page.skipped ? `; ${counted(page.skipped)} do not fit the model and are left out` : "";
  at("records-count").textContent = `${counted(shownRows)} shown${next === null ? ", all there are" : ""}${skipped}`;
  compare(body);
}

/** Shows the first page again, with what is new in it marked; not when more pages are shown, which would be lost. */
export async function refresh(picked) {
  if (shownRows > PAGE) return;
  const names = (rows) => new Set([...rows].map((each) => each.dataset.version));
  const before = names(at("records").tBodies[0].rows);
  await show(picked);
  if (before.size === 0) return;
  for (const each of at("records").tBodies[0].rows) each.classList.toggle("new", !before.has(each.dataset.version));
}

/** URL of the same records as a file. */
export const fileUrl = (picked, form) => url(`/api/records.${form}`, { ...picked, versions: view.versions ? "all" : "latest" });

function row(record, columns) {
  const made = element("tr", {});
  made.dataset.point = ["cid", "mid", "moid", "cap"].map((name) => record[name]).join("/");
  made.dataset.version = `${made.dataset.point}/${record.acq}`;
  made.append(...columns.map((name) => cell(name, record[name])));
  return made;
}

function cell(name, value) {
  if (name === "cap" || name === "acq") {
    const ns = value === null ? null : fromIso(value);
    return element("td", { class: "time" }, ns === null ? String(value ?? "–") : told(ns));
  }
  if (name === "payload") return element("td", { class: "hex" }, String(value).replace(/(..)(?=.)/g, "$1 "));
  const isNumber = typeof value === "number" || /^-?\d+(\.\d+)?$/.test(value ?? "");
  const text = value !== null && typeof value === "object" ? JSON.stringify(value) : name.endsWith("id") ? String(value) : shown(value);
  return element("td", { class: isNumber ? "number" : value === null ? "none" : null, title: String(value) }, text);
}

/** Marks rows of one point: the newest version corrects the others. */
function compare(body) {
  const byPoint = Map.groupBy?.(body.rows, (each) => each.dataset.point) ?? grouped(body.rows);
  for (const rows of byPoint.values()) {
    const newest = view.newest ? rows[0] : rows.at(-1);
    for (const each of rows) {
      each.classList.toggle("correction", rows.length > 1 && each === newest);
      each.classList.toggle("corrected", rows.length > 1 && each !== newest);
      each.title = rows.length === 1 ? "" : each === newest ? "A correction: the newest of several versions" : "Corrected by a newer version";
    }
  }
}

function grouped(rows) {
  const made = new Map();
  for (const each of rows) made.set(each.dataset.point, [...(made.get(each.dataset.point) ?? []), each]);
  return made;
}
