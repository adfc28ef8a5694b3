// Makes one script of Pi and our extension, which `node --build-snapshot` can run.
// Usage: node bundle.mjs ESBUILD ROOT OUT, where ROOT has pi/ and guest/, and stays where it is.
import { readFileSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname } from "node:path";
import { pathToFileURL } from "node:url";

const [esbuild, root, out] = process.argv.slice(2);
const require = createRequire(import.meta.url);
const { build } = require(esbuild);
const BUNDLE = `${root}/pi/dist/bundle`;
const EXTENSION = `${root}/guest/extension.mjs`;
// V8 cannot keep these builtins in a snapshot: they have native objects.
const LATE_BUILTINS = ["http", "http2", "https", "repl", "sqlite", "tls"];
// Pi imports these when they are needed, from their own files: most are large, and a task needs none of them to start.
const OUTSIDE = ["azure-", "cli-", "easter-egg", "google-", "jiti-", "lib-", "mistral-", "openai-codex", "virtual-modules"];
const CREATE_REQUIRE = /^import \{ createRequire as __piCreateRequire \} from "node:module"; const require = .*$/m;

// The extension is within, so Pi must not load it once more.
const ENTRY = `
  import extend from "${EXTENSION}";
  import { start as startPi } from "${BUNDLE}/cli-runtime.js";
  export function start(argv) {
    const at = argv.indexOf("${EXTENSION}");
    const others = at > 0 ? argv.toSpliced(at - 1, 2) : argv;
    return startPi(others, { extensionFactories: [{ name: "agentcontainer", factory: extend }] });
  }
`;

/** Each export of a builtin: its value where that is plain data, else null. */
function exportsOf(name) {
  const builtin = require(`node:${name}`);
  return Object.fromEntries(Object.entries(builtin).map(([key, value]) => [key, isData(value) ? value : null]));
}

function isData(value) {
  if (value === null || typeof value !== "object") return ["string", "number", "boolean"].includes(typeof value);
  const plain = [Array.prototype, Object.prototype, null].includes(Object.getPrototypeOf(value));
  const values = Object.values(value);
  return plain && values.length > 0 && values.every(isData);
}

/** A module's text, which must know its own path though it becomes a part of another file. */
function inPlace({ path }) {
  const text = path === `${BUNDLE}/cli-runtime.js` ? startingLater(path) : readFileSync(path, "utf8");
  const contents = text
    .replace(CREATE_REQUIRE, "")
    .replaceAll("import.meta.resolve(", "lateResolve(")
    .replaceAll("import.meta.url", JSON.stringify(pathToFileURL(path).href))
    .replaceAll("import.meta.dirname", JSON.stringify(dirname(path)))
    .replaceAll("import.meta.filename", JSON.stringify(path));
  return { contents, loader: "js" };
}

/** Pi's main module, which exports its start instead of starting at once. */
function startingLater(path) {
  const parts = readFileSync(path, "utf8").split("setupCli();main(process.argv.slice(2));");
  if (parts.length !== 2) throw new Error(`${path} does not start Pi as it did`);
  return parts.join("export function start(argv, options) { setupCli(); return main(argv, options); }");
}

const part = (name) => readFileSync(`${import.meta.dirname}/${name}`, "utf8");
const exported = JSON.stringify(Object.fromEntries(LATE_BUILTINS.map((name) => [name, exportsOf(name)])));
const { outputFiles } = await build({
  stdin: { contents: ENTRY, resolveDir: root },
  plugins: [{ name: "in-place", setup: ({ onLoad }) => onLoad({ filter: /\.m?js$/ }, inPlace) }],
  external: ["jiti", "@silvia-odwyer/photon-node", ...OUTSIDE.map((name) => `./${name}*`)],
  banner: { js: `const EXPORTS = ${exported};\n${part("late.cjs")}\nconst pi = (function (require, module) {` },
  footer: { js: `return module.exports; })(lateRequire, {});\n${part("start.cjs")}` },
  bundle: true,
  write: false,
  platform: "node",
  format: "cjs",
  target: "node24",
  supported: { "dynamic-import": false }, // a snapshot has no import(): it becomes a call of lateRequire
  minifyWhitespace: true,
  minifySyntax: true,
  legalComments: "none",
  charset: "ascii",
});
// V8 keeps a text with any other character in twice the memory. esbuild leaves those in regular expressions.
const escaped = (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, "0")}`;
writeFileSync(out, outputFiles[0].text.replace(/[^\x00-\x7f]/g, escaped));
