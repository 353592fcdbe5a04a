// Netlink sockets: protocol, port and groups; what waits in them is answers that can be asked for again.
import type { NetlinkSkEntry } from "../../../images/messages";
import { syscalls } from "../../constants";
import { type FileContext, fileKey, openFlag, setOwner, setStatus, settle } from "./context";
import { setSocketOptions, socketOptionCalls } from "./socketOptions";

const familyNetlink = 16;
const rawSocket = 3;
const addressBytes = 12;

function address(port: number, groups: number): Uint8Array {
  const bytes = new DataView(new ArrayBuffer(addressBytes)); // struct sockaddr_nl
  bytes.setUint16(0, familyNetlink, true);
  bytes.setUint32(4, port, true);
  bytes.setUint32(8, groups, true);
  return new Uint8Array(bytes.buffer);
}

export function makeNetlink(context: FileContext, socket: NetlinkSkEntry): void {
  const batch = context.script.room(socketOptionCalls + 8, 1024);
  batch.call(syscalls.socket, [familyNetlink, rawSocket | openFlag.closeOnExec, socket.protocol]);
  if (socket.portid !== 0) {
    const own = batch.place(address(socket.portid, socket.groups[0] ?? 0));
    batch.call(syscalls.bind, [0, own, addressBytes], { purpose: `binding netlink port ${socket.portid}` });
  }
  if (socket.dst_portid !== 0 || socket.dst_group !== 0) {
    const peer = batch.place(address(socket.dst_portid, socket.dst_group));
    batch.call(syscalls.connect, [0, peer, addressBytes]);
  }
  setSocketOptions(batch, 0, socket.opts);
  setStatus(batch, 0, socket.flags);
  setOwner(batch, 0, socket.fown);
  settle(context, batch, 0, fileKey(socket.id));
}
