// Packet sockets with their options, memberships and rings (packet(7)); rings begin empty.
import { readdirSync, readFileSync } from "node:fs";
import type { PacketRing, PacketSockEntry } from "../../../images/messages";
import type { Batch } from "../../batch";
import { syscalls } from "../../constants";
import { type FileContext, fileKey, openFlag, setOwner, setStatus, settle } from "./context";
import { setInteger, setSocketOptions, socketOptionCalls } from "./socketOptions";

const familyPacket = 17;
/** SOCK_PACKET: bound by the name of an interface. */
const namedType = 10;
const socketTypes: readonly number[] = [2, 3, namedType];
const solPacket = 263;
const packetOption = {
  addMembership: 1,
  receiveRing: 5,
  copyThreshold: 7,
  auxiliaryData: 8,
  originalDevice: 9,
  version: 10,
  reserve: 12,
  sendRing: 13,
  loss: 14,
  networkHeader: 15,
  timestamp: 17,
  fanout: 18,
} as const;
const thirdVersion = 2; // TPACKET_V3
const addressBytesMax = 32;

export function packetObstacle(socket: PacketSockEntry): string | undefined {
  if (!socketTypes.includes(socket.type)) return `a packet socket of type ${socket.type}`;
  if (socket.mclist.some(({ addr }) => addr.length > addressBytesMax))
    return "a packet socket with an overlong address";
  if (socket.type === namedType && socket.ifindex !== 0 && interfaceName(socket.ifindex) === undefined) {
    return `a packet socket of interface ${socket.ifindex}, which is not here`;
  }
  return undefined;
}

function interfaceName(index: number): string | undefined {
  return readdirSync("/sys/class/net").find((name) => {
    try {
      return Number(readFileSync(`/sys/class/net/${name}/ifindex`, "latin1")) === index;
    } catch {
      return false; // not an interface, or gone meanwhile
    }
  });
}

export function makePacket(context: FileContext, socket: PacketSockEntry): void {
  const batch = context.script.room(socketOptionCalls + 20 + socket.mclist.length, 2048 + socket.mclist.length * 48);
  batch.call(syscalls.socket, [familyPacket, socket.type | openFlag.closeOnExec, socket.protocol], {
    purpose: "making a packet socket",
  });
  setSocketOptions(batch, 0, socket.opts);
  if (socket.ifindex !== 0) {
    const address = bindAddress(socket);
    batch.call(syscalls.bind, [0, batch.place(address), address.length], {
      purpose: `binding a packet socket to interface ${socket.ifindex}`,
    });
  }
  setPacketOptions(batch, socket);
  for (const { index, type, addr } of socket.mclist) {
    const request = Buffer.alloc(8 + addressBytesMax); // struct packet_mreq, with room for any address
    request.writeInt32LE(index, 0);
    request.writeUInt16LE(type, 4);
    request.writeUInt16LE(addr.length, 6);
    addr.copy(request, 8);
    setBytes(batch, packetOption.addMembership, request);
  }
  if (socket.rx_ring !== undefined)
    setBytes(batch, packetOption.receiveRing, ringBytes(socket.version, socket.rx_ring));
  if (socket.tx_ring !== undefined) setBytes(batch, packetOption.sendRing, ringBytes(socket.version, socket.tx_ring));
  if (socket.fanout !== undefined) setInteger(batch, 0, solPacket, packetOption.fanout, socket.fanout | 0);
  setStatus(batch, 0, socket.flags);
  setOwner(batch, 0, socket.fown);
  settle(context, batch, 0, fileKey(socket.id));
}

/** Those that a ring forbids to change come before the rings. */
function setPacketOptions(batch: Batch, socket: PacketSockEntry): void {
  const numbers: [number, number][] = [
    [packetOption.version, socket.version],
    [packetOption.networkHeader, Number(socket.vnet_hdr)],
    [packetOption.reserve, socket.reserve],
    [packetOption.auxiliaryData, Number(socket.aux_data)],
    [packetOption.originalDevice, Number(socket.orig_dev)],
    [packetOption.loss, Number(socket.loss)],
    [packetOption.timestamp, socket.timestamp],
    [packetOption.copyThreshold, socket.copy_thresh],
  ];
  for (const [name, value] of numbers) if (value !== 0) setInteger(batch, 0, solPacket, name, value);
}

function setBytes(batch: Batch, name: number, bytes: Uint8Array): void {
  batch.call(syscalls.setsockopt, [0, solPacket, name, batch.place(bytes), bytes.length], {
    purpose: `packet socket option ${name}`,
  });
}

/** struct tpacket_req, or tpacket_req3. */
function ringBytes(version: number, ring: PacketRing): Uint8Array {
  const words = [ring.block_size, ring.block_nr, ring.frame_size, ring.frame_nr];
  if (version === thirdVersion) words.push(ring.retire_tmo, ring.sizeof_priv, ring.features);
  return new Uint8Array(new Uint32Array(words).buffer);
}

/** struct sockaddr_ll, or for SOCK_PACKET a sockaddr with the interface's name. */
function bindAddress(socket: PacketSockEntry): Uint8Array {
  const isNamed = socket.type === namedType;
  const bytes = Buffer.alloc(isNamed ? 16 : 20);
  bytes.writeUInt16LE(familyPacket, 0);
  if (isNamed) bytes.write(interfaceName(socket.ifindex) ?? "", 2, 13, "latin1");
  else {
    bytes.writeUInt16LE(socket.protocol, 2);
    bytes.writeInt32LE(socket.ifindex, 4);
  }
  return bytes;
}
