// Signing out removes the texts that this tab has kept for the user.
import { forgetDrafts } from "./drafts.js";

document.addEventListener("submit", ({ target }) => {
  if (target instanceof HTMLFormElement && "signOut" in target.dataset) forgetDrafts();
});
