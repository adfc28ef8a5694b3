// What Pi's lines mean to the host: which are wanted, and which event each becomes.
import { tailOfFile } from "./printed.mjs";

const TEXT_LIMIT = 256 * 1024;
const INPUT_LIMIT = 64 * 1024;
const OUTPUT_LIMIT = 4 * 1024;
const TYPES = [
  "response", "message_update", "tool_execution_start", "tool_execution_update", "tool_execution_end", "agent_settled",
  "auto_retry_start", "compaction_end", "extension_error",
];
const WANTED = new RegExp(
  `^\\{("id":|"type":"(${TYPES.join("|")})"|"type":"message_end","message":\\{"role":"(assistant|user)")`,
);

/** Whether a line that begins so is needed. The rest (agent_end, turn_end…) may be megabytes each. */
export function wanted(prefix) {
  return WANTED.test(prefix);
}

/** The event for one of Pi's, or null. `delta` (words of an answer) and `tool_output` are live only. */
export function translate(line) {
  return MEANINGS[line.type]?.(line) ?? null;
}

/** The text of a message's content, which is a string or a list of parts. */
export function textOf(content) {
  if (typeof content === "string") return content;
  if (!Array.isArray(content)) return "";
  return content.filter((part) => part.type === "text").map((part) => part.text).join("");
}

/** At most `limit` bytes of `text`, from its beginning. */
export function head(text, limit) {
  const bytes = Buffer.from(text);
  return bytes.length <= limit ? text : bytes.toString("utf8", 0, limit).replace(/\uFFFD+$/, "");
}

/** At most `limit` bytes of `text`, from its end. */
export function tail(text, limit) {
  const bytes = Buffer.from(text);
  return bytes.length <= limit ? text : bytes.toString("utf8", bytes.length - limit).replace(/^\uFFFD+/, "");
}

const MEANINGS = {
  message_update({ assistantMessageEvent: update }) {
    return update?.type === "text_delta" && update.delta ? { type: "delta", text: update.delta } : null;
  },
  message_end({ message }) {
    return message.role === "assistant" ? assistantMessage(message) : null;
  },
  tool_execution_start({ toolCallId, toolName, args }) {
    const tooLarge = Buffer.byteLength(JSON.stringify(args ?? null)) > INPUT_LIMIT;
    const call = { callId: toolCallId, tool: toolName };
    if (tooLarge) return { type: "tool_started", ...call, input: null, inputOmittedReason: "too_large" };
    return { type: "tool_started", ...call, input: args ?? null, inputOmittedReason: null };
  },
  tool_execution_update({ toolCallId, partialResult }) {
    // Pi shows nothing of a line that is longer than what it keeps: the end of it is in the file.
    const shown = textOf(partialResult?.content) || tailOfFile(partialResult?.details?.fullOutputPath, OUTPUT_LIMIT)?.text;
    return shown ? { type: "tool_output", callId: toolCallId, text: asOnATerminal(tail(shown, OUTPUT_LIMIT)) } : null;
  },
  tool_execution_end({ toolCallId, toolName, result, isError }) {
    const call = { callId: toolCallId, tool: toolName, failed: Boolean(isError) };
    return { type: "tool_ended", ...call, output: tail(textOf(result?.content), OUTPUT_LIMIT) };
  },
  agent_settled({ aborted }) {
    return { type: "settled", aborted: Boolean(aborted) };
  },
  auto_retry_start({ attempt, delayMs, errorMessage }) {
    return { type: "retrying", attempt, delayMs, message: head(errorMessage ?? "", OUTPUT_LIMIT) };
  },
  compaction_end({ reason, result, aborted, errorMessage }) {
    const ok = Boolean(result) && !aborted;
    return { type: "compacted", reason, ok, ...(errorMessage && { message: head(errorMessage, OUTPUT_LIMIT) }) };
  },
  extension_error({ event, error }) {
    return { type: "extension_error", message: head(`${event}: ${error}`, OUTPUT_LIMIT) };
  },
};

/** A progress bar writes its line again and again, each time after a carriage return. */
function asOnATerminal(text) {
  return text.split("\n").map((line) => line.replace(/\r+$/, "").split("\r").at(-1)).join("\n");
}

function assistantMessage({ content, stopReason, errorMessage, model }) {
  const parts = Array.isArray(content) ? content : [];
  return {
    type: "message",
    text: head(textOf(content), TEXT_LIMIT),
    toolCalls: parts.filter((part) => part.type === "toolCall").map(({ id, name }) => ({ id, name })),
    stopReason,
    errorMessage: errorMessage ? head(errorMessage, OUTPUT_LIMIT) : null,
    model,
  };
}
