// Datagrams of UDP that nobody has read: left in the socket, each with its sender (SO_PEEK_OFF of socket(7)).
import { native } from "../../../native";
import { solSocket } from "../../socketOptions";
import type { ImageSet } from "../imageSet";
import { integerOption } from "./socketOptions";

const peekOffset = 42;
const datagramBytesMax = 65536;
const addressBytesMax = 128;

/** Writes the datagrams of the socket that is file `id`. */
export function addDatagrams(images: ImageSet, id: number, fd: number): void {
  const before = integerOption(fd, solSocket, peekOffset);
  const setOffset = (offset: number): number =>
    native.setSocketOption(fd, solSocket, peekOffset, new Int32Array([offset]));
  if (setOffset(0) < 0) return;
  try {
    const buffer = Buffer.alloc(datagramBytesMax);
    const address = Buffer.alloc(addressBytesMax);
    const facts = new Int32Array(3);
    for (;;) {
      const length = native.packetPeek(fd, buffer, new Int32Array(0), facts, address);
      if (length < 0) return;
      const source = Buffer.from(address.subarray(0, facts[1]));
      const bytes = Buffer.from(buffer.subarray(0, length));
      images.add("sk-queues.img", "SK_QUEUES", { id_for: id, length, scm: [], source }, { kind: "bytes", bytes });
    }
  } finally {
    setOffset(before);
  }
}
