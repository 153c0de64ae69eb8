// A chart of one field: for each series a band from the least to the greatest value of what falls on a pixel, and the mean.

import uPlot from "./uplot/uPlot.esm.js";
import { element, shown } from "./dom.js";
import { SECOND, labelled, lasting, marks, told } from "./times.js";

const HEIGHT = 230;
const EXPAND = 2; // what uPlot calls NULL_EXPAND
const cursors = uPlot.sync("charts");

/** A colour of the page, as it is in light or in dark. */
const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
const lineColour = (index) => colour(`--line-${(index % 8) + 1}`);

/** A number to draw, of what an answer has; null for none. */
function drawn(value) {
  const number = value === null ? null : Number(value);
  return Number.isFinite(number) ? number : null;
}

/** Seconds from a time to another, which a double holds however short they are. */
const since = (from, ns) => Number(ns - from) / 1e9;

/** Columns to draw of one line: x, mean, min, max, and where corrections are. Breaks where nothing was captured for long. */
function columns(line, from, every) {
  const count = line.start.length;
  const isCount = line.field === undefined || line.field === null;
  const xs = new Array(count);
  for (let at = 0; at < count; at++) {
    xs[at] = since(from, (BigInt(line.first_time[at]) + BigInt(line.last_time[at])) / 2n);
  }
  const steps = [];
  for (let at = 1; at < count; at++) steps.push(xs[at] - xs[at - 1]);
  const usual = steps.length ? [...steps].sort((a, b) => a - b)[steps.length >> 1] : 0;
  const gap = Math.max(3.5 * usual, (2.5 * Number(every)) / 1e9);
  const made = [[], [], [], [], []];
  const push = (...values) => values.forEach((value, place) => made[place].push(value));
  for (let at = 0; at < count; at++) {
    if (at && steps[at - 1] > gap) push((xs[at] + xs[at - 1]) / 2, null, null, null, null);
    const mean = drawn(isCount ? line.points[at] : line.mean[at]);
    const [min, max] = isCount ? [mean, mean] : [drawn(line.min[at]), drawn(line.max[at])];
    push(xs[at], mean, min, max, line.records[at] > line.points[at] ? max : null);
  }
  return made;
}

/** A chart in an element of its own. `zoom` is called with the two ends of what was chosen, `reset` to see all. */
export class Chart {
  #plot = null;
  #lines = [];
  #from = 0n;
  #to = 1n;
  #every = 1n;

  constructor(field, { zoom, reset, keys }) {
    this.field = field;
    this.zoom = zoom;
    this.reset = reset;
    this.title = element("h2", {});
    this.note = element("span", { class: "note" });
    this.legend = element("ul", { class: "legend" });
    this.place = element("div", { class: "plot", tabindex: "0", role: "img", onkeydown: keys });
    this.root = element(
      "article",
      { class: "card chart", "data-field": field ?? "" },
      element("header", {}, this.title, this.note),
      this.place,
      this.legend,
    );
    this.place.addEventListener("wheel", (event) => this.#wheel(event), { passive: false });
    new ResizeObserver(() => this.#plot?.setSize({ width: this.width, height: HEIGHT })).observe(this.place);
  }

  /** Pixels that there are for the chart. */
  get width() {
    return Math.max(240, Math.floor(this.place.clientWidth));
  }

  /** Draws lines of an answer, with the numbers of their colours. */
  draw(lines, numbers, from, to, every) {
    this.#lines = lines.map((line, at) => ({ line, number: numbers[at] }));
    [this.#from, this.#to, this.#every] = [from, to, every];
    this.redraw();
  }

  /** Draws the same again, as after a change of colours or of the time zone. */
  redraw() {
    const lines = this.#lines.map((each) => each.line);
    const tables = lines.map((line) => columns(line, this.#from, this.#every));
    // The breaks of a line stay breaks, however many points of other lines fall into them.
    const data = tables.length ? uPlot.join(tables, tables.map((table) => table.map(() => EXPAND))) : [[]];
    this.#plot?.destroy();
    this.#plot = new uPlot(this.#options(lines), data, this.place);
    this.#label(lines);
    this.#tell(null);
  }

  destroy() {
    this.#plot?.destroy();
    this.#plot = null;
    this.root.remove();
  }

  #options(lines) {
    const series = [{}];
    const bands = [];
    lines.forEach((_, at) => {
      const stroke = lineColour(this.#lines[at].number);
      const first = 4 * at + 1;
      series.push(
        { stroke, width: 1.5, points: { size: 4, fill: stroke } },
        { stroke: `${stroke}66`, width: 1, points: { show: false } },
        { stroke: `${stroke}66`, width: 1, points: { show: false } },
        { show: true, stroke: "transparent", width: 0, points: { show: false } },
      );
      bands.push({ series: [first + 2, first + 1], fill: `${stroke}2e` });
    });
    const text = colour("--soft");
    const grid = { stroke: colour("--grid"), width: 1 };
    return {
      width: this.width,
      height: HEIGHT,
      legend: { show: false },
      scales: {
        x: { time: false, range: () => [0, since(this.#from, this.#to)] },
        y: this.field === null ? { range: (_, least, most) => [0, Math.max(1, (most ?? 1) * 1.1)] } : {},
      },
      axes: [
        {
          stroke: text, grid, ticks: { ...grid, size: 4 }, font: "12px system-ui, sans-serif", size: 40, gap: 6,
          splits: () => this.#marks().marks.map((mark) => since(this.#from, mark)),
          values: (_, splits) => this.#labels(splits),
        },
        { stroke: text, grid, ticks: { show: false }, font: "12px system-ui, sans-serif", size: (_, values) => this.#room(values), gap: 6 },
      ],
      series,
      bands,
      cursor: {
        sync: { key: cursors.key },
        drag: { x: true, y: false, setScale: false },
        points: { show: (plot, at) => (at % 4 === 1 ? undefined : false) },
        bind: { dblclick: () => () => { this.reset(); return null; } },
      },
      hooks: {
        setSelect: [(plot) => this.#selected(plot)],
        setCursor: [(plot) => this.#tell(plot.cursor.idx)],
        draw: [(plot) => this.#diamonds(plot)],
      },
    };
  }

  #marks() {
    return marks(this.#from, this.#to, Math.max(2, Math.floor(this.width / 110)));
  }

  #labels(splits) {
    const { step, marks: all } = this.#marks();
    return splits.map((_, at) => labelled(all[at], step, at ? all[at - 1] : null));
  }

  /** Pixels that the longest number of the axis takes. */
  #room(values) {
    const longest = Math.max(7, ...(values ?? []).map((each) => String(each ?? "").length));
    return 14 + 7 * longest;
  }

  #selected(plot) {
    const { left, width } = plot.select;
    if (width < 4) return;
    const [start, end] = [left, left + width].map((place) => this.#timeAt(plot.posToVal(place, "x")));
    plot.setSelect({ left: 0, top: 0, width: 0, height: 0 }, false);
    if (end - start > 1n) this.zoom(start, end);
  }

  #timeAt(seconds) {
    return this.#from + BigInt(Math.round(seconds * 1e9));
  }

  #wheel(event) {
    if (!event.ctrlKey && !event.metaKey) return;
    event.preventDefault();
    const over = this.place.querySelector(".u-over").getBoundingClientRect();
    const share = Math.min(1, Math.max(0, (event.clientX - over.left) / over.width));
    this.zoom(...zoomed(this.#from, this.#to, event.deltaY > 0 ? 1.25 : 0.8, share), { keep: true });
  }

  #diamonds(plot) {
    const context = plot.ctx;
    const size = 4 * devicePixelRatio;
    context.save();
    context.fillStyle = colour("--card");
    context.strokeStyle = colour("--correction");
    context.lineWidth = 1.5 * devicePixelRatio;
    this.#lines.forEach((_, at) => {
      const values = plot.data[4 * at + 4] ?? [];
      values.forEach((value, index) => {
        if (value === null || value === undefined) return;
        const [x, y] = [plot.valToPos(plot.data[0][index], "x", true), plot.valToPos(value, "y", true)];
        context.beginPath();
        context.moveTo(x, y - size);
        context.lineTo(x + size, y);
        context.lineTo(x, y + size);
        context.lineTo(x - size, y);
        context.closePath();
        context.fill();
        context.stroke();
      });
    });
    context.restore();
  }

  #label(lines) {
    const [first] = lines;
    const name = this.field ?? "records";
    this.title.replaceChildren(name, first?.unit ? element("small", {}, ` [${first.unit}]`) : "");
    const total = lines.reduce((sum, line) => sum + line.points.reduce((a, b) => a + b, 0), 0);
    const isPlain = lines.every((line) => line.first_time.every((each, at) => each === line.last_time[at]));
    this.note.textContent = total === 0 ? "nothing was captured here"
      : this.field === null ? `how many in each ${lasting(this.#every)}`
      : isPlain ? "every point is shown" : `points of ${lasting(this.#every)} are drawn as one`;
    const of = lines.map((line) => line.series).join(", ");
    const values = lines.flatMap((line) => [...(line.min ?? []), ...(line.max ?? [])]).map(drawn).filter((each) => each !== null);
    const extent = values.length ? `, from ${shown(Math.min(...values))} to ${shown(Math.max(...values))}` : "";
    this.place.setAttribute("aria-label", `${name} of ${of} from ${told(this.#from)} to ${told(this.#to)}${extent}`);
  }

  /** Tells the values below the pointer, or what the lines are. */
  #tell(index) {
    const plot = this.#plot;
    const at = index === null || index === undefined || !plot ? null : plot.data[0][index];
    this.legend.replaceChildren(
      ...this.#lines.map(({ line, number }, place) => {
        const near = at === null || at === undefined ? null : nearest(plot.data[4 * place + 1], index);
        const [mean, min, max] = near === null ? [] : [1, 2, 3].map((each) => plot.data[4 * place + each][near]);
        const value = mean === undefined || mean === null ? ""
          : min === max ? shown(mean) : `${shown(mean)}  (${shown(min)} – ${shown(max)})`;
        return element("li", {},
          element("span", { class: "swatch", "data-line": String((number % 8) + 1), "aria-hidden": "true" }),
          element("span", { class: "ids" }, line.series),
          element("span", { class: "value" }, value));
      }),
      element("li", { class: "when" }, at === null || at === undefined ? "" : told(this.#timeAt(at) / MILLI * MILLI)),
    );
  }
}

/** The place next to another where a line has a point: lines have theirs at times of their own. */
function nearest(values, index) {
  for (let by = 0; by < 40; by++) {
    for (const at of [index - by, index + by]) if (values[at] !== undefined) return at;
  }
  return null;
}

const MILLI = SECOND / 1000n;

/** A range made longer or shorter by a factor, around the place that is `share` of it from its start. */
export function zoomed(from, to, factor, share = 0.5) {
  const span = Number(to - from);
  const made = Math.max(2, span * factor);
  const start = from + BigInt(Math.round((span - made) * share));
  return [start, start + BigInt(Math.round(made))];
}
