// The options that sockets of every family have (socket(7)): their numbers, for dump and restore. No calls.

export const solSocket = 1;

/** asm-generic/socket.h. */
export const socketOption = {
  reuseAddress: 2,
  dontRoute: 5,
  broadcast: 6,
  sendBuffer: 7,
  receiveBuffer: 8,
  keepAlive: 9,
  outOfBandInline: 10,
  noCheck: 11,
  priority: 12,
  linger: 13,
  reusePort: 15,
  passCredentials: 16,
  receiveLowWater: 18,
  receiveTimeout: 20,
  sendTimeout: 21,
  bindToDevice: 25,
  attachFilter: 26,
  detachFilter: 27,
  timestamp: 29,
  sendBufferForce: 32,
  receiveBufferForce: 33,
  passSecurity: 34,
  timestampNanoseconds: 35,
  mark: 36,
  timestamping: 37,
  timestampNew: 63,
  timestampNanosecondsNew: 64,
  timestampingNew: 65,
  bufferLock: 72,
} as const;
