// Pictures that the model's provider refused: left out of what it is asked next, since it would refuse them each time.

// What vendors, relays and local servers say of a picture that they or the model do not take.
const ABOUT_PICTURES = /\b(images?|image_url|input_image|pictures?|vision|multi-?modal|mmproj|media[_ ]type)\b/i;
const REFUSED = /\b(400|413|415|422)\b/;
const TOO_LONG = /context|too long|too many tokens|exceeds? the (maximum|limit)/i;
const REASON = 200;

/**
 * The messages without the pictures that were refused before; the same array where none were. A refusal is an answer
 * that says so, or a 4xx to the first request with a picture; it stays in the session, so a later process knows it too.
 */
export function withoutRefused(messages) {
  let doubted = new Set(); // pictures that no answer has followed yet
  const seen = new Set();
  const refused = new Map();
  for (const message of messages) {
    if (hasPicture(message)) doubted.add(message), seen.add(message);
    if (message.role !== "assistant" || message.stopReason === "aborted") continue;
    if (message.stopReason !== "error") doubted = new Set();
    else for (const one of guilty(message.errorMessage ?? "", doubted, seen)) refused.set(one, message.errorMessage);
  }
  if (refused.size === 0) return messages;
  return messages.map((message) => (refused.has(message) ? without(message, refused.get(message)) : message));
}

/** Whether the last answer refused pictures that were not refused before: then the agent can go on without them. */
export function newlyRefused(messages) {
  const last = messages.findLastIndex((message) => message.role === "assistant");
  if (messages[last]?.stopReason !== "error") return false;
  return left(withoutRefused(messages.slice(0, last))) > left(withoutRefused(messages.slice(0, last + 1)));
}

function guilty(error, doubted, seen) {
  if (ABOUT_PICTURES.test(error)) return seen;
  return REFUSED.test(error) && !TOO_LONG.test(error) ? doubted : [];
}

function left(messages) {
  return messages.filter(hasPicture).length;
}

function hasPicture({ role, content }) {
  return role !== "assistant" && Array.isArray(content) && content.some(({ type }) => type === "image");
}

function without(message, error) {
  const text = `[Left out: the model's provider refused this picture: ${error.slice(0, REASON)}]`;
  return { ...message, content: message.content.map((part) => (part.type === "image" ? { type: "text", text } : part)) };
}
