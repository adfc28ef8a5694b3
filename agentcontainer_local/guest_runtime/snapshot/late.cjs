// The beginning of the snapshot's script. What V8 cannot keep in a snapshot is made late: when Pi, started from it, uses
// it for the first time. A use during the build is an error, and then the runtime has no snapshot.
const builtin = require;
const { Segmenter } = Intl;
const signalListeners = [];
let building = true;
let outside; // loads files, once Pi is started

/** Stands for the result of `make()`. */
function late(name, make) {
  let it;
  const made = () => {
    if (building) throw new Error(`${name} was used while the snapshot was built`);
    return (it ??= make());
  };
  const traps = Object.getOwnPropertyNames(Reflect).map((trap) => [trap, (_, ...rest) => Reflect[trap](made(), ...rest)]);
  return new Proxy(function () {}.bind(), Object.fromEntries(traps)); // callable, and without a prototype of its own
}

function lateModule(name) {
  const load = () => builtin(`node:${name}`);
  const module = {};
  for (const [key, constant] of Object.entries(EXPORTS[name])) {
    const early = constant ?? late(`${name}.${key}`, () => load()[key]);
    Object.defineProperty(module, key, { enumerable: true, get: () => (building ? early : load()[key]) });
  }
  return module;
}

/** In the place of `require` and `import()`. */
function lateRequire(specifier) {
  const name = String(specifier).replace(/^node:/, "");
  if (building) return EXPORTS[name] ? lateModule(name) : builtin(`node:${name}`);
  return outside(name.startsWith("file:") ? builtin("node:url").fileURLToPath(name) : String(specifier));
}

/** In the place of `import.meta.resolve`. */
function lateResolve(specifier) {
  return builtin("node:url").pathToFileURL(outside.resolve(specifier)).href;
}

Intl.Segmenter = function (...args) {
  if (!building) return new Segmenter(...args);
  return late("Intl.Segmenter", () => {
    const it = new Segmenter(...args);
    return { segment: (text) => it.segment(text), resolvedOptions: () => it.resolvedOptions() };
  });
};

process.on = function (event, listener) {
  if (!/^SIG/.test(event)) return Object.getPrototypeOf(process).on.call(process, event, listener);
  signalListeners.push([event, listener]);
  return process;
};
