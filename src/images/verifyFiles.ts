// The part of verify that follows numbers from one image to another: tasks, threads, descriptors, files, sockets, pipes.
import type { ImageDirectory, TaskNode } from "./directory";
import type { Findings, Place } from "./finding";
import type { ImageKind, ImageMessage } from "./formats";
import { FdTypes, type FileEntry, RemapType } from "./messages";

/** Adds what is wrong in the references of `directory` to `findings`. */
export function verifyReferences(directory: ImageDirectory, findings: Findings): void {
  verifyTree(directory, findings);
  for (const task of directory.tasks) {
    for (const tid of task.threads) findings.attempt(`core-${tid}.img`, () => directory.core(tid));
    if (!task.dead) findings.attempt(`ids-${task.pid}.img`, () => verifyTask(directory, task, findings));
  }
  findings.attempt("files.img", () => verifyFileEntries(directory, findings));
  findings.attempt("remap-fpath.img", () => verifyRemaps(directory, findings));
  findings.attempt("pipes-data.img", () => verifyQueues(directory, findings));
}

/** The messages of an image with their places. */
function places<K extends ImageKind>(
  directory: ImageDirectory,
  kind: K,
  file: string,
): { readonly message: ImageMessage<K>; readonly place: Place }[] {
  const records = directory.optionalImage(kind, file)?.records ?? [];
  return records.map(({ message, offset }, record) => ({ message, place: { file, record, offset } }));
}

function verifyTree(directory: ImageDirectory, findings: Findings): void {
  const pids = new Set<number>();
  for (const { message, place } of places(directory, "PSTREE", "pstree.img")) {
    const { pid, ppid } = message;
    if (ppid !== 0 && !pids.has(ppid)) findings.add(place, `task ${pid} has a parent ${ppid} that is not before it`);
    pids.add(pid);
    const dead = directory.task(pid).dead;
    if (!dead && message.threads[0] !== pid) findings.add(place, `task ${pid} does not lead its threads`);
  }
  for (const { message, place } of places(directory, "FILE_LOCKS", "filelocks.img")) {
    if (!pids.has(message.pid)) findings.add(place, `a lock of task ${message.pid}, which is not in the tree`);
  }
}

function verifyTask(directory: ImageDirectory, task: TaskNode, findings: Findings): void {
  const { pid } = task;
  const ids = directory.ids(pid);
  if (ids === undefined) findings.add({ file: `ids-${pid}.img` }, `task ${pid} has no ids, here or in its core`);
  const missing = (file: string, what: string, id: number) => {
    if (directory.files.regular(id) === undefined)
      findings.add({ file, record: 0 }, `${what} is file ${id}, which is nowhere`);
  };
  findings.attempt(`fs-${pid}.img`, () => {
    const { cwd_id, root_id } = directory.fs(pid);
    missing(`fs-${pid}.img`, "the working directory", cwd_id);
    missing(`fs-${pid}.img`, "the root", root_id);
  });
  findings.attempt(`mm-${pid}.img`, () => {
    const id = directory.mm(pid).exe_file_id;
    // fexecve(3) of a memory file.
    const isMemory = directory.files.find(id, FdTypes.MEMFD) !== undefined;
    if (!isMemory) missing(`mm-${pid}.img`, "the program", id);
  });
  if (ids === undefined) return;
  const file = `fdinfo-${directory.inventory.fdinfo_per_id === true ? ids.files_id : pid}.img`;
  findings.attempt(file, () => verifyDescriptors(directory, file, findings));
}

function verifyDescriptors(directory: ImageDirectory, file: string, findings: Findings): void {
  const seen = new Set<number>();
  for (const { message, place } of places(directory, "FDINFO", file)) {
    const { fd, id, type } = message;
    if (seen.has(fd)) findings.add(place, `descriptor ${fd} is there twice`);
    seen.add(fd);
    if (directory.files.find(id, type) === undefined) {
      findings.add(place, `descriptor ${fd} is file ${id} of type ${type}, which is nowhere`);
    }
  }
}

const embedded = {
  [FdTypes.REG]: "reg",
  [FdTypes.PIPE]: "pipe",
  [FdTypes.FIFO]: "fifo",
  [FdTypes.INETSK]: "isk",
  [FdTypes.UNIXSK]: "usk",
  [FdTypes.EVENTFD]: "efd",
  [FdTypes.EVENTPOLL]: "epfd",
  [FdTypes.INOTIFY]: "ify",
  [FdTypes.SIGNALFD]: "sgfd",
  [FdTypes.PACKETSK]: "psk",
  [FdTypes.TTY]: "tty",
  [FdTypes.FANOTIFY]: "ffy",
  [FdTypes.NETLINKSK]: "nlsk",
  [FdTypes.NS]: "nsf",
  [FdTypes.TUNF]: "tunf",
  [FdTypes.EXT]: "ext",
  [FdTypes.TIMERFD]: "tfd",
  [FdTypes.MEMFD]: "memfd",
  [FdTypes.BPFMAP]: "bpf",
  [FdTypes.PIDFD]: "pidfd",
} as const satisfies Readonly<Record<number, keyof FileEntry>>;

function verifyFileEntries(directory: ImageDirectory, findings: Findings): void {
  const seen = new Set<string>();
  for (const { message, place } of places(directory, "FILES", "files.img")) {
    const field = embedded[message.type as keyof typeof embedded];
    const inner = field === undefined ? undefined : message[field];
    if (inner === undefined) findings.add(place, `file ${message.id} of type ${message.type} says nothing of its own`);
    else if (inner.id !== message.id) findings.add(place, `file ${message.id} calls itself ${inner.id} inside`);
    const key = `${message.type} ${message.id}`;
    if (seen.has(key)) findings.add(place, `file ${message.id} is there twice`);
    seen.add(key);
    verifyFileReferences(directory, message, place, findings);
  }
}

/** TCP's number, and the state of an established connection. */
const TCP = 6;
const ESTABLISHED = 1;

function verifyFileReferences(directory: ImageDirectory, file: FileEntry, place: Place, findings: Findings): void {
  const { memfd, tty, fifo, isk } = file;
  if (memfd !== undefined && !directory.memoryFiles.some((each) => each.inode_id === BigInt(memfd.inode_id))) {
    findings.add(place, `memory file ${memfd.inode_id} is not in memfd.img`);
  }
  if (
    tty !== undefined &&
    !directory.messages("TTY_INFO", "tty-info.img").some((each) => each.id === tty.tty_info_id)
  ) {
    findings.add(place, `terminal ${tty.tty_info_id} is not in tty-info.img`);
  }
  if (fifo?.regf_id !== undefined && directory.files.regular(fifo.regf_id) === undefined) {
    findings.add(place, `a FIFO is file ${fifo.regf_id}, which is nowhere`);
  }
  if (isk?.proto === TCP && isk.state === ESTABLISHED && directory.inventory.tcp_close !== true) {
    const stream = `tcp-stream-${isk.ino.toString(16)}.img`;
    if (!directory.has(stream)) findings.add(place, `an established connection without ${stream}`);
  }
}

function verifyRemaps(directory: ImageDirectory, findings: Findings): void {
  for (const { message, place } of places(directory, "REMAP_FPATH", "remap-fpath.img")) {
    const { orig_id, remap_id, remap_type } = message;
    if (directory.files.find(orig_id) === undefined) findings.add(place, `file ${orig_id} is remapped and is nowhere`);
    // Very old images have no type and mark ghosts with the highest bit.
    const ghost = remap_type === undefined ? remap_id >= 0x8000_0000 : remap_type === RemapType.GHOST;
    const name = `ghost-file-${(remap_type === undefined ? remap_id & 0x7fff_ffff : remap_id).toString(16)}.img`;
    if (ghost && !directory.has(name)) findings.add(place, `file ${orig_id} is remapped to ${name}, which is missing`);
    const linked = remap_type === undefined ? !ghost : remap_type === RemapType.LINKED;
    if (linked && directory.files.regular(remap_id) === undefined) {
      findings.add(place, `file ${orig_id} is remapped to file ${remap_id}, which is nowhere`);
    }
  }
}

function verifyQueues(directory: ImageDirectory, findings: Findings): void {
  const pipes = new Set<number>();
  const sockets = new Set<number>();
  for (const { id, pipe, fifo, usk, isk, psk, nlsk } of directory.files) {
    if (pipe !== undefined) pipes.add(pipe.pipe_id);
    if (fifo !== undefined) pipes.add(fifo.pipe_id);
    if ((usk ?? isk ?? psk ?? nlsk) !== undefined) sockets.add(id);
  }
  for (const [kind, name] of [
    ["PIPES_DATA", "pipes-data.img"],
    ["FIFO_DATA", "fifo-data.img"],
  ] as const) {
    for (const { message, place } of places(directory, kind, name)) {
      if (!pipes.has(message.pipe_id))
        findings.add(place, `bytes of pipe ${message.pipe_id}, which no descriptor is of`);
    }
  }
  for (const { message, place } of places(directory, "SK_QUEUES", "sk-queues.img")) {
    if (!sockets.has(message.id_for)) findings.add(place, `a packet for socket ${message.id_for}, which is nowhere`);
  }
}
