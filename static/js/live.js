// Reloads the part of a page that changes, until the job that it shows has ended.
import { byId, fragment, poll } from "./page.js";

const SECONDS = 3;
const live = byId("live");

if (live && live.firstElementChild?.dataset.open === "true") {
  poll(SECONDS, async () => {
    live.innerHTML = await fragment(live.dataset.url);
    return live.firstElementChild.dataset.open === "true";
  });
}
