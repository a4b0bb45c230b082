// Follows a session with the npm package `eventsource`, as a web page's EventSource would: it prints each event as a
// line of JSON, comes back by itself where the stream breaks, and ends when the service tells it not to come back.
//
//   node events.mjs FOLDER-OF-NODE_MODULES URL     (the key in KEY)
import { createRequire } from "node:module";
import { join } from "node:path";

const [folder, url] = process.argv.slice(2);
const { EventSource } = createRequire(join(folder, "x.js"))("eventsource");
const withKey = (input, init) =>
  fetch(input, { ...init, headers: { ...init.headers, Authorization: `Bearer ${process.env.KEY}` } });
const source = new EventSource(url, { fetch: withKey });
const print = (value) => process.stdout.write(JSON.stringify(value) + "\n");
for (const kind of ["status", "message", "receipt"]) {
  source.addEventListener(kind, (event) =>
    print({ id: event.lastEventId, event: kind, data: JSON.parse(event.data) }),
  );
}
// The package's own timer lets Node end while it waits to come back.
const alive = setInterval(() => {}, 60_000);
source.addEventListener("open", () => print({ event: "open" }));
source.addEventListener("error", (event) => {
  const over = source.readyState === source.CLOSED;
  print({ event: over ? "over" : "broken", code: event.code });
  if (over) clearInterval(alive);
});
