// Builds the viewer into build/viewer, which Django serves as static files below viewer/. `make viewer` runs it.
import { fileURLToPath } from "node:url";

const here = fileURLToPath(new URL(".", import.meta.url));

export default {
  root: here,
  // All addresses are relative to the bundle, so that STATIC_URL may be anything.
  base: "./",
  publicDir: false,
  logLevel: "warn",
  // vtk.js uses Node's events; without the package of that name the bundle fails at its start.
  resolve: { alias: { events: "events/" } },
  worker: { format: "es" },
  build: {
    outDir: "../build/viewer",
    emptyOutDir: true,
    target: "es2022",
    manifest: "manifest.json",
    // The content policy allows no data: scripts, and an inlined codec would be one.
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    chunkSizeWarningLimit: 5000,
    rollupOptions: { input: fileURLToPath(new URL("index.js", import.meta.url)), preserveEntrySignatures: "strict" },
  },
};
