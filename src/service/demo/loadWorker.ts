// The clients of the demo, in a thread of their own so that they go on while the main thread freezes the server. Each
// asks for one document after the other, every time by a new connection, and checks the answer. A request whose connection
// breaks is asked again until it is answered: nothing is given up.
import { parentPort, workerData } from "node:worker_threads";
import { documentText } from "./documents";
import { ask } from "./serverProcess";

export interface LoadOptions {
  readonly port: number;
  readonly documents: number;
  readonly clients: number;
}

export interface LoadCounts {
  readonly answered: number;
  /** Answers that were not the document asked for. */
  readonly wrong: number;
  /** Requests whose connection broke after it was made, and that were asked again. */
  readonly broken: number;
  /** The longest that one request waited for its answer, over all its attempts, milliseconds. */
  readonly slowestMs: number;
  /** The first right answer to an attempt that began after `watch`, on process.hrtime's clock, nanoseconds. */
  readonly firstAnswerNs: bigint | undefined;
}

export type LoadCommand = "watch" | "counts" | "stop";

/** With eight clients about one attempt a millisecond: enough to see the first answer, little enough not to slow it. */
const retryMs = 10;
/** Three of four requests are for the first twentieth of the documents: real ones are not asked for evenly. */
const popularShare = 0.05;
const popularChance = 0.75;

const port = parentPort!;
const { clients, documents, port: serverPort } = workerData as LoadOptions;
let stopped = false;
let answered = 0;
let wrong = 0;
let broken = 0;
let slowestMs = 0;
let watchedFromNs: bigint | undefined;
let firstAnswerNs: bigint | undefined;

const pause = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

function choose(): number {
  const range = Math.random() < popularChance ? documents * popularShare : documents;
  return Math.floor(Math.random() * range);
}

/** A refused connection was never made; any other error is a connection that broke. */
function wasConnected(error: unknown): boolean {
  return (error as NodeJS.ErrnoException).code !== "ECONNREFUSED";
}

async function answerTo(id: number): Promise<string> {
  for (let first = true; !stopped; first = false) {
    try {
      return (await ask(serverPort, `/document/${id}`)).body;
    } catch (error) {
      if (first && wasConnected(error)) broken++;
      await pause(retryMs);
    }
  }
  return documentText(id);
}

async function client(): Promise<void> {
  while (!stopped) {
    const id = choose();
    const expected = documentText(id);
    const fromMs = performance.now();
    const right = (await answerTo(id)) === expected;
    if (stopped) return;
    slowestMs = Math.max(slowestMs, performance.now() - fromMs);
    answered++;
    if (!right) wrong++;
    else if (watchedFromNs !== undefined) firstAnswerNs ??= process.hrtime.bigint();
  }
}

port.on("message", (command: LoadCommand) => {
  if (command === "watch") watchedFromNs = process.hrtime.bigint();
  if (command === "stop") stopped = true;
  const counts: LoadCounts = { answered, wrong, broken, slowestMs, firstAnswerNs };
  port.postMessage(counts);
});

for (let i = 0; i < clients; i++) void client();
