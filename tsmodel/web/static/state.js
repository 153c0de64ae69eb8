// What is looked at. It stands in the URL, so a view can be kept, sent, and gone back to.

import { fromIso, iso } from "./times.js";

const listeners = [];

/** The view: names of series and fields, the range of time (null for all of it), and what else is chosen. */
export const view = { series: [], fields: [], from: null, to: null, tab: "records", versions: false, newest: true };

/** Calls `then` with the names of what changed, whenever something does. */
export const onChange = (then) => listeners.push(then);

/** Changes the view. `keep` leaves no step in the browser's history. */
export function change(changes, { keep = false } = {}) {
  const names = Object.keys(changes).filter((name) => String(view[name]) !== String(changes[name]));
  if (names.length === 0) return;
  Object.assign(view, changes);
  history[keep ? "replaceState" : "pushState"](null, "", `#${written()}`);
  for (const then of listeners) then(new Set(names));
}

/** Takes the view from the URL. */
export function read() {
  const given = new URLSearchParams(location.hash.slice(1));
  const time = (name) => (given.get(name) ? fromIso(given.get(name)) : null);
  const found = {
    series: given.getAll("s"),
    fields: given.getAll("f"),
    from: time("from"),
    to: time("to"),
    tab: given.get("tab") ?? "records",
    versions: given.has("versions"),
    newest: !given.has("oldest"),
  };
  const names = Object.keys(found).filter((name) => String(view[name]) !== String(found[name]));
  Object.assign(view, found);
  if (names.length) for (const then of listeners) then(new Set(names));
}

function written() {
  const made = new URLSearchParams();
  view.series.forEach((each) => made.append("s", each));
  view.fields.forEach((each) => made.append("f", each));
  if (view.from !== null) made.set("from", iso(view.from));
  if (view.to !== null) made.set("to", iso(view.to));
  if (view.tab !== "records") made.set("tab", view.tab);
  if (view.versions) made.set("versions", "all");
  if (!view.newest) made.set("oldest", "first");
  return made.toString().replaceAll("%2F", "/").replaceAll("%3A", ":");
}

window.addEventListener("popstate", read);
