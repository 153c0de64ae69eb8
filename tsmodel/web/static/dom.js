// Making elements. Text is always text: nothing that comes from records is ever read as HTML.

/** An element with attributes and children; `on…` are listeners, `class` is its class. */
export function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else if (value === true) made.setAttribute(name, "");
    else made.setAttribute(name, value);
  }
  made.append(...children.filter((each) => each !== null && each !== undefined));
  return made;
}

/** The element of an id. */
export const at = (id) => document.getElementById(id);

const counts = new Intl.NumberFormat("en");

/** `40,030`. */
export const counted = (count) => counts.format(count);

/** A number as short as it can be told apart from its neighbours on a screen. */
export function shown(value) {
  if (value === null || value === undefined) return "–";
  if (typeof value !== "number") return String(value);
  if (Number.isInteger(value)) return counts.format(value);
  const digits = Math.abs(value) >= 1e6 || Math.abs(value) < 1e-3 ? value.toPrecision(6) : null;
  return digits ?? new Intl.NumberFormat("en", { maximumSignificantDigits: 7 }).format(value);
}
