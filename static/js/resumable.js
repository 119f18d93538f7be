// Sends one file in pieces that fit the connection, by the tus protocol 1.0, and has the complete file stored.
import { RequestError } from "./requests.js";

/** @typedef {import("./upload_link.js").Link} Link */
/** @typedef {{ name: string, outcome: "stored" | "known" | "refused" | "failed", code: string, detail: string, study_url: string }} Outcome of one file */

const SMALLEST_PIECE = 64 * 1024;
const FIRST_PIECE = 1024 * 1024;
const LARGEST_PIECE = 8 * 1024 * 1024;
/** A piece should take about this long, so that little is lost when the connection breaks. */
const PIECE_SECONDS = 1;
const PIECE_TIMEOUT_SECONDS = 60;
const WHOLE_DIGEST_BYTES = 64 * 1024 * 1024;
const SAMPLE_BYTES = 1024 * 1024;
const MOST_RESTARTS = 5;
/** Refusals after which the server is asked again how much has arrived. */
const RESTART_CODES = new Set(["upload-unknown", "upload-offset", "upload-incomplete", "upload-damaged"]);

/** The file changed on disk, or cannot be read any more. */
export class FileError extends Error {}

/**
 * Send a file. A connection that breaks, an ended session and a busy server are waited for.
 *
 * @param {Link} link
 * @param {File} file
 * @param {object} options
 * @param {string} options.partsUrl
 * @param {URLSearchParams} options.details of a picture
 * @param {AbortSignal} options.signal cancels it
 * @param {(bytes: number) => void} options.onProgress
 * @param {() => void} options.onChecking everything is sent; it cannot be cancelled any more
 * @param {(url: string) => void} [options.onStart] gives the address of the upload, to discard it by
 * @returns {Promise<Outcome[]>} a ZIP has several
 */
export async function sendFile(link, file, { partsUrl, details, signal, onProgress, onChecking, onStart }) {
  const mark = await fingerprint(file);
  signal.throwIfAborted();
  const attempt = randomText();
  let restarts = 0;
  for (;;) {
    try {
      const url = await sendPieces(link, file, { partsUrl, mark: mark.text, signal, onProgress, onStart });
      onChecking();
      const body = new URLSearchParams(details);
      body.set("name", file.name);
      body.set("attempt", attempt);
      body.set("sha256", mark.sha256);
      const response = await link.request(`${url}store/`, { method: "POST", body });
      return await response.json();
    } catch (error) {
      const again = error instanceof RequestError && RESTART_CODES.has(error.code);
      restarts += 1;
      if (!again || restarts > MOST_RESTARTS) throw error;
    }
  }
}

/**
 * @param {Link} link
 * @param {File} file
 * @param {{ partsUrl: string, mark: string, signal: AbortSignal, onProgress: (bytes: number) => void, onStart?: (url: string) => void }} options
 * @returns {Promise<string>} the address of the complete upload
 */
async function sendPieces(link, file, { partsUrl, mark, signal, onProgress, onStart }) {
  let size = FIRST_PIECE;
  for (;;) {
    // The same fingerprint gives the same upload and how much of it has arrived, also after a reload of the page.
    const begun = await link.request(partsUrl, {
      method: "POST",
      headers: { ...tus, "Upload-Length": String(file.size), "Upload-Metadata": `fingerprint ${btoa(mark)}` },
      signal,
    });
    const url = begun.headers.get("Location") ?? "";
    let offset = Number(begun.headers.get("Upload-Offset"));
    onStart?.(url);
    onProgress(offset);
    try {
      while (offset < file.size) {
        const began = performance.now();
        const piece = await read(file.slice(offset, offset + size));
        const response = await link.request(url, {
          method: "PATCH",
          headers: { ...tus, "Upload-Offset": String(offset), "Content-Type": "application/offset+octet-stream" },
          body: piece,
          signal: AbortSignal.any([signal, AbortSignal.timeout(1000 * PIECE_TIMEOUT_SECONDS)]),
          attempts: 1,
        });
        offset = Number(response.headers.get("Upload-Offset"));
        onProgress(offset);
        if (performance.now() - began < 1000 * PIECE_SECONDS) size = Math.min(2 * size, LARGEST_PIECE);
      }
      return url;
    } catch (error) {
      signal.throwIfAborted();
      const isLost = error instanceof DOMException || (error instanceof RequestError && error.status === 0);
      if (!isLost) throw error;
      size = Math.max(size / 2, SMALLEST_PIECE);
    }
  }
}

const tus = { "Tus-Resumable": "1.0.0" };

/**
 * A text that is the same for files with the same content only. Large files are known by their ends; the end of a ZIP
 * holds the checksums of all its files.
 *
 * @param {File} file
 * @returns {Promise<{ text: string, sha256: string }>} without a secure connection, nothing can be continued later
 */
export async function fingerprint(file) {
  if (!globalThis.crypto?.subtle) return { text: randomText(), sha256: "" };
  if (file.size <= WHOLE_DIGEST_BYTES) {
    const sha256 = hex(await crypto.subtle.digest("SHA-256", await read(file)));
    return { text: `sha256:${sha256}`, sha256 };
  }
  const ends = new Blob([file.slice(0, SAMPLE_BYTES), file.slice(-SAMPLE_BYTES)]);
  const digest = hex(await crypto.subtle.digest("SHA-256", await read(ends)));
  return { text: `ends:${digest}:${file.lastModified}`, sha256: "" };
}

/** @param {Blob} blob */
async function read(blob) {
  let bytes;
  try {
    bytes = await blob.arrayBuffer();
  } catch {
    throw new FileError("unreadable");
  }
  if (bytes.byteLength !== blob.size) throw new FileError("changed");
  return bytes;
}

/** @param {ArrayBuffer} bytes */
function hex(bytes) {
  return [...new Uint8Array(bytes)].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}

function randomText() {
  return hex(crypto.getRandomValues(new Uint8Array(16)).buffer);
}
