// What the demo says while it runs: a few aligned lines for each step, a bar on a terminal, plain lines elsewhere.
import type { WriteStream } from "node:tty";
import type { DemoEvent, DemoFacts, DemoStep } from "../../src/service/demo/demo";
import { drawTouched } from "./picture";
import { type Style, styleOf } from "./style";

const labelWidth = 9;
const barCells = 32;

export interface Story {
  readonly tell: (event: DemoEvent) => void;
  end(facts: DemoFacts): void;
  /** Leaves the terminal in order when the demo ends early. */
  breakOff(): void;
}

export function demoStory(stream: WriteStream, mebibytes: number): Story {
  const style = styleOf(stream);
  const waiting = waitingLines(mebibytes);
  let step: DemoStep = "server";
  const transient = (text: string): void => {
    if (style.live) stream.write(`\r\u001b[K${text}`);
  };
  const lines = (step: DemoStep, texts: readonly string[]): void => {
    transient("");
    texts.forEach((text, index) => {
      const label = (index === 0 ? labels[step] : "").padEnd(labelWidth);
      stream.write(text === "" ? "\n" : `${style.bold(label)}${text}\n`);
    });
  };
  stream.write(
    `${style.bold("A program full of data is frozen under load, and comes back before its memory does.")}\n\n`,
  );
  return {
    tell(event) {
      if (event.kind === "begin") {
        step = event.step;
        transient(`${style.bold(labels[step].padEnd(labelWidth))}${waiting[step]}`);
      } else if (event.kind === "done") {
        lines(event.step, factLines(event.facts, style));
      } else if (style.live) {
        transient(bar(event, style));
      } else if (step === "drain") {
        lines(step, [sharePresent(event).text]); // before the first answer they would stand above it
      }
    },
    end: (facts) => stream.write(`\n${closing(facts).join("\n")}\n`),
    breakOff: () => transient(""),
  };
}

const labels: Readonly<Record<DemoStep, string>> = {
  server: "server",
  load: "load",
  freeze: "freeze",
  restore: "restore",
  drain: "pages",
  check: "check",
};

function waitingLines(mebibytes: number): Readonly<Record<DemoStep, string>> {
  return {
    server: `a Node HTTP server makes ${mebibytes} MiB of documents ...`,
    load: "clients ask ...",
    freeze: "stopping it, copying it out, packing, writing ...",
    restore: "making it again ...",
    drain: "",
    check: "comparing every document ...",
  };
}

type PagesEvent = Extract<DemoEvent, { readonly kind: "pages" }>;

function sharePresent({ missingPages, totalPages }: PagesEvent): { readonly share: number; readonly text: string } {
  const share = totalPages === 0 ? 1 : 1 - missingPages / totalPages;
  const text = `${(share * 100).toFixed(0).padStart(3)} % of ${mebibytesOf(totalPages * 4096)} back in memory`;
  return { share, text };
}

function bar(event: PagesEvent, style: Style): string {
  const { share, text } = sharePresent(event);
  const full = Math.round(share * barCells);
  const [done, open] = style.unicode ? ["█", "░"] : ["#", "."];
  return `${style.bold(labels.drain.padEnd(labelWidth))}${done.repeat(full)}${open.repeat(barCells - full)} ${text}`;
}

const thousands = (count: number): string => String(Math.round(count)).replace(/\B(?=(\d{3})+$)/g, " ");
const mebibytesOf = (bytes: number): string => `${(bytes / 2 ** 20).toFixed(1)} MiB`;
const time = (ms: number): string => (ms < 1000 ? `${ms.toFixed(1)} ms` : `${(ms / 1000).toFixed(2)} s`);
const counted = (count: number, noun: string): string => `${thousands(count)} ${noun}${count === 1 ? "" : "s"}`;

function factLines({ server, load, freeze, restore, drain, check }: Partial<DemoFacts>, style: Style): string[] {
  if (server !== undefined) {
    return [
      `pid ${server.pid}, a Node HTTP server with ${thousands(server.documents)} JSON documents in memory`,
      `${mebibytesOf(server.dataBytes)}, made in ${time(server.buildMs)}`,
    ];
  }
  if (load !== undefined) {
    return [
      `${load.clients} clients, ${thousands(load.answersPerSecond)} answers a second, each by a new connection, all checked`,
    ];
  }
  if (freeze !== undefined) return freezeLines(freeze, style);
  if (restore !== undefined) {
    return [
      `first instruction after ${style.bold(time(restore.firstInstructionMs))}, with ${thousands(restore.eagerPages)} of ` +
        `${thousands(restore.eagerPages + restore.missingPages)} pages in memory`,
      `first right answer after ${style.bold(time(restore.firstAnswerMs))}`,
    ];
  }
  if (drain !== undefined) return drainLines(drain, style);
  return check === undefined ? [] : checkLines(check, style);
}

function freezeLines(freeze: DemoFacts["freeze"], style: Style): string[] {
  const share = ((freeze.packedBytes / freeze.rawBytes) * 100).toFixed(0);
  const broken = freeze.brokenRequests;
  return [
    `stood still for ${style.bold(time(freeze.frozenMs))} while ${counted(freeze.threads, "thread")} stopped and ` +
      `${thousands(freeze.pages)} pages were copied out`,
    `${mebibytesOf(freeze.rawBytes)} raw, ${style.bold(mebibytesOf(freeze.packedBytes))} packed (${share} %), ` +
      `packed and written in ${time(freeze.writeMs)}`,
    broken === 0
      ? "the process is gone; no request was in flight"
      : `the process is gone; ${counted(broken, "request")} in flight broke off, the clients keep asking`,
  ];
}

function drainLines(drain: DemoFacts["drain"], style: Style): string[] {
  return [
    `all in after ${time(drain.elapsedMs)}: ${thousands(drain.demandPages)} because they were touched, ` +
      `${thousands(drain.backgroundPages)} in the background`,
    `${counted(drain.faults, "page fault")}, ${thousands(drain.faultsBeforeAnswer)} before the first answer; ` +
      `half were answered within ${thousands(drain.faultP50Us)} ${style.unicode ? "µs" : "us"}`,
    "",
    ...drawTouched(drain.touched, style),
    "",
  ];
}

function checkLines(check: DemoFacts["check"], style: Style): string[] {
  const good = (text: string): string => style.color(text, 77);
  const bad = (text: string): string => style.color(text, 196);
  return [
    check.digestRight
      ? `${good("every document is as it was")}: SHA-256 ${check.digest.slice(0, 16)}... before and after`
      : bad("the documents are NOT as they were: please report this"),
    `${thousands(check.answeredAfter)} answers since, ${check.wrongAnswers === 0 ? "none" : bad(String(check.wrongAnswers))} wrong; ` +
      `no request was lost, the longest waited ${time(check.slowestAnswerMs)}`,
    check.sameProcess ? "same pid, same start time, and it counts on where it was" : bad("it is NOT the same process"),
  ];
}

function closing({ images, server }: DemoFacts): string[] {
  const folder = images ?? "/var/tmp/frozen";
  const commands: [string, string][] = [
    [`npx faultline inspect report ${folder} -o report.html`, "a page about it for the browser"],
    [`npx faultline verify ${folder}`, "check every byte of it"],
  ];
  if (images === undefined) commands.unshift([`npx faultline demo --keep ${folder}`, "keep the images, then"]);
  else {
    commands.push([`npx faultline restore -D ${folder} --tcp-close`, "bring it back again, until Ctrl-C; meanwhile"]);
    commands.push([`curl http://127.0.0.1:${server.port}/document/1`, "ask it, from another terminal"]);
  }
  commands.push(["npx faultline dump -t PID -D DIR", "freeze a program of your own"]);
  commands.push(["npx faultline restore -D DIR", "and bring it back"]);
  const width = Math.max(...commands.map(([command]) => command.length));
  const first =
    images === undefined
      ? "All of it is gone again: processes, sockets, files. To go on:"
      : `Kept: ${images}. To go on:`;
  return [first, ...commands.map(([command, what]) => `  ${command.padEnd(width)}  ${what}`)];
}
