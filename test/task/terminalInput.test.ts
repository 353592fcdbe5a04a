// What is typed into a terminal to put unread input back is what was unread, whatever its settings give a meaning to.
import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { lineEnds, readsLines, termiosBytes, typingOf } from "../../src/task/terminalInput";

const canonical = 0o2;
const extended = 0o100000;
const charactersAt = 17;
const at = { endOfFile: 4, endOfLine: 11, literalNext: 15, otherEndOfLine: 16 } as const;

function settingsOf(localFlags: number, characters: Uint8Array): Buffer {
  const settings = Buffer.alloc(termiosBytes);
  settings.writeUInt32LE(localFlags, 12);
  settings.set(characters, charactersAt);
  return settings;
}

/** As the kernel's line discipline takes it: a quoted byte is plain, an end-of-file character leaves a mark. */
function taken(typed: Buffer, settings: Buffer): { bytes: Buffer; marks: number[] } {
  const bytes: number[] = [];
  const marks: number[] = [];
  let isQuoted = false;
  for (const byte of typed) {
    if (!isQuoted && byte === settings[charactersAt + at.literalNext]) isQuoted = true;
    else if (!isQuoted && byte === settings[charactersAt + at.endOfFile]) marks.push(bytes.length);
    else {
      bytes.push(byte);
      isQuoted = false;
    }
  }
  return { bytes: Buffer.from(bytes), marks };
}

const characters = fc.uint8Array({ minLength: 19, maxLength: 19, max: 30 });
const content = fc.uint8Array({ max: 30, maxLength: 60 });

test("typed lines are taken as they were read, with their marks, and end at the same characters", () => {
  fc.assert(
    fc.property(content, fc.array(fc.nat(60)), characters, fc.boolean(), (bytes, places, own, isExtended) => {
      const settings = settingsOf(canonical | (isExtended ? extended : 0), own);
      const marks = places.filter((place) => place <= bytes.length).sort((a, b) => a - b);
      const typing = typingOf({ bytes: Buffer.from(bytes), marks }, settings);
      assert.deepEqual(taken(typing.bytes, typing.settings), { bytes: Buffer.from(bytes), marks });
      assert.ok(readsLines(typing.settings));
      assert.deepEqual(lineEnds(typing.settings), lineEnds(settings));
    }),
  );
});

test("input of a terminal that reads no lines is typed byte for byte, with no settings that change it", () => {
  fc.assert(
    fc.property(content, characters, (bytes, own) => {
      const typing = typingOf({ bytes: Buffer.from(bytes), marks: [] }, settingsOf(0, own));
      assert.deepEqual(typing.bytes, Buffer.from(bytes));
      assert.ok(!readsLines(typing.settings));
      assert.ok(typing.settings.subarray(charactersAt).every((character) => character === 0));
    }),
  );
});
