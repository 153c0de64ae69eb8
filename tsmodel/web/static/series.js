// The list of series: search, choose one, add others.

import { Latest } from "./api.js";
import { at, counted, element } from "./dom.js";
import { change, onChange, view } from "./state.js";
import { fromIso, told } from "./times.js";

const PAGE = 200;
const request = new Latest();
const known = new Map();
let listed = [];
let words = "";

/** What is known of a series: its span of time, its count, its model. */
export const entryOf = (name) => known.get(name);

/** Asks for the list; `more` for the next page of it. */
export async function list(more = false) {
  const page = await request.get("/api/series", { q: words, limit: PAGE, offset: more ? listed.length : 0 });
  if (page === null) return;
  for (const each of page.series) known.set(each.series, { ...each, start: fromIso(each.first), end: fromIso(each.last) });
  listed = more ? [...listed, ...page.series] : page.series;
  const rows = listed.map((each) => row(each));
  const hadFocus = document.activeElement?.closest?.("#series")?.dataset.series;
  at("series").replaceChildren(...rows);
  if (hadFocus) rows.find((each) => each.dataset.series === hadFocus)?.querySelector(".name").focus();
  at("series-count").textContent =
    page.total === 0 ? (words ? "No series match." : "There are no records yet.")
    : page.total > listed.length ? `${counted(listed.length)} of ${counted(page.total)} series` : `${counted(page.total)} series`;
  at("series-more").hidden = listed.length >= page.total;
  at("series-note").hidden = page.note === null;
  at("series-note").textContent = page.note ?? "";
  mark();
}

/** Learns what is known of series that are not on the list. */
export async function learn(names) {
  for (const name of names) {
    if (known.has(name)) continue;
    const [cid, mid, moid] = name.split("/");
    const page = await new Latest().get("/api/series", { cid, mid, moid });
    for (const each of page?.series ?? []) known.set(each.series, { ...each, start: fromIso(each.first), end: fromIso(each.last) });
  }
}

function row(each) {
  const span = `${told(fromIso(each.first)).slice(0, 16)} – ${told(fromIso(each.last)).slice(0, 16)}`;
  return element(
    "li",
    { "data-series": each.series },
    element("input", {
      type: "checkbox",
      tabindex: "-1",
      "aria-label": `Add ${each.series} to the charts`,
      onchange: () => toggle(each.series),
    }),
    element(
      "button",
      { class: "name", title: span, onclick: (event) => (event.ctrlKey || event.metaKey ? toggle(each.series) : only(each.series)) },
      element("span", { class: "ids" }, each.series),
      element("span", { class: "more" }, [each.model, `${counted(each.records)} records`].filter(Boolean).join(" · ")),
    ),
  );
}

function only(name) {
  change({ series: [name], from: null, to: null });
  document.body.classList.remove("side-open");
  at("menu").setAttribute("aria-expanded", "false");
}

function toggle(name) {
  change({ series: view.series.includes(name) ? view.series.filter((each) => each !== name) : [...view.series, name] });
}

function mark() {
  for (const each of at("series").children) {
    const index = view.series.indexOf(each.dataset.series);
    each.classList.toggle("chosen", index >= 0);
    each.querySelector("input").checked = index >= 0;
    each.querySelector(".name").setAttribute("aria-current", index >= 0 ? "true" : "false");
    each.dataset.line = index >= 0 ? String((index % 8) + 1) : "";
  }
}

/** Wires the list. */
export function begin(fail) {
  let waiting = 0;
  at("search").addEventListener("input", (event) => {
    clearTimeout(waiting);
    waiting = setTimeout(() => {
      words = event.target.value;
      list().catch(fail);
    }, 120);
  });
  at("series-more").addEventListener("click", () => list(true).catch(fail));
  at("side").addEventListener("keydown", (event) => {
    const names = [...at("series").querySelectorAll(".name")];
    const place = names.indexOf(document.activeElement);
    if (event.key === "ArrowDown" || event.key === "ArrowUp") {
      const next = names[place + (event.key === "ArrowDown" ? 1 : -1)];
      (next ?? (event.key === "ArrowUp" ? at("search") : null))?.focus();
    } else if (event.key === " " && place >= 0) {
      toggle(names[place].closest("li").dataset.series);
    } else if (event.key === "Enter" && document.activeElement === at("search")) {
      names[0]?.click();
    } else if (event.key === "Escape" && document.activeElement === at("search")) {
      at("search").value = "";
      at("search").dispatchEvent(new Event("input"));
      return;
    } else {
      return;
    }
    event.preventDefault();
  });
  onChange((names) => names.has("series") && mark());
}
