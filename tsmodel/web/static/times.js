// Times are BigInts of nanoseconds since 2001-01-01T00:00:00Z, as the database counts them. A double could not hold them.

const EPOCH_MS = Date.UTC(2001, 0, 1);
const MS = 1_000_000n;
export const SECOND = 1_000_000_000n;
const DAY = 86_400n * SECOND;

let isLocal = false;

/** Whether times are shown by this machine's clocks, not in UTC. */
export const showLocal = (yes) => { isLocal = yes; };

const floor = (value, by) => value / by - (value % by < 0n ? 1n : 0n);

/** Milliseconds since 1970, and the nanoseconds that are left. */
function split(ns) {
  const ms = floor(ns, MS);
  return [Number(ms) + EPOCH_MS, Number(ns - ms * MS)];
}

/** The time of ISO 8601 text in UTC, with up to nine digits behind the point; null for other text. */
export function fromIso(text) {
  const found = /^(\d{4}-\d\d-\d\d)(?:[T ](\d\d:\d\d)(?::(\d\d)(?:\.(\d{1,9}))?)?)?(Z|[+-]\d\d:\d\d)?$/.exec(text.trim());
  if (!found) return null;
  const [, day, minute = "00:00", second = "00", digits = "", zone] = found;
  const here = zone ?? (isLocal ? "" : "Z");
  const ms = Date.parse(`${day}T${minute}:${second}${here}`);
  return Number.isNaN(ms) ? null : BigInt(ms - EPOCH_MS) * MS + BigInt(digits.padEnd(9, "0"));
}

/** The time now. */
export const now = () => BigInt(Date.now() - EPOCH_MS) * MS;

const two = (value) => String(value).padStart(2, "0");

function parts(ms) {
  const date = new Date(ms);
  return isLocal
    ? [date.getFullYear(), date.getMonth() + 1, date.getDate(), date.getHours(), date.getMinutes(), date.getSeconds()]
    : [date.getUTCFullYear(), date.getUTCMonth() + 1, date.getUTCDate(), date.getUTCHours(), date.getUTCMinutes(), date.getUTCSeconds()];
}

/** `2026-11-01 08:00:00`, with as many digits behind the point as there are. */
export function told(ns) {
  const [ms, rest] = split(ns);
  const [year, month, day, hour, minute, second] = parts(ms);
  const below = BigInt(((ms % 1000) + 1000) % 1000) * MS + BigInt(rest);
  const digits = below === 0n ? "" : `.${String(below).padStart(9, "0").replace(/(000)+$/, "")}`;
  return `${year}-${two(month)}-${two(day)} ${two(hour)}:${two(minute)}:${two(second)}${digits}`;
}

/** ISO 8601 text in UTC, for requests. */
export function iso(ns) {
  const [ms, rest] = split(ns);
  const text = new Date(ms).toISOString();
  return rest === 0 ? text : `${text.slice(0, -1)}${String(rest).padStart(6, "0")}Z`;
}

const UNITS = [["d", DAY], ["h", 3600n * SECOND], ["min", 60n * SECOND], ["s", SECOND], ["ms", MS], ["µs", 1000n], ["ns", 1n]];

/** A length of time as people say it: `15 min`, `1.5 h`. */
export function lasting(ns) {
  for (const [name, size] of UNITS) {
    if (ns >= size) {
      const value = Number(ns) / Number(size);
      return `${Number.isInteger(value) ? value : value.toPrecision(3)} ${name}`;
    }
  }
  return "0 s";
}

const STEPS = [
  ...Array.from({ length: 9 }, (_, power) => [1n, 2n, 5n].map((digit) => digit * 10n ** BigInt(power))).flat(),
  ...[1n, 2n, 5n, 10n, 15n, 30n].map((count) => count * SECOND),
  ...[1n, 2n, 5n, 10n, 15n, 30n].map((count) => count * 60n * SECOND),
  ...[1n, 2n, 3n, 6n, 12n].map((count) => count * 3600n * SECOND),
  ...[1n, 2n, 5n, 10n, 20n, 50n, 100n, 200n, 500n, 1000n, 2000n, 5000n].map((count) => count * DAY),
];

/** Times for the marks of an axis: at most `most` round ones between two times. */
export function marks(from, to, most) {
  const step = STEPS.find((each) => (to - from) / each <= BigInt(most)) ?? STEPS.at(-1);
  const shift = isLocal ? BigInt(new Date(split(from)[0]).getTimezoneOffset()) * 60n * SECOND : 0n;
  const made = [];
  for (let mark = (floor(from - shift, step) + 1n) * step + shift; mark < to; mark += step) made.push(mark);
  return { step, marks: made };
}

/** What stands at a mark: as much of the time as tells it from its neighbours, and the day where it begins. */
export function labelled(ns, step, before) {
  const [ms, rest] = split(ns);
  const [year, month, day, hour, minute, second] = parts(ms);
  const date = `${year}-${two(month)}-${two(day)}`;
  if (step >= DAY) return date;
  let time = `${two(hour)}:${two(minute)}`;
  if (step < 60n * SECOND) time += `:${two(second)}`;
  if (step < SECOND) {
    const below = BigInt(((ms % 1000) + 1000) % 1000) * MS + BigInt(rest);
    const digits = 9 - (String(step).length - 1);
    time += `.${String(below).padStart(9, "0").slice(0, Math.max(1, digits))}`;
  }
  const isNew = before === null || told(before).slice(0, 10) !== date;
  return isNew ? `${time}\n${date}` : time;
}
