// The form of patient data for PNG and JPEG pictures: for one of them, or for several at once.
import { byId, find } from "./page.js";
import { textOf } from "./page_texts.js";

/** @typedef {import("./upload_queue.js").Item} Item */

const FIELDS = ["patient_id", "patient_name", "study_date"];
const TICKS = ["patient_unknown", "is_frontal"];
const NEW = "";
const EVERY = "every";
// biome-ignore lint/suspicious/noControlCharactersInRegex: a DICOM text holds none (PS3.5 6.2)
const NOT_IN_DICOM = /[\\\x00-\x1f\x7f]/;
const DAY = 24 * 60 * 60 * 1000;

export class PictureDetails {
  /** @type {Item[]} */
  #pictures = [];
  #shown = "";

  /** @param {(items: Item[], details: URLSearchParams) => void} use what to do with complete details */
  constructor(use) {
    this.use = use;
    byId("apply").addEventListener("click", () => this.#apply());
    byId("target").addEventListener("change", () => this.#fill());
    for (const id of ["target-field", "apply"]) byId(id).hidden = true;
  }

  /** @param {Item[]} pictures those whose details can be chosen */
  offer(pictures) {
    const shown = pictures.map((item) => `${item.file.name}\n${item.details ? 1 : 0}`).join("\n");
    this.#pictures = pictures;
    if (shown === this.#shown) return;
    this.#shown = shown;
    const target = byId("target", HTMLSelectElement);
    const chosen = target.value;
    const without = pictures.filter(({ details }) => !details).length;
    const names = pictures.slice(0, 500).map(({ file }, index) => new Option(file.name, String(index)));
    target.replaceChildren(
      new Option(textOf("all-pictures", { count: without }), NEW),
      new Option(textOf("every-picture", { count: pictures.length }), EVERY),
      ...names,
    );
    target.value = target.querySelector(`option[value="${chosen}"]`) ? chosen : NEW;
    for (const id of ["target-field", "apply"]) byId(id).hidden = !pictures.length;
  }

  /** Let the user enter the details of one picture. @param {Item} item */
  edit(item) {
    byId("target", HTMLSelectElement).value = String(this.#pictures.indexOf(item));
    this.#fill();
    byId("patient_id").focus();
  }

  /** @param {string} text what is missing; empty hides it */
  complain(text) {
    const place = byId("details-problem");
    place.hidden = !text;
    find(place, "span").textContent = text;
  }

  get #targets() {
    const { value } = byId("target", HTMLSelectElement);
    if (value === EVERY) return this.#pictures;
    return value === NEW ? this.#pictures.filter(({ details }) => !details) : [this.#pictures[Number(value)]];
  }

  #fill() {
    const [first, second] = this.#targets;
    const details = second ? null : first?.details;
    for (const id of FIELDS) byId(id, HTMLInputElement).value = details?.get(id) ?? "";
    for (const id of TICKS) byId(id, HTMLInputElement).checked = details?.has(id) ?? false;
    this.complain("");
  }

  #apply() {
    const details = new URLSearchParams();
    for (const id of FIELDS) details.set(id, byId(id, HTMLInputElement).value.trim());
    for (const id of TICKS) if (byId(id, HTMLInputElement).checked) details.set(id, "on");
    const problem = problemOf(details);
    this.complain(problem ? textOf(problem.text) : "");
    if (problem) {
      byId(problem.field).focus();
      return;
    }
    this.use(this.#targets, details);
    // The next picture may be of another patient.
    byId("target", HTMLSelectElement).value = NEW;
    this.#fill();
  }
}

/**
 * What keeps a picture with these details from being stored.
 *
 * @param {URLSearchParams} details
 * @returns {{ text: string, field: string } | null}
 */
export function problemOf(details) {
  const id = details.get("patient_id") ?? "";
  const name = details.get("patient_name") ?? "";
  const isUnknown = details.has("patient_unknown");
  if (isUnknown && (id || name)) return { text: "patient-both", field: "patient_unknown" };
  if (!isUnknown && !(id && name)) return { text: "patient-missing", field: id ? "patient_name" : "patient_id" };
  if (NOT_IN_DICOM.test(id)) return { text: "text-invalid", field: "patient_id" };
  if (NOT_IN_DICOM.test(name)) return { text: "text-invalid", field: "patient_name" };
  if (Date.parse(details.get("study_date") ?? "") > Date.now() + DAY)
    return { text: "date-future", field: "study_date" };
  return details.has("is_frontal") ? null : { text: "frontal-missing", field: "is_frontal" };
}
