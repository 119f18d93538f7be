// Reloads the list of what the user sent today, while something in it waits. An unchanged list is answered by 304.
import { byId, poll } from "./page.js";

const SECONDS = 5;
const place = byId("sent-today");
let tag = "";
let isStale = false;

addEventListener("checxray:sent", () => {
  isStale = true;
});
poll(SECONDS, async () => {
  if (!isStale && place.firstElementChild?.getAttribute("data-open") !== "true") return;
  const headers = { "X-Fragment": "1", "If-None-Match": tag };
  const response = await fetch(place.dataset.url ?? "", { headers, redirect: "manual" });
  if (response.status === 304) {
    isStale = false;
    return;
  }
  if (!response.ok) throw new Error(`The list was answered with ${response.status}.`);
  tag = response.headers.get("ETag") ?? "";
  place.innerHTML = await response.text();
  isStale = false;
});
