// A trace of faults and events, one JSON object a line, for later replay. Buffered, so that a fault costs no write.
import { closeSync, openSync, writeSync } from "node:fs";
import type { Context } from "./context";

const BUFFER_CHARACTERS = 64 * 1024;

export class Trace {
  private readonly fd: number;
  private readonly startUs: number;
  private buffered = "";

  constructor(file: string, startUs: number) {
    this.fd = openSync(file, "w");
    this.startUs = startUs;
  }

  /** Times are microseconds from the start of the trace; pages are numbers; `detail` depends on `what`. */
  add(atUs: number, context: Context, what: string, page: number, pageCount: number, detail: number): void {
    const { imagePid, uffd, session } = context;
    const time = (atUs - this.startUs).toFixed(1);
    this.buffered += `{"us":${time},"session":${session.sessionId},"pid":${imagePid},"context":${uffd.id},"what":"${what}","page":${page},"pages":${pageCount},"detail":${Math.round(detail * 10) / 10}}\n`;
    if (this.buffered.length >= BUFFER_CHARACTERS) this.flush();
  }

  flush(): void {
    if (this.buffered.length > 0) writeSync(this.fd, this.buffered);
    this.buffered = "";
  }

  close(): void {
    this.flush();
    closeSync(this.fd);
  }
}
