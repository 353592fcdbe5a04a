// The image files of one dump while it gathers them: names and records, written at the end. No knowledge of tasks.
import type { ImageKind, ImageMessage } from "../../images/formats";
import { type EncodeOptions, encodeImage, type RecordInit } from "../../images/framing";
import type { Init } from "../../images/message";
import { FdTypes, type FileEntry } from "../../images/messages";
import type { Payload } from "../../images/payload";

/** What a file_entry or fdinfo_entry is about. */
export type FileTypeName = keyof typeof FdTypes;

interface PlannedImage {
  readonly kind: ImageKind;
  readonly records: RecordInit<unknown>[];
  readonly options: unknown;
}

/** Gathers records by file name. */
export class ImageSet {
  readonly #images = new Map<string, PlannedImage>();
  #fileId = 0;

  /** Appends a record to the image `name`, creating it. */
  add<K extends ImageKind>(name: string, kind: K, message: Init<ImageMessage<K>>, payload?: Payload): void {
    this.create(name, kind);
    this.#images.get(name)?.records.push(payload === undefined ? { message } : { message, payload });
  }

  /** Makes sure that the image exists, even without records. */
  create<K extends ImageKind>(name: string, kind: K, options: EncodeOptions<K> = {}): void {
    if (!this.#images.has(name)) this.#images.set(name, { kind, records: [], options });
  }

  has(name: string): boolean {
    return this.#images.has(name);
  }

  /** A fresh id for an open file; ids are unique over all kinds. */
  newFileId(): number {
    this.#fileId += 1;
    return this.#fileId;
  }

  /** Adds an open file to files.img. */
  addFile(type: FileTypeName, entry: Omit<Init<FileEntry>, "type">): void {
    this.add("files.img", "FILES", { ...entry, type: FdTypes[type] } as Init<FileEntry>);
  }

  /** Name and bytes of every file that has not been taken yet. A file is whole by then: nothing may be added to it. */
  *take(): Generator<{ name: string; bytes: Buffer }> {
    for (const [name, { kind, records, options }] of this.#images) {
      this.#images.delete(name);
      const bytes = encodeImage(
        kind,
        records as RecordInit<ImageMessage<ImageKind>>[],
        options as EncodeOptions<ImageKind>,
      );
      yield { name, bytes };
    }
  }
}
