// The states of TCP connections (include/net/tcp_states.h), for dump and restore. No calls.

export const connectionState = {
  established: 1,
  synSent: 2,
  finWait1: 4,
  finWait2: 5,
  closeWait: 8,
  lastAck: 9,
  closing: 11,
} as const;

const { finWait1, finWait2, closeWait, lastAck, closing } = connectionState;
const sentFirst: readonly number[] = [finWait1, finWait2, closing];
const received: readonly number[] = [closeWait, lastAck, closing];

/** The program has ended its direction: a FIN has been sent, or waits behind the data. */
export function hasSentEnd(state: number): boolean {
  return sentFirst.includes(state) || state === lastAck;
}

/** ... before it heard of the other end. */
export function endedFirst(state: number): boolean {
  return sentFirst.includes(state);
}

/** The peer's FIN has come. */
export function hasReceivedEnd(state: number): boolean {
  return received.includes(state);
}
