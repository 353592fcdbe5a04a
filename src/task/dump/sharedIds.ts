// Which tasks share an address space, descriptor table, working directory or signal handlers (CLONE_VM and kin): equal
// things get equal ids (kcmp(2)).
import { native } from "../../native";
import { kcmpType } from "../constants";

export interface TaskIds {
  readonly vm: number;
  readonly files: number;
  readonly fs: number;
  readonly sighand: number;
  /** Whether this task is the first that has the thing, and so the one to dump it. */
  readonly first: { readonly vm: boolean; readonly files: boolean; readonly fs: boolean };
}

class Identity {
  readonly #owners: { pid: number; id: number }[] = [];
  readonly #type: number;

  constructor(type: number) {
    this.#type = type;
  }

  of(pid: number): { id: number; isFirst: boolean } {
    const known = this.#owners.find((owner) => native.kcmp(owner.pid, pid, this.#type, 0, 0) === 0);
    if (known !== undefined) return { id: known.id, isFirst: false };
    // 1 stands for the dumping process itself, as in CRIU's images.
    const id = this.#owners.length + 2;
    this.#owners.push({ pid, id });
    return { id, isFirst: true };
  }
}

export class SharedIds {
  readonly #vm = new Identity(kcmpType.vm);
  readonly #files = new Identity(kcmpType.files);
  readonly #fs = new Identity(kcmpType.fs);
  readonly #sighand = new Identity(kcmpType.sighand);

  of(pid: number): TaskIds {
    const vm = this.#vm.of(pid);
    const files = this.#files.of(pid);
    const fs = this.#fs.of(pid);
    return {
      vm: vm.id,
      files: files.id,
      fs: fs.id,
      sighand: this.#sighand.of(pid).id,
      first: { vm: vm.isFirst, files: files.isFirst, fs: fs.isFirst },
    };
  }
}
