// What verify finds, and the list it is put on. No checks here.
import { basename } from "node:path";
import { FaultlineError } from "../errors";

/** Something in an image directory that must not be so. */
export interface Finding {
  /** Name of the file in the directory. */
  readonly file: string;
  /** Index of the record in that file, from 0. */
  readonly record: number | undefined;
  /** Where in that file, bytes. */
  readonly offset: number | undefined;
  readonly message: string;
}

/** A place in a file, as the records of an image know it. */
export interface Place {
  readonly file: string;
  readonly record?: number | undefined;
  readonly offset?: number | undefined;
}

export class Findings {
  private readonly found = new Map<string, Finding>();

  add(place: Place, message: string): void {
    const finding = { file: place.file, record: place.record, offset: place.offset, message };
    this.found.set(JSON.stringify(finding), finding);
  }

  /** Runs a check; an image that cannot be read is a finding, said once however many checks meet it. */
  attempt(name: string, check: () => void): void {
    try {
      check();
    } catch (error) {
      if (!(error instanceof FaultlineError)) throw error;
      const { file, record, offset } = error.details;
      this.add({ file: file === undefined ? name : basename(file), record, offset }, error.message);
    }
  }

  list(): readonly Finding[] {
    return [...this.found.values()];
  }
}
