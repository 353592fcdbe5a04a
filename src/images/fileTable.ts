// The files behind descriptors and mappings, by id: files.img, or the one image per type that CRIU wrote before 3.5.
// In the old form ids count per type, so a look-up says the type where it can.
import type { ImageKind, ImageMessage } from "./formats";
import type { Image } from "./framing";
import { FdTypes, type FileEntry } from "./messages";

/** Where a table reads from: an ImageDirectory. */
export interface FileImages {
  optionalImage<K extends ImageKind>(kind: K, name: string): Image<K> | undefined;
}

type EntryField = Exclude<keyof FileEntry & string, "type" | "id">;

/** The old images: file name, kind, type and the field of file_entry that holds the same message now. */
const oldImages: readonly (readonly [string, ImageKind, number, EntryField])[] = [
  ["reg-files.img", "REG_FILES", FdTypes.REG, "reg"],
  ["ext-files.img", "EXT_FILES", FdTypes.EXT, "ext"],
  ["ns-files.img", "NS_FILES", FdTypes.NS, "nsf"],
  ["eventfd.img", "EVENTFD_FILE", FdTypes.EVENTFD, "efd"],
  ["eventpoll.img", "EVENTPOLL_FILE", FdTypes.EVENTPOLL, "epfd"],
  ["signalfd.img", "SIGNALFD", FdTypes.SIGNALFD, "sgfd"],
  ["inotify.img", "INOTIFY_FILE", FdTypes.INOTIFY, "ify"],
  ["fanotify.img", "FANOTIFY_FILE", FdTypes.FANOTIFY, "ffy"],
  ["pipes.img", "PIPES", FdTypes.PIPE, "pipe"],
  ["fifo.img", "FIFO", FdTypes.FIFO, "fifo"],
  ["unixsk.img", "UNIXSK", FdTypes.UNIXSK, "usk"],
  ["inetsk.img", "INETSK", FdTypes.INETSK, "isk"],
  ["packetsk.img", "PACKETSK", FdTypes.PACKETSK, "psk"],
  ["netlinksk.img", "NETLINK_SK", FdTypes.NETLINKSK, "nlsk"],
  ["tty.img", "TTY_FILES", FdTypes.TTY, "tty"],
  ["tunfile.img", "TUNFILE", FdTypes.TUNF, "tunf"],
  ["timerfd.img", "TIMERFD", FdTypes.TIMERFD, "tfd"],
  ["bpfmap-file.img", "BPFMAP_FILE", FdTypes.BPFMAP, "bpf"],
  ["pidfd.img", "PIDFD", FdTypes.PIDFD, "pidfd"],
];

export class FileTable {
  private readonly byId = new Map<number, FileEntry[]>();

  private constructor(
    /** All files in the order of the images. */
    readonly entries: readonly FileEntry[],
  ) {
    for (const entry of entries) {
      const same = this.byId.get(entry.id);
      if (same === undefined) this.byId.set(entry.id, [entry]);
      else same.push(entry);
    }
  }

  static read(images: FileImages): FileTable {
    const entries = (images.optionalImage("FILES", "files.img")?.records ?? []).map((record) => record.message);
    for (const [name, kind, type, field] of oldImages) {
      for (const { message } of images.optionalImage(kind, name)?.records ?? []) {
        const old = message as { readonly id: number };
        entries.push({ type, id: old.id, [field]: { ...old } } as unknown as FileEntry);
      }
    }
    joinWatches(images, entries);
    return new FileTable(entries);
  }

  /** The file with this id, of this type where it is given (an fd_types value). */
  find(id: number, type?: number): FileEntry | undefined {
    const same = this.byId.get(id);
    return type === undefined ? same?.[0] : same?.find((entry) => entry.type === type);
  }

  /** The regular file with this id: what mappings, fs and exe entries mean. */
  regular(id: number): FileEntry | undefined {
    return this.find(id, FdTypes.REG);
  }

  [Symbol.iterator](): Iterator<FileEntry> {
    return this.entries[Symbol.iterator]();
  }
}

/** What eventpoll, inotify and fanotify descriptors watch was in images of its own, which name the descriptor's id. */
function joinWatches(images: FileImages, entries: FileEntry[]): void {
  const rest = <K extends "EVENTPOLL_TFD" | "INOTIFY_WD" | "FANOTIFY_MARK">(kind: K, name: string) =>
    (images.optionalImage(kind, name)?.records ?? []).map((record) => record.message as ImageMessage<K>);
  const polled = rest("EVENTPOLL_TFD", "eventpoll-tfd.img");
  const watched = rest("INOTIFY_WD", "inotify-wd.img");
  const marked = rest("FANOTIFY_MARK", "fanotify-mark.img");
  for (const { epfd, ify, ffy } of entries) {
    if (epfd !== undefined) epfd.tfd = [...epfd.tfd, ...polled.filter((entry) => entry.id === epfd.id)];
    if (ify !== undefined) ify.wd = [...ify.wd, ...watched.filter((entry) => entry.id === ify.id)];
    if (ffy !== undefined) ffy.mark = [...ffy.mark, ...marked.filter((entry) => entry.id === ffy.id)];
  }
}
