// Gives each test file the browser's globals. Node loads it before them; what Node has itself stays, but for events.
import { Window } from "happy-dom";

const window = new Window({ url: "http://localhost/" });
for (const name of Object.getOwnPropertyNames(window)) {
  const isBrowserOnly = !(name in globalThis) || /Event$/.test(name) || name === "localStorage";
  if (isBrowserOnly)
    Object.defineProperty(globalThis, name, { value: window[name], configurable: true, writable: true });
}
