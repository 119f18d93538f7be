import { announce, byId, fragment, isTyping, poll } from "./page.js";
import { Viewer } from "./viewer.js";

const POLL_SECONDS = 1.5;
const SLOW_POLL_SECONDS = 15;
const desk = byId("desk");
const panels = byId("panels");
const overlay = byId("overlay");
const viewer = new Viewer();
let picked = null;
let overlayOn = false;

byId("tools").hidden = false;
document.querySelector('[data-action="help"]').hidden = false;
byId("film").addEventListener("error", () => { byId("film-error").hidden = false; });
if (byId("film").complete && !byId("film").naturalWidth) byId("film-error").hidden = false;
overlay.addEventListener("error", () => {
  pick(picked, false);
  announce("The map cannot be shown");
  showProblem("The map cannot be shown. Reload the page; if it stays so, tell your administrator.");
});
start();

function start() {
  const first = panels.querySelector("tr.is-flagged[data-map]") ?? panels.querySelector("tr[data-map]");
  pick(first, panels.querySelector("tr.is-flagged[data-map]") !== null);
}

// Overlay
function pick(row, show) {
  // Only the image that the AI read has maps.
  if (show) showImage(panels.querySelector("[data-main]"));
  picked = row;
  overlayOn = Boolean(row) && show && "map" in row.dataset;
  for (const each of panels.querySelectorAll("tr[data-label]")) {
    const isShown = each === row && overlayOn;
    each.classList.toggle("is-shown", isShown);
    each.querySelector(".pick").setAttribute("aria-pressed", String(isShown));
  }
  const toggle = document.querySelector('[data-action="overlay"]');
  toggle.setAttribute("aria-pressed", String(overlayOn));
  toggle.disabled = !panels.querySelector("tr[data-map]");
  byId("overlay-tag").hidden = byId("scale").hidden = overlay.hidden = !overlayOn;
  if (!overlayOn) return;
  // The finding's key makes the address of another result another address; it names no patient.
  overlay.src = `${desk.dataset.heatmapUrl.replace("LABEL", row.dataset.label)}?of=${row.dataset.map}`;
  overlay.alt = `Where the model looked for ${row.dataset.name}`;
  overlay.style.opacity = byId("opacity").value / 100;
  byId("overlay-tag").textContent = `AI overlay: ${row.dataset.name}`;
  byId("scale-name").textContent = row.dataset.name;
}

function choose(row) {
  if (!row) return;
  if (!("map" in row.dataset)) {
    announce(`${row.dataset.name}: far below its operating point, no map is shown`);
    pick(row, false);
    return;
  }
  const show = !(row === picked && overlayOn);
  pick(row, show);
  announce(show ? `AI overlay shown for ${row.dataset.name}` : "AI overlay hidden");
}

function showImage(button) {
  if (!button || button.getAttribute("aria-pressed") === "true") return;
  for (const each of panels.querySelectorAll(".image")) each.setAttribute("aria-pressed", String(each === button));
  byId("film-error").hidden = true;
  byId("film").src = `${desk.dataset.filmUrl}?${new URLSearchParams({ image: button.dataset.number })}`;
}

function changeOpacity(step) {
  const slider = byId("opacity");
  slider.value = Number(slider.value) + step;
  overlay.style.opacity = slider.value / 100;
}

byId("opacity").addEventListener("input", () => changeOpacity(0));

// Actions
const actions = {
  pick: (element) => choose(element.closest("tr")),
  image: (button) => {
    showImage(button);
    if (!("main" in button.dataset)) pick(picked, false);
  },
  overlay: () => choose(picked ?? panels.querySelector("tr[data-map]")),
  "zoom-in": () => viewer.zoomBy(1.3),
  "zoom-out": () => viewer.zoomBy(1 / 1.3),
  reset: () => { viewer.reset(); showInverted(false); },
  invert: () => showInverted(viewer.invert()),
  help: () => byId("help").showModal(),
  "close-dialog": (element) => element.closest("dialog").close(),
  sign: (element) => {
    element.disabled = true;
    byId("sign-form").submit();
  },
};

function showInverted(inverted) {
  document.querySelector('[data-action="invert"]').setAttribute("aria-pressed", String(inverted));
}

document.addEventListener("click", (event) => {
  const element = event.target.closest("[data-action]");
  if (element && actions[element.dataset.action]) actions[element.dataset.action](element);
});

document.addEventListener("keydown", (event) => {
  if (isTyping(event)) return;
  if (/^[1-9]$/.test(event.key)) {
    choose(panels.querySelectorAll("tr[data-label]")[Number(event.key) - 1]);
    return;
  }
  const keys = {
    h: "overlay", H: "overlay", i: "invert", I: "invert", r: "reset", R: "reset", "?": "help", z: "zoom-in", Z: "zoom-out",
  };
  if (event.key === "+" || event.key === "=") changeOpacity(10);
  else if (event.key === "-") changeOpacity(-10);
  else if (event.key.toLowerCase() === "s" && byId("impression")) {
    event.preventDefault();
    byId("impression").focus();
  }
  else if (keys[event.key]) actions[keys[event.key]]();
});

document.addEventListener("submit", (event) => {
  if (event.target.id === "sign-form") {
    event.preventDefault();
    byId("sign-dialog").showModal();
  } else if ("review" in event.target.dataset) {
    event.preventDefault();
    review(event.target, event.submitter);
  }
});

async function review(form, button) {
  const body = new FormData(form);
  body.append("verdict", button.value);
  const response = await fetch(form.action, { method: "POST", body, headers: { Accept: "application/json" } }).catch(() => null);
  if (!response?.ok) {
    const problem = await response?.json().catch(() => null);
    announce(problem?.detail ?? "The verdict was not saved; try again.");
    showProblem(problem?.detail ?? "The verdict was not saved; try again.");
    return;
  }
  for (const each of form.querySelectorAll(".verdict")) each.setAttribute("aria-pressed", String(each === button));
  announce(`${form.closest("tr").dataset.name}: ${button.value === "agree" ? "you agree" : "you disagree"}`);
}

function showProblem(text) {
  const line = document.createElement("div");
  line.className = "message error";
  line.textContent = text;
  byId("panels-content").prepend(line);
}

// Updates
poll(POLL_SECONDS, async () => {
  const content = byId("panels-content");
  if (!content.dataset.open && Date.now() < nextSlow) return;
  nextSlow = Date.now() + 1000 * SLOW_POLL_SECONDS;
  const response = await fetch(desk.dataset.stateUrl, { headers: { Accept: "application/json" } });
  if (response.status === 401) location.reload();
  if (!response.ok) throw new Error(`HTTP ${response.status}`);
  const state = await response.json();
  if (state.token !== content.dataset.token) await update(state);
});
let nextSlow = Date.now() + 1000 * SLOW_POLL_SECONDS;

function reading({ positive_count: flagged, has_no_operating_points: hasNoOperatingPoints }) {
  if (flagged === null) return "Read by AI";
  if (hasNoOperatingPoints) return "Read by AI: the version has no operating points";
  return `Read by AI: ${flagged || "no"} finding${flagged === 1 ? "" : "s"} flagged`;
}

async function update(state) {
  const impression = byId("impression")?.value ?? "";
  const hadFocus = document.activeElement?.id;
  if (document.querySelector("dialog[open]")) return;
  panels.innerHTML = await fragment(location.href);
  if (byId("impression")) byId("impression").value = impression;
  if (hadFocus) byId(hadFocus)?.focus({ preventScroll: true });
  byId("film-error").hidden = true;
  byId("film").src = `${desk.dataset.filmUrl}?${new URLSearchParams({ of: state.token.split(":")[0] })}`;
  start();
  announce(state.status === "complete" ? reading(state) : state.status_text);
}
