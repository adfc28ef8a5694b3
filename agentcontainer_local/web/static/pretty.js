// JSON with line ends and indents. Its words stay as they are: through a value and back, long numbers would change.

const TOKEN = /"(?:[^"\\]|\\.)*"|[{}[\],:]|[^\s{}[\],:"]+/g;
const DEEPEST = 40;

// Of a document, or of one in each line; null if it is neither.
export function pretty(text) {
  if (valid(text)) return indented(text);
  const lines = text.split("\n").filter((line) => line.trim());
  return lines.length > 1 && lines.every(valid) ? lines.map(indented).join("\n") : null;
}

function valid(text) {
  try {
    JSON.parse(text);
    return true;
  } catch {
    return false;
  }
}

function indented(text) {
  const tokens = text.match(TOKEN);
  const parts = [];
  let depth = 0;
  const line = () => parts.push("\n", "  ".repeat(Math.min(depth, DEEPEST)));
  tokens.forEach((token, at) => {
    const opens = token === "{" || token === "[";
    const closes = token === "}" || token === "]";
    const empty = closes && ["{", "["].includes(tokens[at - 1]);
    if (closes) depth -= 1;
    if (closes && !empty) line();
    parts.push(token === ":" ? ": " : token);
    if (opens) depth += 1;
    if (token === "," || (opens && !["}", "]"].includes(tokens[at + 1]))) line();
  });
  return parts.join("");
}
