// Reloads the part of a page that changes, until the job that it shows has ended.
import { byId, poll } from "./page.js";
import { requestHtml } from "./requests.js";

const SECONDS = 3;

if (document.getElementById("live")) {
  const live = byId("live");
  const isOpen = () => live.firstElementChild?.getAttribute("data-open") === "true";
  if (isOpen()) {
    poll(SECONDS, async () => {
      live.innerHTML = await requestHtml(live.dataset.url ?? "");
      return isOpen();
    });
  }
}
