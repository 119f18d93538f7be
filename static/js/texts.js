// How findings, probabilities and sizes are written for the user.

/**
 * @typedef {{ label: string, probability: number, threshold: number | null, positive: boolean, heatmap?: string | null }} Finding
 *   a finding as the API gives it
 */

/**
 * "Pleural_Thickening" as people write it: "Pleural thickening".
 *
 * @param {string} label
 */
export function findingName(label) {
  const text = label.replaceAll("_", " ").toLowerCase();
  return text[0].toUpperCase() + text.slice(1);
}

/**
 * A probability as a percentage that never claims certainty.
 *
 * @param {number} value 0 to 1
 */
export function percent(value) {
  return `${Math.min(Math.max(100 * value, 0.1), 99.9).toFixed(1)} %`;
}

/** @param {number} bytes */
export function fileSize(bytes) {
  return bytes < 1e6 ? `${Math.max(1, Math.round(bytes / 1e3))} kB` : `${(bytes / 1e6).toFixed(1)} MB`;
}

/**
 * What a version found in one film, in one line.
 *
 * @param {Finding[]} findings
 * @param {string} version
 */
export function verdict(findings, version) {
  const without = findings.filter((finding) => finding.threshold === null);
  if (without.length === findings.length) return `${version} has no operating points`;
  const flagged = findings.filter((finding) => finding.positive).length;
  const reached = flagged
    ? `${flagged} of ${findings.length} findings reach their operating point`
    : "No finding reaches its operating point";
  const names = without.map((finding) => findingName(finding.label)).join(", ");
  return names ? `${reached}; no operating point: ${names}` : reached;
}

/**
 * What a study's result is, in one line.
 *
 * @param {number | null} flagged findings; null for users who may not see them
 * @param {boolean} hasNoOperatingPoints
 */
export function reading(flagged, hasNoOperatingPoints) {
  if (flagged === null) return "Read by AI";
  if (hasNoOperatingPoints) return "Read by AI: the version has no operating points";
  return `Read by AI: ${flagged || "no"} finding${flagged === 1 ? "" : "s"} flagged`;
}
