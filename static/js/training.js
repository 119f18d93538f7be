// A training run's page asks for its middle until the run has ended.
import { byId, fragment, poll } from "./page.js";

const SECONDS = 3;
const live = byId("live");

if (live && live.firstElementChild?.dataset.open === "true") {
  poll(SECONDS, async () => {
    live.innerHTML = await fragment(live.dataset.url);
    return live.firstElementChild.dataset.open === "true";
  });
}
