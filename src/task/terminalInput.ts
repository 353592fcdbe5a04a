// What waits in a terminal for its program to read, and how it is typed again: the settings for the moment, and the bytes
// for the master. Lines stay lines, with the end-of-file marks between them (termios(3)). No calls.

/** struct termios of the kernel: four words of flags, the line discipline, the control characters. */
export const termiosBytes = 36;
const outputFlagsAt = 4;
const localFlagsAt = 12;
const charactersAt = 17;
/** IXON: stays, since a terminal that its user has stopped goes on when it is cleared. */
const flowControl = 0o2000;
const localFlag = { canonical: 0o2, extended: 0o100000, external: 0o200000 } as const;
const character = { endOfFile: 4, endOfLine: 11, stop: 9, literalNext: 15, otherEndOfLine: 16 } as const;
const newline = 10;
/** Candidates for the two characters with a meaning; any byte of the input that is one of them is quoted. */
const candidates = [4, 22, 5, 23];

export interface TerminalInput {
  readonly bytes: Buffer;
  /** Offsets at which an end-of-file mark stands: a read ends there, without a newline. */
  readonly marks: readonly number[];
}

/** Whether reads give lines: not where somebody else edits them (EXTPROC). */
export function readsLines(settings: Buffer): boolean {
  const flags = settings.readUInt32LE(localFlagsAt);
  return (flags & localFlag.canonical) !== 0 && (flags & localFlag.external) === 0;
}

/** The characters that end a line, under `settings`. */
export function lineEnds(settings: Buffer): ReadonlySet<number> {
  const isExtended = (settings.readUInt32LE(localFlagsAt) & localFlag.extended) !== 0;
  const ends = [character.endOfLine, ...(isExtended ? [character.otherEndOfLine] : [])];
  const set = ends.map((which) => settings[charactersAt + which] as number).filter((value) => value !== 0);
  return new Set([newline, ...set]);
}

/** As `settings`, but a read gives every byte that there is, and nothing that is written is changed. */
export function rawSettings(settings: Buffer): Buffer {
  return quietSettings(settings, settings.readUInt32LE(localFlagsAt) & localFlag.external);
}

function quietSettings(settings: Buffer, localFlags: number): Buffer {
  const quiet = Buffer.from(settings);
  quiet.fill(0, 0, outputFlagsAt * 2);
  quiet.writeUInt32LE(settings.readUInt32LE(0) & flowControl, 0);
  quiet.writeUInt32LE(localFlags, localFlagsAt);
  quiet.fill(0, charactersAt);
  return quiet;
}

/** As rawSettings, and a terminal that its user has stopped goes on. */
export function goingSettings(settings: Buffer): Buffer {
  const going = rawSettings(settings);
  going.writeUInt32LE(0, 0);
  return going;
}

/** As rawSettings, and the byte `stop` from the master stops the output. */
export function stoppingSettings(settings: Buffer, stop: number): Buffer {
  const stopping = rawSettings(settings);
  stopping.writeUInt32LE(flowControl, 0);
  stopping[charactersAt + character.stop] = stop;
  return stopping;
}

export interface Typing {
  /** struct termios that the terminal must have meanwhile. */
  readonly settings: Buffer;
  /** What the master writes. */
  readonly bytes: Buffer;
}

/** How `input` gets into a terminal that has `settings` otherwise: no echo, no signals, no character that means anything. */
export function typingOf(input: TerminalInput, settings: Buffer): Typing {
  const own = settings.readUInt32LE(localFlagsAt);
  if (!readsLines(settings)) {
    return { settings: quietSettings(settings, own & (localFlag.canonical | localFlag.external)), bytes: input.bytes };
  }
  const ends = lineEnds(settings);
  const [endOfFile, literalNext] = candidates.filter((value) => !ends.has(value)) as [number, number];
  const quiet = quietSettings(settings, localFlag.canonical | localFlag.extended);
  const lineEndsSet = [...ends].filter((value) => value !== newline);
  quiet[charactersAt + character.endOfFile] = endOfFile;
  quiet[charactersAt + character.literalNext] = literalNext;
  quiet[charactersAt + character.endOfLine] = lineEndsSet[0] ?? 0;
  quiet[charactersAt + character.otherEndOfLine] = lineEndsSet[1] ?? 0;
  const marks = new Map<number, number>();
  for (const mark of input.marks) marks.set(mark, (marks.get(mark) ?? 0) + 1);
  const typed: number[] = [];
  for (let at = 0; at <= input.bytes.length; at++) {
    for (let count = marks.get(at) ?? 0; count > 0; count--) typed.push(endOfFile);
    const byte = input.bytes[at];
    if (byte === undefined) break;
    if (byte === endOfFile || byte === literalNext) typed.push(literalNext);
    typed.push(byte);
  }
  return { settings: quiet, bytes: Buffer.from(typed) };
}
