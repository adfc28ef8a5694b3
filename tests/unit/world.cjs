// Put before a script, this names on stderr what the script learns of the machine, the moment and the environment.
for (const name of ["node:child_process", "node:crypto", "node:dns", "node:fs", "node:fs/promises", "node:net", "node:os", "node:tty"]) {
  watchAll(require(name), name.replace("node:", ""));
}
for (const name of ["cwd", "hrtime", "memoryUsage", "uptime"]) watch(process, name, "process");
for (const name of ["getRandomValues", "randomUUID"]) watch(Object.getPrototypeOf(globalThis.crypto), name, "globalThis.crypto");
watch(Math, "random", "Math");
watch(performance, "now", "performance");
globalThis.Date = new Proxy(Date, {
  construct: (target, args) => (args.length || say("new Date()"), new target(...args)),
  get: (target, key) => (key === "now" && say("Date.now"), target[key]),
});
const env = process.env;
process.env = new Proxy(env, {
  get: (target, name) => (say(`env ${String(name)}`), target[name]),
  has: (target, name) => (say(`env ${String(name)}`), name in target),
  ownKeys: (target) => (say("env, all of it"), Reflect.ownKeys(target)),
});

function watchAll(object, where) {
  for (const [name, value] of Object.entries(object)) {
    if (typeof value === "function" && /^[a-z]/.test(name)) watch(object, name, where);
  }
}

function watch(object, name, where) {
  const real = object[name];
  object[name] = function (...args) {
    say(`${where}.${name}`);
    return Reflect.apply(real, this, args);
  };
  for (const key of Reflect.ownKeys(real)) {
    if (!["length", "name", "prototype"].includes(key)) Object.defineProperty(object[name], key, Object.getOwnPropertyDescriptor(real, key));
  }
}

function say(what) {
  process._rawDebug(`WORLD ${what}`);
}
