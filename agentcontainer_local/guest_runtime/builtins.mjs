// Builtins that an `import` loads at a price: it reads all their exports, and one of http's brings a whole client,
// undici. That would be 45 ms of processor time for each daemon and each finish, more than half of theirs.
export const http = process.getBuiltinModule("node:http");
export const util = process.getBuiltinModule("node:util");
