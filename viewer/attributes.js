// Reads attributes from DICOM JSON (PS3.18 annex F).

/** @typedef {Record<string, { vr?: string, Value?: unknown[], BulkDataURI?: string, InlineBinary?: string }>} Attributes */

/**
 * The texts of an attribute; none where it is absent or empty.
 *
 * @param {Attributes} attributes
 * @param {string} tag eight hexadecimal digits
 */
export function texts(attributes, tag) {
  return (attributes[tag]?.Value ?? []).map((value) => String(value ?? "").trim());
}

/**
 * The numbers of an attribute; values that are none are left out.
 *
 * @param {Attributes} attributes
 * @param {string} tag
 */
export function numbers(attributes, tag) {
  return texts(attributes, tag)
    .filter((text) => text !== "")
    .map(Number)
    .filter((value) => Number.isFinite(value) && Math.abs(value) < 1e18);
}

/**
 * @param {Attributes} attributes
 * @param {string} tag
 * @param {number} otherwise
 */
export function number(attributes, tag, otherwise) {
  return numbers(attributes, tag)[0] ?? otherwise;
}

/**
 * The first item of a sequence; null where there is none.
 *
 * @param {Attributes} attributes
 * @param {string} tag
 */
export function firstItem(attributes, tag) {
  const [item] = attributes[tag]?.Value ?? [];
  return item && typeof item === "object" ? /** @type {Attributes} */ (item) : null;
}
