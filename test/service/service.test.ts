// The service as its users see it: the real process, asked over its socket, every answer held to docs/openapi.json.
import assert from "node:assert/strict";
import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import { chmodSync, existsSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { type IncomingMessage, request } from "node:http";
import { join } from "node:path";
import { test } from "node:test";
import Ajv2020 from "ajv/dist/2020";
import { workingSetName } from "../../src/images/workingSet";
import { criuDump } from "../support/criu";
import { type Program, repositoryRoot, withProgram } from "../support/program";
import { type TempDir, withTempDir } from "../support/tempdir";
import { waitFor } from "../support/wait";

interface Operation {
  readonly operationId: string;
  readonly responses: Record<string, { $ref?: string; content?: Record<string, { schema: object }> }>;
}

const contract = JSON.parse(readFileSync(join(repositoryRoot, "docs", "openapi.json"), "utf8")) as {
  paths: Record<string, Record<string, Operation>>;
  components: { schemas: Record<string, object>; responses: Record<string, object> };
};
const ajv = new Ajv2020({ strict: true });
ajv.addVocabulary(["components"]);
ajv.addSchema({ $id: "contract", components: { schemas: contract.components.schemas } });

/** Fails where an answer is not what the contract says of that operation and status. */
function hold(method: string, pattern: string, status: number, body: unknown): void {
  const operation = contract.paths[pattern]?.[method.toLowerCase()];
  assert.ok(operation, `${method} ${pattern} is in the contract`);
  let response = operation.responses[String(status)];
  assert.ok(response, `${method} ${pattern} may answer ${status}: ${JSON.stringify(body)}`);
  if (response.$ref !== undefined) response = contract.components.responses[response.$ref.split("/").at(-1)!] as never;
  const text = JSON.stringify(response.content?.["application/json"]?.schema).replaceAll('"#/', '"contract#/');
  const validate = ajv.compile(JSON.parse(text));
  assert.ok(
    validate(body),
    `${method} ${pattern} ${status}: ${JSON.stringify(validate.errors)} in ${JSON.stringify(body)}`,
  );
}

class RunningService {
  private constructor(
    readonly socket: string,
    readonly child: ChildProcess,
    private readonly output: string[],
  ) {}

  static async start(folder: TempDir, options: readonly string[] = []): Promise<RunningService> {
    const socket = folder.join("service.sock");
    const main = join(repositoryRoot, "dist", "cmd", "faultline.js");
    const child = spawn(process.execPath, [main, "serve", "--socket", socket, ...options], {
      stdio: ["ignore", "pipe", "pipe"],
      detached: true,
    });
    const output: string[] = [];
    child.stderr?.on("data", (chunk) => output.push(String(chunk)));
    const service = new RunningService(socket, child, output);
    await waitFor("the service to listen", () => {
      if (child.exitCode !== null) throw new Error(`the service ended: ${output.join("")}`);
      return output.join("").includes("serving on");
    });
    return service;
  }

  get errors(): string {
    return this.output.join("").replace(/^.*serving on.*\n/, "");
  }

  async ask(method: string, pattern: string, path: string, body?: unknown): Promise<{ status: number; body: never }> {
    const { status, text } = await this.send(method, path, body === undefined ? undefined : JSON.stringify(body));
    const answer = JSON.parse(text) as never;
    hold(method, pattern, status, answer);
    return { status, body: answer };
  }

  send(method: string, path: string, body?: string): Promise<{ status: number; text: string }> {
    return new Promise((resolve, reject) => {
      // A connection of its own: one that is kept may just be closed by the other side.
      const sent = request({ socketPath: this.socket, method, path, agent: false }, (response: IncomingMessage) => {
        let text = "";
        response.on("data", (chunk) => {
          text += chunk;
        });
        response.on("end", () => resolve({ status: response.statusCode ?? 0, text }));
      });
      sent.once("error", reject);
      sent.end(body);
    });
  }

  async end(signal: NodeJS.Signals = "SIGTERM"): Promise<number | null> {
    if (this.child.exitCode !== null || this.child.signalCode !== null) return this.child.exitCode;
    const exited = new Promise<number | null>((resolve) => this.child.once("exit", resolve));
    this.child.kill(signal);
    return exited;
  }
}

async function withService(
  body: (service: RunningService, folder: TempDir) => Promise<void>,
  options: readonly string[] = [],
): Promise<void> {
  await withTempDir("service", async (folder) => {
    const service = await RunningService.start(folder, options);
    try {
      await body(service, folder);
    } finally {
      await service.end("SIGKILL");
    }
  });
}

interface RestoreBody {
  readonly id: number;
  readonly pid: number;
  readonly state: string;
  readonly pages: string;
  readonly exit: { code: number | null; signal: number | null } | null;
}

/** A program that is ready, dumped and ended, with its images in the directory that `body` gets. */
async function withDump(body: (program: Program, images: string) => Promise<void>): Promise<void> {
  await withTempDir("images", (images) =>
    withProgram("heap", async (program) => {
      await criuDump(program.pid, images.path);
      await program.gone();
      await body(program, images.path);
    }),
  );
}

test("every operation of the contract is served, and no other path", () =>
  withService(async (service) => {
    for (const [path, operations] of Object.entries(contract.paths)) {
      for (const method of Object.keys(operations).filter((name) => name !== "parameters")) {
        if (path === "/v1/events") continue; // never ends; has a test of its own
        const concrete = path.replace("{id}", "999");
        const { status, text } = await service.send(
          method.toUpperCase(),
          concrete,
          method === "post" ? "{}" : undefined,
        );
        assert.ok(status in operations[method]!.responses, `${method} ${path} answered ${status}: ${text}`);
        if (path.includes("{id}")) assert.equal(status, 404);
      }
    }
    const { text } = await service.send("GET", "/v1/openapi.json");
    assert.deepEqual(JSON.parse(text), contract);
    assert.equal((await service.send("GET", "/v2")).status, 404);
    assert.equal((await service.send("PUT", "/v1/status")).status, 400);
    assert.equal(service.errors, "");
  }));

test("a restore runs, gets all its pages, and its end is seen", () =>
  withDump((program, directory) =>
    withService(async (service) => {
      const { body: made } = await service.ask("POST", "/v1/restores", "/v1/restores", { directory });
      const restored = made as RestoreBody;
      assert.equal(restored.pid, program.pid);
      const path = `/v1/restores/${restored.id}`;
      const look = async (): Promise<RestoreBody> => (await service.ask("GET", "/v1/restores/{id}", path)).body;
      await waitFor("all pages", async () => (await look()).pages === "complete");
      program.go();
      assert.equal(await program.verdict(), "PASS");
      await waitFor("the exit", async () => (await look()).state === "exited");
      assert.deepEqual((await look()).exit, { code: 0, signal: null });
      const { text } = await service.send("GET", "/metrics");
      assert.match(text, /^faultline_restores_total\{outcome="ok"\} 1$/m);
      assert.match(text, /^faultline_drained_pages_total \d+$/m);
      assert.equal(service.errors, "");
    }),
  ));

test("a dump through the service is restored by it, and a dump that is refused names why", () =>
  withTempDir("images", (images) =>
    withProgram("heap", (program) =>
      withService(async (service) => {
        const directory = images.join("checkpoint");
        const { body: dumped } = await service.ask("POST", "/v1/dumps", "/v1/dumps", { pid: program.pid, directory });
        assert.equal((dumped as { taskCount: number }).taskCount, 1);
        await program.gone();
        await service.ask("POST", "/v1/restores", "/v1/restores", { directory });
        program.go();
        assert.equal(await program.verdict(), "PASS");
        const gone = await service.ask("POST", "/v1/dumps", "/v1/dumps", { pid: 2 ** 30, directory: images.join("x") });
        assert.equal(gone.status, 404);
        const both = { pid: program.pid, directory: images.join("x"), leaveRunning: true, leaveStopped: true };
        assert.equal((await service.ask("POST", "/v1/dumps", "/v1/dumps", both)).status, 400);
        assert.equal(existsSync(images.join("x")), false);
        const { text } = await service.send("GET", "/metrics");
        assert.match(text, /^faultline_dumps_total\{outcome="ok"\} 1$/m);
        assert.match(text, /^faultline_dumps_total\{outcome="failed"\} 1$/m);
        assert.equal(service.errors, "");
      }),
    ),
  ));

test("a restore records its working set on request, and the next one uses it unless told otherwise", () =>
  withDump((program, directory) =>
    withService(
      async (service) => {
        const file = join(directory, workingSetName(program.pid));
        const restore = async (options: object): Promise<void> => {
          const { body } = await service.ask("POST", "/v1/restores", "/v1/restores", { directory, ...options });
          const { id } = body as RestoreBody;
          await service.ask("DELETE", "/v1/restores/{id}", `/v1/restores/${id}`);
        };
        await restore({});
        assert.equal(existsSync(file), false);
        await restore({ record: true });
        await waitFor("the recording", () => existsSync(file));
        writeFileSync(file, "nothing of the kind");
        await restore({ workingSet: false });
        assert.equal(service.errors, "");
        await restore({});
        await waitFor("the warning", () => service.errors !== "");
        assert.match(service.errors, /^faultline: warning: the working set is not used: [^\n]+\n$/);
      },
      ["--stay-lazy"],
    ),
  ));

test("DELETE ends the tree, and so does the end of the service", () =>
  withDump((program, directory) =>
    withService(async (service) => {
      const first = (await service.ask("POST", "/v1/restores", "/v1/restores", { directory })).body as RestoreBody;
      const busy = await service.ask("POST", "/v1/restores", "/v1/restores", { directory });
      assert.equal(busy.status, 409, "its pid is taken");
      const ended = (await service.ask("DELETE", "/v1/restores/{id}", `/v1/restores/${first.id}`)).body as RestoreBody;
      assert.deepEqual([ended.state, ended.exit], ["exited", { code: null, signal: 9 }]);
      assert.equal(existsSync(`/proc/${program.pid}`), false);
      await service.ask("POST", "/v1/restores", "/v1/restores", { directory });
      assert.equal(existsSync(`/proc/${program.pid}`), true);
      assert.equal(await service.end("SIGTERM"), 0);
      assert.equal(existsSync(`/proc/${program.pid}`), false);
      assert.equal(existsSync(service.socket), false);
    }),
  ));

test("the events of a restore arrive as lines, with those that were missed", () =>
  withDump((_program, directory) =>
    withService(async (service) => {
      const restored = (await service.ask("POST", "/v1/restores", "/v1/restores", { directory })).body as RestoreBody;
      await service.ask("DELETE", "/v1/restores/{id}", `/v1/restores/${restored.id}`);
      const kinds = await new Promise<string[]>((resolve, reject) => {
        const seen: string[] = [];
        const stream = request({ socketPath: service.socket, path: "/v1/events?since=0" }, (response) => {
          response.on("data", (chunk: Buffer) => {
            for (const line of String(chunk).trim().split("\n")) seen.push(JSON.parse(line).kind);
            if (!seen.includes("exited")) return;
            stream.destroy();
            resolve(seen);
          });
        });
        stream.once("error", reject);
        stream.end();
      });
      assert.equal(kinds[0], "restored");
      assert.ok(kinds.includes("exited"));
    }),
  ));

test("a bad request is refused in one line that names the field, and nothing is left behind", () =>
  withService(async (service, folder) => {
    const cases: readonly (readonly [string, string, number, RegExp])[] = [
      ["/v1/restores", "{", 400, /not JSON/],
      ["/v1/restores", "{}", 400, /directory/],
      ["/v1/restores", '{"directory": 7}', 400, /directory must be string/],
      ["/v1/restores", '{"directory": "x", "eagre": true}', 400, /eagre/],
      ["/v1/restores", JSON.stringify({ directory: folder.join("none") }), 404, /none/],
      ["/v1/dumps", '{"pid": "1", "directory": "x"}', 400, /pid must be integer/],
      ["/v1/restores", `{"directory": "${"x".repeat(70_000)}"}`, 400, /too large/],
    ];
    for (const [path, body, status, message] of cases) {
      const answer = await service.send("POST", path, body);
      assert.equal(answer.status, status, answer.text);
      const { error } = JSON.parse(answer.text) as { error: { message: string } };
      assert.match(error.message, message);
      assert.doesNotMatch(error.message, /\n/);
    }
    assert.equal(service.errors, "");
  }));

test("the socket is the owner's alone, by its mode and by the peer's user", () =>
  withService(async (service, folder) => {
    assert.equal(statSync(service.socket).mode & 0o777, 0o600);
    chmodSync(service.socket, 0o666);
    chmodSync(folder.path, 0o755);
    const curl = ["curl", "-s", "-m", "5", "--unix-socket", service.socket, "http://faultline/v1/status"];
    assert.match(execFileSync(curl[0]!, curl.slice(1), { encoding: "utf8" }), /"version"/);
    assert.throws(() => execFileSync("setpriv", ["--reuid=65534", "--regid=65534", "--clear-groups", ...curl]));
  }));

test("a second service on the socket is refused; a socket left by a killed one is taken over", () =>
  withTempDir("service", async (folder) => {
    const first = await RunningService.start(folder);
    await assert.rejects(RunningService.start(folder), /already listening/);
    await first.end("SIGKILL");
    assert.equal(existsSync(first.socket), true);
    const second = await RunningService.start(folder);
    assert.equal(await second.end(), 0);
    writeFileSync(second.socket, "precious");
    await assert.rejects(RunningService.start(folder), /other than a socket/);
    assert.equal(readFileSync(second.socket, "utf8"), "precious");
  }));
