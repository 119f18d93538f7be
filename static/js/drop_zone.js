// A drop zone: files that the user drops on it, or chooses with its input. Dropped folders are opened.

/**
 * @param {HTMLElement} zone
 * @param {HTMLInputElement} input
 * @param {(files: File[]) => void} receive
 */
export function listenForFiles(zone, input, receive) {
  input.addEventListener("change", () => {
    const files = [...(input.files ?? [])];
    input.value = "";
    receive(files);
  });
  for (const kind of ["dragenter", "dragover"]) zone.addEventListener(kind, () => zone.classList.add("is-over"));
  for (const kind of ["dragleave", "drop"]) zone.addEventListener(kind, () => zone.classList.remove("is-over"));
  // A file that is dropped beside the zone must not replace the page.
  for (const kind of ["dragenter", "dragover", "drop"]) {
    document.addEventListener(kind, (event) => event.preventDefault());
  }
  zone.addEventListener("drop", async ({ dataTransfer }) => {
    if (dataTransfer) receive(await droppedFiles(dataTransfer));
  });
}

/** @param {DataTransfer} transfer */
async function droppedFiles({ items, files }) {
  const entries = [...items].map((item) => item.webkitGetAsEntry?.()).filter((entry) => entry != null);
  return entries.length ? (await Promise.all(entries.map(filesOf))).flat() : [...files];
}

/**
 * @param {FileSystemEntry} entry
 * @returns {Promise<File[]>}
 */
async function filesOf(entry) {
  if (entry.isFile) {
    const file = /** @type {FileSystemFileEntry} */ (entry);
    return [await new Promise((resolve, reject) => file.file(resolve, reject))];
  }
  const reader = /** @type {FileSystemDirectoryEntry} */ (entry).createReader();
  const found = [];
  for (;;) {
    /** @type {FileSystemEntry[]} */
    const some = await new Promise((resolve, reject) => reader.readEntries(resolve, reject));
    if (!some.length) break;
    found.push(...(await Promise.all(some.map(filesOf))).flat());
  }
  return found.filter((file) => !file.name.startsWith(".") && file.name.toUpperCase() !== "DICOMDIR");
}
