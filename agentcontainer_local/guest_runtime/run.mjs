// One run of a container, from Pi's start to its end: puts the parts together.
import { setTimeout as sleep } from "node:timers/promises";
import { Actions } from "./actions.mjs";
import { followCommands } from "./commands.mjs";
import { openEgress } from "./egress.mjs";
import { Events } from "./events.mjs";
import { openGateway } from "./gateway.mjs";
import { VIRTUAL_PROVIDER, writeFiles } from "./launch.mjs";
import { Output } from "./output.mjs";
import { Pi, PiGone } from "./pi.mjs";
import { Prompts } from "./prompts.mjs";
import { OUTPUT_PATH, REPORTED_PATH } from "./paths.mjs";
import { DryRun } from "./dry_run.mjs";
import { translate } from "./translation.mjs";

const READY_MS = 120_000;
const PI_GRACE_MS = 3_000;
const FLUSH_MS = 2_000;
const KILLED_MS = 1_500;

/** The machine may have been busy: a new start may be in time. */
class Late extends Error {}

/** Lives as long as the run does; resolves with the daemon's exit code. */
export async function run(launch, child) {
  let finish;
  const over = new Promise((resolve) => (finish = resolve));
  const parts = assemble(launch, child, finish);
  const { pi, events, prompts, dryRun } = parts;
  let hurried = false;
  let waits = Boolean(launch.waiting);
  process.on("SIGTERM", () => {
    hurried = true;
    finish("stop");
  });
  process.on("uncaughtException", (error) => {
    console.error(error);
    events.push({ type: "pi_failed", message: `The guest daemon failed: ${error.message}` });
    finish("failed");
  });

  void events.pump();
  const { gatewayPort, egressPort } = launch;
  const own = {
    [OUTPUT_PATH]: () => parts.output.tell(pi, events),
    [REPORTED_PATH]: () => parts.output.tellReported(pi, events),
  };
  const listening = Promise.all([openGateway(gatewayPort, own, dryRun), egressPort && openEgress(egressPort)]);
  const ready = listening.then(() => becomeReady(pi, launch)).then(async (state) => {
    if (state.messageCount > 0) await prompts.recall(state.sessionFile);
    if (dryRun) await dryRun.play(pi);
    events.push({ type: "ready", model: launch.model, messageCount: state.messageCount });
  });
  const failed = (error) => {
    if (error instanceof PiGone) return; // pi_exited says more
    events.push({ type: "pi_failed", message: error.message, late: error instanceof Late });
    finish("failed");
  };
  ready.catch(failed);
  const takeOver = (given) => {
    waits = false;
    return ready.then(() => handOver(pi, given)).catch(failed);
  };
  const actions = new Actions({ ...parts, ready, takeOver, stop: () => finish("stop") });
  void followCommands((command) => actions.begin(command), () => waits);
  void pi.ended.then((end) => finish(end));
  return leave(await over, pi, events, () => !hurried);
}

/** Pi is not even started. */
export async function fail(message) {
  const events = new Events();
  void events.pump();
  events.push({ type: "pi_failed", message });
  await events.flush(FLUSH_MS, () => true);
  return 1;
}

function assemble(launch, child, finish) {
  const prompts = new Prompts();
  const output = new Output();
  const dryRun = launch.waiting ? new DryRun() : null;
  const parts = { prompts, output, dryRun };
  parts.events = new Events({
    onFull: () => parts.pi.pause(),
    onRoom: () => parts.pi.resume(),
    onOver: () => finish("over"),
  });
  parts.pi = new Pi(child, (line) => {
    if (dryRun?.on) return dryRun.heard(line);
    if (line.type === "message_end" && line.message.role === "user") prompts.heard();
    const event = translate(line);
    output.note(event);
    if (event?.type === "delta") parts.events.delta(event.text);
    else if (event?.type === "tool_output") parts.events.live(event.callId, event);
    else if (event) parts.events.push(event);
  });
  return parts;
}

/** Pi's state once it answers and has exactly the model that was asked for: its own search for a model is fuzzy. */
async function becomeReady(pi, launch) {
  const readyMs = launch.readyMs ?? READY_MS;
  const late = sleep(readyMs, null, { ref: false });
  const answer = await Promise.race([pi.ask({ type: "get_state" }), late]);
  if (!answer) throw new Late(`Pi did not answer within ${readyMs / 1000} s.`);
  if (!answer.success) throw new Error(answer.error);
  const { model, env } = launch;
  const weak = env?.AC_WEAK_MODEL;
  const found = answer.data.model ?? { provider: "none", id: "none" };
  const wanted = { provider: weak ? VIRTUAL_PROVIDER : model.provider, id: model.id };
  if (!same(found, wanted)) throw new Error(`Pi chose ${name(found)} instead of ${name(wanted)}.`);
  if (weak) await demand([model, { provider: model.provider, id: weak }], pi);
  return answer.data;
}

/** Makes a Pi that has waited the task's. A new start of the container would do the same by launch.json. */
async function handOver(pi, launch) {
  writeFiles(launch);
  const { provider, id } = launch.env?.AC_WEAK_MODEL ? { ...launch.model, provider: VIRTUAL_PROVIDER } : launch.model;
  const { success, error } = await pi.ask({ type: "set_model", provider, modelId: id });
  if (!success) throw new Late(`Pi could not be given its task: ${error}`);
}

/** A virtual model is found whatever it leads to, so look at what it leads to. */
async function demand(models, pi) {
  const { data } = await pi.ask({ type: "get_available_models" });
  const missing = models.find((model) => !data.models.some((known) => same(known, model)));
  if (missing) throw new Error(`Pi has no model ${name(missing)}.`);
}

function same(a, b) {
  return a.provider === b.provider && a.id === b.id;
}

function name({ provider, id }) {
  return `${provider}/${id}`;
}

/** `why`: "stop" (the host or a signal), "over" (the host ended the run), "failed", or how Pi ended. */
async function leave(why, pi, events, patient) {
  if (why === "over") {
    pi.kill();
    return 0;
  }
  if (why === "stop") {
    await pi.end(PI_GRACE_MS);
    await events.flush(FLUSH_MS);
    return 0;
  }
  if (why === "failed") pi.kill();
  else events.push({ type: "pi_exited", ...why });
  await events.flush(FLUSH_MS, patient); // else a host that is away now would never know how it went
  // The kernel may have ended it for memory. It counts that in this container's cgroup, where the host looks once a second.
  if (why.signal === "SIGKILL") await sleep(KILLED_MS);
  return 1;
}
