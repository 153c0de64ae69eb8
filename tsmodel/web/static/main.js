// The page: puts its parts together.

import { Latest, Refused, askForToken, get, login } from "./api.js";
import { Chart, zoomed } from "./chart.js";
import { at, element } from "./dom.js";
import * as live from "./live.js";
import * as records from "./records.js";
import * as list from "./series.js";
import { change, onChange, read, view } from "./state.js";
import * as statistics from "./statistics.js";
import { SECOND, fromIso, iso, now, showLocal, told } from "./times.js";

const VALUES = "points,records,min,max,mean,first_time,last_time";
const FORMS = { csv: "CSV", parquet: "Parquet", arrow: "Arrow", jsonl: "JSON Lines" };
const windows = new Latest();
const charts = new Map();
let about = null;
let isLive = false;

/** Says what went wrong, until something goes well. */
function fail(error) {
  at("trouble").textContent = error.message ?? error.what ?? String(error);
  at("trouble").hidden = false;
  if (error instanceof Error && !(error instanceof Refused)) console.error(error);
}

function well() {
  at("trouble").hidden = true;
}

// The range of time

/** The range that is shown: what was chosen, or all there is of the chosen series. */
function range() {
  const entries = view.series.map(list.entryOf).filter(Boolean);
  if (!entries.length) return [view.from ?? now() - 86_400n * SECOND, view.to ?? now()];
  const start = entries.map((each) => each.start).reduce((a, b) => (a < b ? a : b));
  const end = behind(entries.map((each) => each.end).reduce((a, b) => (a > b ? a : b)), start);
  const from = view.from ?? start;
  const to = view.to ?? end;
  return [from, to > from ? to : from + SECOND];
}

/** The end of a range that holds a last record: the next second, unless all of it is shorter. */
const behind = (last, start) => (last - start > 60n * SECOND ? (last / SECOND + 1n) * SECOND : last + 1n);

const zoom = (from, to, options = {}) => change({ from, to }, options);
const reset = () => change({ from: null, to: null });

function move(share) {
  const [from, to] = range();
  const by = BigInt(Math.round(Number(to - from) * share));
  zoom(from + by, to + by);
}

function showSpan(text) {
  if (text === "all") return reset();
  const span = BigInt(text) * SECOND;
  const entries = view.series.map(list.entryOf).filter(Boolean);
  const last = entries.map((each) => each.end).reduce((a, b) => (a > b ? a : b), entries.length ? 0n : now());
  // The last hour, and whatever comes next.
  const end = behind(last, last - span);
  return zoom(end - span, end);
}

function showRange() {
  const [from, to] = range();
  at("from").value = told(from);
  at("to").value = told(to);
  for (const each of at("range").querySelectorAll("[data-span]")) {
    const isAll = view.from === null && view.to === null;
    const chosen = each.dataset.span === "all" ? isAll : !isAll && BigInt(each.dataset.span) * SECOND === to - from;
    each.setAttribute("aria-pressed", String(chosen));
  }
}

// Fields

const model = () => {
  const names = view.series.map((each) => list.entryOf(each)?.model).filter(Boolean);
  return about.models.find((each) => each.name === names[0]) ?? null;
};

const drawnFields = () => (model()?.fields ?? []).filter((each) => each.is_drawn);

/** The fields to draw: those chosen, or the first three. */
function fields() {
  const names = drawnFields().map((each) => each.name);
  const chosen = names.filter((each) => view.fields.includes(each));
  return chosen.length ? chosen : names.slice(0, 3);
}

function showFields() {
  const shown = fields();
  const all = drawnFields();
  at("fields").hidden = all.length < 2;
  at("fields").replaceChildren(
    ...all.map((each) =>
      element("button", {
        type: "button",
        "aria-pressed": String(shown.includes(each.name)),
        title: each.doc ?? each.type,
        onclick: () => {
          const next = shown.includes(each.name) ? shown.filter((one) => one !== each.name) : [...shown, each.name];
          if (next.length) change({ fields: next });
        },
      }, each.name),
    ),
  );
}

// Charts

async function showCharts() {
  const [from, to] = range();
  const wanted = view.series.length ? (model() ? fields() : [null]) : [];
  for (const [name, chart] of charts) {
    if (!wanted.includes(name)) {
      chart.destroy();
      charts.delete(name);
    }
  }
  for (const name of wanted) {
    if (!charts.has(name)) charts.set(name, new Chart(name, { zoom, reset, keys: chartKeys }));
    at("charts").append(charts.get(name).root);
  }
  at("charts").querySelector(".empty")?.remove();
  if (!wanted.length) {
    windows.stop();
    const text = at("series").children.length ? "Choose a series to see it." : "There is nothing to see yet. New records appear by themselves.";
    at("charts").append(element("p", { class: "card empty" }, text));
    return;
  }
  at("charts").setAttribute("aria-busy", "true");
  const began = performance.now();
  const answer = await windows.get("/api/windows", {
    ...picked(), field: wanted.filter(Boolean), windows: Math.min(Math.round(1.5 * charts.values().next().value.width), about.limits.windows), values: VALUES, times: "ns",
    versions: view.versions ? "all" : "latest",
  });
  if (answer === null) return;
  for (const [name, chart] of charts) {
    const lines = answer.lines.filter((line) => (line.field ?? null) === name);
    chart.draw(lines, lines.map((line) => view.series.indexOf(line.series)), from, to, BigInt(answer.every));
  }
  at("charts").removeAttribute("aria-busy");
  document.body.dataset.drawn = String(Math.round(performance.now() - began)); // how long it took, for measuring
  document.body.dataset.draws = String(Number(document.body.dataset.draws ?? 0) + 1);
}

/** What requests for the chosen series and range take. */
function picked() {
  const [from, to] = range();
  return { series: view.series, from: iso(from), to: iso(to) };
}

// Details

const TABS = ["records", "statistics", "downloads"];

function showTab() {
  for (const name of TABS) {
    const isShown = name === view.tab;
    at(`tab-${name}`).setAttribute("aria-selected", String(isShown));
    at(`tab-${name}`).tabIndex = isShown ? 0 : -1;
    at(`panel-${name}`).hidden = !isShown;
  }
}

async function showDetails() {
  showTab();
  statistics.stop();
  document.querySelector(".card[aria-label=Details]").hidden = view.series.length === 0;
  if (!view.series.length) return;
  if (view.tab === "records") await records.show(picked());
  else if (view.tab === "statistics") await statistics.show(picked(), fields());
  else showDownloads();
}

function showDownloads() {
  const [from, to] = range();
  at("downloads-of").textContent = ` (${view.series.join(", ")}, from ${told(from)} to before ${told(to)})`;
  const link = (text, href) => element("a", { class: "button", href, download: "" }, text);
  const ofWindows = { ...picked(), field: fields(), windows: 1000, versions: view.versions ? "all" : "latest" };
  const windowsUrl = (form) => records.fileUrl(ofWindows, form).replace("/api/records", "/api/windows");
  at("downloads").replaceChildren(
    element("dt", {}, "Records"),
    element("dd", {}, ...Object.entries(FORMS).map(([form, name]) => link(name, records.fileUrl(picked(), form)))),
    element("dt", {}, "Windows"),
    element("dd", {}, link("CSV", windowsUrl("csv")), link("Arrow", windowsUrl("arrow"))),
  );
}

// Live

let refreshing = false;
let again = false;

function showLive() {
  at("live").setAttribute("aria-pressed", String(isLive));
  if (!isLive || !view.series.length) {
    live.stop();
    at("status").textContent = "";
    return;
  }
  at("status").textContent = "connecting";
  live.follow({ series: view.series }, { began: beganLive, told: cameNew, failed: failedLive });
}

/** What came before it began is shown as well. */
function beganLive() {
  at("status").textContent = "following";
  refresh();
}

function failedLive(fault) {
  isLive = false;
  showLive();
  fail(fault);
}

/** Shows what is new; a range that reaches the end moves along. */
function cameNew(event) {
  at("status").textContent = `${event.count} new at ${told(fromIso(event.end)).slice(11, 19)}`;
  const end = fromIso(event.end) + 1n;
  const [from, to] = range();
  const ends = view.series.map(list.entryOf).filter(Boolean).map((each) => each.end);
  if (view.to !== null && end > to && ends.some((each) => to >= each)) {
    change({ from: from + (end - to), to: end }, { keep: true });
  }
  refresh();
}

/** Asks again for all that is shown. Asked meanwhile, it asks once more when it is done. */
async function refresh() {
  again = true;
  if (refreshing) return;
  refreshing = true;
  try {
    while (again) {
      again = false;
      await list.list();
      showRange();
      await Promise.all([showCharts(), view.tab === "records" && view.series.length ? records.refresh(picked()) : showDetails()]);
    }
  } catch (error) {
    fail(error);
  } finally {
    refreshing = false;
  }
}

// Keys

function chartKeys(event) {
  const acts = {
    ArrowLeft: () => move(-0.25),
    ArrowRight: () => move(0.25),
    "+": () => zoom(...zoomed(...range(), 0.5)),
    "=": () => zoom(...zoomed(...range(), 0.5)),
    "-": () => zoom(...zoomed(...range(), 2)),
    0: reset,
  };
  if (event.ctrlKey || event.metaKey || event.altKey || !acts[event.key]) return;
  event.preventDefault();
  event.stopPropagation();
  acts[event.key]();
}

function pageKeys(event) {
  const isTyping = event.target.matches("input:not([type=checkbox]), dialog *");
  if (isTyping || event.ctrlKey || event.metaKey || event.altKey) return;
  const acts = {
    "/": () => {
      if (at("menu").offsetParent !== null) openSide(true);
      at("search").focus();
    },
    l: () => at("live").click(),
    v: () => at("versions").click(),
    "?": () => at("keys").showModal(),
  };
  const act = acts[event.key.toLowerCase()];
  if (act) {
    event.preventDefault();
    act();
  } else if (!event.target.closest("[role=tablist], .side, .scroll")) {
    chartKeys(event);
  }
}

function tabKeys(event) {
  const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
  if (!step) return;
  const next = TABS[(TABS.indexOf(view.tab) + step + TABS.length) % TABS.length];
  change({ tab: next });
  at(`tab-${next}`).focus();
}

function openSide(yes) {
  document.body.classList.toggle("side-open", yes);
  at("menu").setAttribute("aria-expanded", String(yes));
}

// Beginning

/** Asks whoever looks for the token, until it is right. */
function askUser() {
  return new Promise((resolve) => {
    at("login").showModal();
    at("login-form").onsubmit = async (event) => {
      event.preventDefault();
      try {
        await login(at("token").value.trim());
        at("login").close();
        resolve();
      } catch (error) {
        at("login-trouble").textContent = error.message;
        at("login-trouble").hidden = false;
      }
    };
  });
}

async function update(names) {
  try {
    well();
    if (names.has("series")) await list.learn(view.series);
    at("versions").checked = view.versions;
    at("newest").checked = view.newest;
    showRange();
    showFields();
    const isOther = ["series", "from", "to", "versions"].some((name) => names.has(name));
    if (names.has("series")) showLive();
    await Promise.all([
      isOther || names.has("fields") ? showCharts() : null,
      isOther || names.has("tab") || names.has("newest") || (names.has("fields") && view.tab !== "records") ? showDetails() : null,
    ]);
  } catch (error) {
    fail(error);
  }
}

function wire() {
  list.begin(fail);
  onChange(update);
  at("menu").addEventListener("click", () => openSide(!document.body.classList.contains("side-open")));
  at("live").addEventListener("click", () => {
    isLive = !isLive;
    showLive();
  });
  at("help").addEventListener("click", () => at("keys").showModal());
  at("range").addEventListener("click", (event) => event.target.dataset.span && showSpan(event.target.dataset.span));
  at("range").addEventListener("submit", (event) => {
    event.preventDefault();
    const ends = ["from", "to"].map((name) => fromIso(at(name).value));
    const wrong = ends.indexOf(null);
    if (wrong >= 0) fail({ message: `${at(["from", "to"][wrong]).value || "nothing"} is no time: write 2026-11-01 08:00:00` });
    else if (ends[0] >= ends[1]) fail({ message: "The range is empty: its end is not after its beginning." });
    else zoom(...ends);
  });
  at("zone").addEventListener("click", () => {
    const isLocal = at("zone").textContent === "UTC";
    showLocal(isLocal);
    at("zone").textContent = isLocal ? Intl.DateTimeFormat().resolvedOptions().timeZone : "UTC";
    for (const chart of charts.values()) chart.redraw();
    showRange();
    showDetails().catch(fail);
  });
  at("versions").addEventListener("change", (event) => change({ versions: event.target.checked }));
  at("newest").addEventListener("change", (event) => change({ newest: event.target.checked }));
  at("records-more").addEventListener("click", () => records.show(null, true).catch(fail));
  for (const name of TABS) at(`tab-${name}`).addEventListener("click", () => change({ tab: name }));
  document.querySelector("[role=tablist]").addEventListener("keydown", tabKeys);
  document.addEventListener("keydown", pageKeys);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
    for (const chart of charts.values()) chart.redraw();
  });
}

/** Asks again for as many windows as a wider page has room for. */
function wireSize() {
  let waiting = 0;
  let asked = innerWidth;
  addEventListener("resize", () => {
    clearTimeout(waiting);
    waiting = setTimeout(() => {
      if (innerWidth > 1.2 * asked || innerWidth < asked / 2) {
        asked = innerWidth;
        showCharts().catch(fail);
      }
    }, 250);
  });
}

async function begin() {
  askForToken(askUser);
  const token = new URLSearchParams(location.hash.slice(1)).get("token");
  if (token) {
    history.replaceState(null, "", location.pathname);
    await login(token).catch(fail);
  }
  wire();
  wireSize();
  about = await get("/api");
  at("target").textContent = about.target;
  document.title = `${about.target} – tsmodel`;
  await list.list();
  read();
  if (view.series.length) return;
  const first = at("series").firstElementChild?.dataset.series;
  if (first) change({ series: [first] }, { keep: true });
  else await update(new Set(["series"]));
}

begin().catch(fail).finally(() => { document.body.dataset.ready = "yes"; });
