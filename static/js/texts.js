// How findings, probabilities and sizes are written for the user.

/**
 * @typedef {{ label: string, probability: number, threshold: number | null, positive: boolean, heatmap?: string | null }} Finding
 *   a finding as the API gives it
 */

/** @type {Record<string, string[]>} the texts of the page's language; none where it is English */
const translations = JSON.parse(document.getElementById("texts")?.textContent || "{}");

/**
 * A text in the page's language.
 *
 * @param {string} text in English; `make messages` collects it
 */
export function gettext(text) {
  return translations[text]?.[0] ?? text;
}

/**
 * One of two texts, by a number. The languages of the portal have one plural each.
 *
 * @param {string} one
 * @param {string} many
 * @param {number} count
 */
export function ngettext(one, many, count) {
  const [singular, plural] = translations[one] ?? [one, many];
  return count === 1 ? singular : plural;
}

/**
 * A text with its placeholders, such as `%(name)s`, filled.
 *
 * @param {string} text
 * @param {Record<string, string | number>} values
 */
export function fill(text, values) {
  return text.replace(/%\((\w+)\)s/g, (placeholder, name) => String(values[name] ?? placeholder)).replaceAll("%%", "%");
}

/**
 * A number with one decimal, as the page's language writes it.
 *
 * @param {number} value
 */
function decimal(value) {
  return value.toLocaleString(document.documentElement.lang || "en", {
    minimumFractionDigits: 1,
    maximumFractionDigits: 1,
    useGrouping: false,
  });
}

/**
 * "Pleural_Thickening" as people write it: "Pleural thickening".
 *
 * @param {string} label
 */
export function findingName(label) {
  if (translations[label]) return translations[label][0];
  const text = label.replaceAll("_", " ").toLowerCase();
  return text[0].toUpperCase() + text.slice(1);
}

/**
 * A probability as a percentage that never claims certainty.
 *
 * @param {number} value 0 to 1
 */
export function percent(value) {
  return `${decimal(Math.min(Math.max(100 * value, 0.1), 99.9))} %`;
}

/** @param {number} bytes */
export function fileSize(bytes) {
  return bytes < 1e6 ? `${Math.max(1, Math.round(bytes / 1e3))} kB` : `${decimal(bytes / 1e6)} MB`;
}

/**
 * What a version found in one film, in one line.
 *
 * @param {Finding[]} findings
 * @param {string} version
 */
export function verdict(findings, version) {
  const without = findings.filter((finding) => finding.threshold === null);
  if (without.length === findings.length) return fill(gettext("%(version)s has no operating points"), { version });
  const flagged = findings.filter((finding) => finding.positive).length;
  const reached = flagged
    ? fill(gettext("%(flagged)s of %(count)s findings reach their operating point"), {
        flagged,
        count: findings.length,
      })
    : gettext("No finding reaches its operating point");
  const names = without.map((finding) => findingName(finding.label)).join(", ");
  return names ? `${reached}; ${fill(gettext("no operating point: %(names)s"), { names })}` : reached;
}

/**
 * What a study's result is, in one line.
 *
 * @param {number | null} flagged findings; null for users who may not see them
 * @param {boolean} hasNoOperatingPoints
 */
export function reading(flagged, hasNoOperatingPoints) {
  if (flagged === null) return gettext("Read by AI");
  if (hasNoOperatingPoints) return gettext("Read by AI: the version has no operating points");
  if (!flagged) return gettext("Read by AI: no findings flagged");
  const text = ngettext("Read by AI: %(flagged)s finding flagged", "Read by AI: %(flagged)s findings flagged", flagged);
  return fill(text, { flagged });
}
