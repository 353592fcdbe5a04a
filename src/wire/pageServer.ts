// The page server: takes the pages of one `criu dump --page-server` (or pre-dump) into an image directory. One connection, as
// CRIU's. Framing and timeouts; the files are receivedPages.ts. Not for serving pages: see lazyDaemon.ts.
import { existsSync } from "node:fs";
import { createServer, type Server, type Socket } from "node:net";
import { FaultlineError } from "../errors";
import { PageFlag } from "../images/pagemap";
import { PAGE_BYTES } from "../limits";
import {
  decodeHeader,
  headerBytes,
  LONG_HEADER_BYTES,
  PageCommand,
  type PageHeader,
  pagemapName,
  SHORT_HEADER_BYTES,
} from "./pageProtocol";
import { ReceivedPages } from "./receivedPages";

export interface PageServerOptions {
  readonly imagesDir: string;
  readonly address: string;
  /** 0: the kernel chooses. */
  readonly port: number;
  /** Longest wait for the connection and for what the peer sends next, milliseconds; Infinity: for ever. */
  readonly timeoutMs: number;
}

export interface PageServerResult {
  readonly objects: number;
  readonly pages: number;
}

/** What arrives, cut to the lengths that are asked for. */
class Incoming {
  private readonly chunks: AsyncIterator<Buffer>;
  private rest: Buffer = Buffer.alloc(0);

  constructor(socket: Socket) {
    this.chunks = socket[Symbol.asyncIterator]() as AsyncIterator<Buffer>;
  }

  /** Between 1 and `most` bytes; none where the peer has ended. */
  async some(most: number): Promise<Buffer | undefined> {
    if (this.rest.length === 0) {
      const next = await this.chunks.next();
      if (next.done === true) return undefined;
      this.rest = next.value;
    }
    const taken = this.rest.subarray(0, most);
    this.rest = this.rest.subarray(taken.length);
    return taken;
  }

  /** Exactly so many bytes; undefined where the peer ended before the first. Throws PEER where it ended within. */
  async exactly(length: number): Promise<Buffer | undefined> {
    const parts: Buffer[] = [];
    for (let got = 0; got < length; ) {
      const part = await this.some(length - got);
      if (part === undefined && got === 0) return undefined;
      if (part === undefined) throw hungUp();
      parts.push(part);
      got += part.length;
    }
    return Buffer.concat(parts);
  }
}

function hungUp(): FaultlineError {
  return new FaultlineError("PEER", "the peer hung up before it had sent all pages", {
    advice: "see the log of `criu dump`",
  });
}

class Conversation {
  private readonly incoming: Incoming;
  private length = 0;

  constructor(
    private readonly socket: Socket,
    private readonly pages: ReceivedPages,
  ) {
    this.incoming = new Incoming(socket);
  }

  /** Until the peer has closed the last object and hung up. */
  async receive(): Promise<void> {
    for (;;) {
      const header = await this.header();
      if (header === undefined) throw hungUp();
      if (header.command === PageCommand.Close || header.command === PageCommand.ForceClose) break;
      await this.execute(header);
    }
    this.pages.commit();
    this.socket.write(Buffer.alloc(4));
    if ((await this.incoming.some(1)) !== undefined) {
      throw new FaultlineError("PEER", "the peer went on after it had said that it was done");
    }
  }

  private async header(): Promise<PageHeader | undefined> {
    if (this.length > 0) {
      const bytes = await this.incoming.exactly(this.length);
      return bytes === undefined ? undefined : decodeHeader(bytes);
    }
    const first = await this.incoming.exactly(SHORT_HEADER_BYTES);
    if (first === undefined) return undefined;
    this.length = headerBytes(first);
    if (this.length === SHORT_HEADER_BYTES) return decodeHeader(first);
    const rest = await this.incoming.exactly(LONG_HEADER_BYTES - SHORT_HEADER_BYTES);
    if (rest === undefined) throw hungUp();
    return decodeHeader(Buffer.concat([first, rest]));
  }

  private async execute(header: PageHeader): Promise<void> {
    const { command, page, pageCount, destination } = header;
    switch (command) {
      case PageCommand.Open:
      case PageCommand.Open2: {
        const name = pagemapName(destination);
        this.pages.begin(name);
        if (command === PageCommand.Open2) this.socket.write(Buffer.of(this.pages.parentHas(name) ? 1 : 0));
        return;
      }
      case PageCommand.Parent: {
        const answer = Buffer.alloc(4);
        answer.writeInt32LE(this.pages.parentHas(pagemapName(destination)) ? 1 : 0);
        this.socket.write(answer);
        return;
      }
      case PageCommand.Add:
        return this.add(page, pageCount, PageFlag.Present);
      case PageCommand.Hole:
        return this.add(page, pageCount, PageFlag.Parent);
      case PageCommand.AddFlags:
        return this.add(page, pageCount, header.flags);
      default:
        throw new FaultlineError("PEER", `the peer sent command ${command}, which is none that a page server takes`);
    }
  }

  private async add(page: number, pageCount: number, flags: number): Promise<void> {
    this.pages.run(page, pageCount, flags);
    if ((flags & PageFlag.Present) === 0) return;
    for (let left = pageCount * PAGE_BYTES; left > 0; ) {
      const bytes = await this.incoming.some(left);
      if (bytes === undefined) throw hungUp();
      this.pages.write(bytes);
      left -= bytes.length;
    }
  }
}

export class PageServer {
  private constructor(
    private readonly options: PageServerOptions,
    private readonly server: Server,
    private readonly connected: Promise<Socket>,
    readonly port: number,
  ) {}

  /** Listens when it resolves. Throws BUSY where the address is taken, SYSTEM where it cannot be had. */
  static start(options: PageServerOptions): Promise<PageServer> {
    const { imagesDir } = options;
    if (!existsSync(imagesDir)) {
      return Promise.reject(new FaultlineError("NOT_FOUND", "the image directory does not exist", { file: imagesDir }));
    }
    const server = createServer();
    // One dump: whoever comes next is refused by the kernel.
    const connected = new Promise<Socket>((resolve) => {
      server.once("connection", (socket) => {
        server.close();
        resolve(socket);
      });
    });
    return new Promise((resolve, reject) => {
      server.once("error", (cause: NodeJS.ErrnoException) => {
        const code = cause.code === "EADDRINUSE" ? "BUSY" : "SYSTEM";
        const where = `${options.address}:${options.port}`;
        reject(new FaultlineError(code, `cannot listen at ${where}`, { cause, advice: "choose another --port" }));
      });
      server.listen(options.port, options.address, () => {
        const address = server.address();
        const port = address !== null && typeof address === "object" ? address.port : options.port;
        resolve(new PageServer(options, server, connected, port));
      });
    });
  }

  /** Takes one dump's pages. Throws PEER or TIMEOUT, and then leaves no file. */
  async serve(): Promise<PageServerResult> {
    const pages = new ReceivedPages(this.options.imagesDir);
    const socket = await this.firstConnection();
    try {
      if (this.options.timeoutMs !== Number.POSITIVE_INFINITY) {
        socket.setTimeout(this.options.timeoutMs, () => socket.destroy(this.late("the peer was silent")));
      }
      socket.setNoDelay(true);
      await new Conversation(socket, pages).receive();
      return { objects: pages.objects, pages: pages.pages };
    } catch (error) {
      pages.abandon();
      throw error instanceof Error && "syscall" in error ? lost(error) : error;
    } finally {
      socket.destroy();
    }
  }

  private async firstConnection(): Promise<Socket> {
    const { timeoutMs } = this.options;
    if (timeoutMs === Number.POSITIVE_INFINITY) return this.connected;
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<never>((_, reject) => {
      timer = setTimeout(() => reject(this.late("no dump connected")), timeoutMs);
    });
    try {
      return await Promise.race([this.connected, late]);
    } catch (error) {
      this.server.close();
      throw error;
    } finally {
      clearTimeout(timer);
    }
  }

  private late(what: string): FaultlineError {
    return new FaultlineError("TIMEOUT", `${what} for ${this.options.timeoutMs / 1000} s`, {
      advice: "start `criu dump --page-server` with this address and port, or raise --timeout",
    });
  }
}

/** A reset connection is the peer's doing; a disk that is full is not. */
function lost(error: Error): Error {
  const { syscall, code } = error as NodeJS.ErrnoException;
  if (syscall === "read" || syscall === "write") {
    if (code === "ECONNRESET" || code === "EPIPE") return hungUp();
  }
  return new FaultlineError("SYSTEM", "the received pages cannot be kept", { cause: error, syscall });
}
