// Following new records: one connection, which the browser mends by itself.

import { url } from "./api.js";

let source = null;

/** Follows some series until it is told to stop: `began` is called whenever that begins, `told` gets what is new, `failed` a fault. */
export function follow(picked, { began, told, failed }) {
  stop();
  source = new EventSource(url("/api/follow", picked));
  source.addEventListener("new", (event) => told(JSON.parse(event.data)));
  source.addEventListener("trouble", (event) => {
    stop();
    failed(JSON.parse(event.data).error);
  });
  source.addEventListener("begin", () => {
    document.body.classList.remove("lost");
    began();
  });
  source.addEventListener("error", () => document.body.classList.add("lost"));
}

export function stop() {
  source?.close();
  source = null;
  document.body.classList.remove("lost");
}
