// The texts of the study page.
import { fill, gettext, ngettext } from "./texts.js";

/** @type {Record<string, string>} */
const presets = {
  file: gettext("As the file says"),
  full: gettext("All values of the format"),
  automatic: gettext("Automatic"),
  lungs: gettext("Lungs"),
  mediastinum: gettext("Mediastinum and bone"),
  contrast: gettext("More contrast"),
  range: gettext("All values of the film"),
};

/** @param {number} value */
const rounded = (value) => (Math.abs(value) < 10 ? value.toPrecision(2) : value.toFixed(0));

export const texts = {
  tryAgain: gettext("Try again."),
  otherUser: gettext("Another person has signed in in this browser. Copy your text, then reload the page."),

  /** @param {string} name */
  whereTheModelLooked: (name) => fill(gettext("Where the model looked for %(name)s"), { name }),
  /**
   * @param {string} name
   * @param {boolean} isLocalised
   * @param {boolean} isOutside
   */
  overlayOf: (name, isLocalised, isOutside) =>
    [
      fill(gettext("AI overlay: %(name)s"), { name }),
      ...(isLocalised ? [] : [gettext("location not validated")]),
      ...(isOutside ? [gettext("outside the lungs: unreliable")] : []),
    ].join(", "),
  /** @param {string} name */
  noMap: (name) => fill(gettext("%(name)s: far below its operating point, no map is shown"), { name }),
  /** @param {string} name */
  overlayShown: (name) => fill(gettext("AI overlay shown for %(name)s"), { name }),
  /** @param {string} name */
  overlayKept: (name) => fill(gettext("%(name)s stays while you look at others"), { name }),
  /** @param {string} name */
  overlayNotKept: (name) => fill(gettext("%(name)s no longer stays"), { name }),
  overlayHidden: gettext("AI overlay hidden"),
  overlayAbsent: gettext("There is no AI overlay for this film"),
  mapFailed: gettext("The map cannot be shown"),
  mapFailedHelp: gettext("The map cannot be shown. Reload the page; if it stays so, tell your administrator."),

  nothingToJudge: gettext("No finding of the AI is selected that you can agree or disagree with"),
  allHaveVerdicts: gettext("Every flagged finding has a verdict"),
  /** @param {number} count */
  agreedWithRest: (count) =>
    fill(ngettext("You agree with one more finding", "You agree with %(count)s more findings", count), { count }),
  /** @param {number} count */
  agreeWithRest: (count) =>
    fill(
      ngettext(
        "Agree with the flagged finding that has no verdict yet",
        "Agree with the %(number)s flagged findings that have no verdict yet",
        count,
      ),
      { number: count },
    ),
  /**
   * @param {string} name of the finding
   * @param {string} verdict
   */
  verdictOn: (name, verdict) => {
    const text =
      verdict === "agree"
        ? gettext("%(name)s: you agree")
        : verdict === "disagree"
          ? gettext("%(name)s: you disagree")
          : gettext("%(name)s: your verdict is withdrawn");
    return fill(text, { name });
  },
  /** @param {string} reason */
  verdictNotSaved: (reason) => fill(gettext("The verdict was not saved. %(reason)s"), { reason }),

  typing: gettext("Not saved yet"),
  saving: gettext("Saving"),
  /** @param {string} at a time of day */
  saved: (at) => fill(gettext("Saved %(time)s"), { time: at }),
  offline: gettext("Not saved: the server cannot be reached. Trying again; your text is kept here."),
  signedOut: gettext("Not saved: you were signed out. Sign in in another tab; your text is kept here."),
  restored: gettext("Your unsaved text is back"),
  conflict: gettext("Not saved: another text was saved meanwhile. Choose one below."),
  /** @param {string} reason */
  notSaved: (reason) => fill(gettext("Not saved. %(reason)s"), { reason }),
  /** @param {string} reason */
  notSigned: (reason) => fill(gettext("Not signed. %(reason)s"), { reason }),
  textFirst: gettext("Not signed: the text is not saved. See below the text."),
  impressionNeeded: gettext("Write an impression before you sign"),
  passwordNeeded: gettext("Enter your password to sign"),
  /** @param {string[]} names of findings */
  signingAgrees: (names) =>
    fill(gettext("Without your verdict: %(names)s. By signing you agree with the AI on this."), {
      names: names.join(", "),
    }),
  reportChanged: gettext("The report changed meanwhile: reload the page to see it. Your text is kept here."),

  /** @param {string} name */
  comparing: (name) => fill(gettext("%(name)s is shown beside the present film"), { name }),
  noPriors: gettext("There is no earlier study to compare with"),
  priorFailed: gettext("The earlier film cannot be shown"),
  reduced: gettext("Shown reduced: 8 bits, as the server renders it"),
  fullDepthLoading: gettext("Shown reduced; the full bit depth is loading"),
  sidesUnknown: gettext("Sides unknown"),
  undone: gettext("One step undone"),
  nothingToUndo: gettext("Nothing to undo"),
  /** @type {Record<string, string>} what a tool does, by its name */
  tools: {
    move: gettext("Drag to move the film"),
    window: gettext("Drag, or use the arrow keys: left and right change the contrast, up and down the brightness"),
    length: gettext(
      "Drag to measure. Keys: Enter begins a line, arrows move its end, Shift and arrows its beginning, Delete removes it",
    ),
    magnifier: gettext("Press and drag, or use the arrow keys, to look through the magnifier"),
  },
  /**
   * @param {number} level
   * @param {number} width
   */
  window: (level, width) =>
    fill(gettext("Level %(level)s, window %(width)s"), { level: rounded(level), width: rounded(width) }),
  ownWindow: gettext("Your own window"),
  /**
   * @param {string} name
   * @param {string} explanation of the file
   */
  preset: (name, explanation) => (explanation ? `${presets[name]}: ${explanation}` : presets[name]),
  /** @param {string} text */
  length: (text) => fill(gettext("Length: %(text)s"), { text }),
  /**
   * @param {number} value
   * @param {boolean} isCalibrated
   */
  millimetres: (value, isCalibrated) =>
    fill(isCalibrated ? gettext("%(length)s mm, calibrated") : gettext("%(length)s mm at the detector"), {
      length: value.toFixed(1),
    }),
  /** @param {number} pixels */
  uncalibrated: (pixels) => fill(gettext("%(length)s pixels, uncalibrated"), { length: pixels.toFixed(0) }),

  /** @param {string} box in pixels */
  boxDrawn: (box) => fill(gettext("Box on the film: %(box)s"), { box }),
  boxHelp: gettext("Arrow keys move the box, Shift and arrow keys resize it, Enter keeps it, Escape removes it"),
  boxRemoved: gettext("No box"),
  /** @param {string} reason */
  findingNotSaved: (reason) => fill(gettext("The finding was not saved. %(reason)s"), { reason }),
};
