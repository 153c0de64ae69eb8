// Asking the server. An answer that is not wanted any more is not waited for: its request is broken off, and so is the reading.

/** What the server refused, with what to do about it. */
export class Refused extends Error {
  constructor(status, fault) {
    super(fault.do ? `${fault.what} — ${fault.do}` : fault.what);
    this.status = status;
  }
}

let ask = null; // asks for the token; set by main.js

export const askForToken = (how) => { ask = how; };

/** The query string of some parameters; lists are repeated, what is null is left out. */
export function query(parameters) {
  const made = new URLSearchParams();
  for (const [name, value] of Object.entries(parameters)) {
    for (const each of Array.isArray(value) ? value : [value]) {
      if (each !== null && each !== undefined && each !== "") made.append(name, each);
    }
  }
  return made.toString().replaceAll("%2F", "/").replaceAll("%3A", ":");
}

/** The URL of an endpoint. */
export const url = (path, parameters = {}) => `${path}?${query(parameters)}`;

/** The answer of an endpoint. */
export async function get(path, parameters = {}, signal = undefined) {
  const answer = await fetch(url(path, parameters), { signal, credentials: "same-origin" });
  if (answer.status === 401 && ask) {
    await ask();
    return get(path, parameters, signal);
  }
  const data = await answer.json().catch((error) => {
    if (error.name === "AbortError") throw error;
    return { error: { what: `the server answered ${answer.status} without saying why` } };
  });
  if (!answer.ok || data.error) throw new Refused(answer.status, data.error);
  return data;
}

/** Gives the token, for a cookie. */
export async function login(token) {
  const answer = await fetch("/api/session", {
    method: "POST",
    credentials: "same-origin",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify({ token }),
  });
  if (!answer.ok) throw new Refused(answer.status, (await answer.json()).error);
}

/** Requests of one kind, of which only the newest counts. */
export class Latest {
  #controller = null;

  /** Breaks off the one before, and asks. Null when it was broken off itself. */
  async get(path, parameters) {
    this.stop();
    const controller = new AbortController();
    this.#controller = controller;
    try {
      return await get(path, parameters, controller.signal);
    } catch (error) {
      if (error.name === "AbortError" || controller.signal.aborted) return null;
      throw error;
    }
  }

  stop() {
    this.#controller?.abort();
  }
}
