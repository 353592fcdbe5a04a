// The XSAVE area is laid out as the processor says, and not as one vendor's processors have it.
import assert from "node:assert/strict";
import { test } from "node:test";
import { floatingPointEntry } from "../../src/task/dump/floatingPoint";
import { composeXstate, type XstateLayout } from "../../src/task/xstate";

const components = [2, 5, 6, 7, 9];
const sizes = [256, 64, 512, 1024, 8];

function layoutOf(offsets: readonly number[]): XstateLayout {
  const at = (list: readonly number[], component: number): number => list[components.indexOf(component)] ?? 0;
  return { offset: (component) => at(offsets, component), size: (component) => at(sizes, component) };
}

const layouts = { Intel: [576, 1088, 1152, 1664, 2688], AMD: [576, 832, 896, 1408, 2432] };

for (const [vendor, offsets] of Object.entries(layouts)) {
  test(`every vector register is read from where ${vendor}'s processors have it, and written there`, () => {
    const layout = layoutOf(offsets);
    const area = new Uint8Array((offsets.at(-1) as number) + 8);
    const view = new DataView(area.buffer);
    const used = components.reduce((mask, component) => mask | (1n << BigInt(component)), 3n);
    view.setBigUint64(464, used, true); // what the kernel says of the area
    view.setBigUint64(512, used, true);
    offsets.forEach((offset, index) => {
      area.fill(index + 1, offset, offset + (sizes[index] as number));
    });
    const { xsave, ...rest } = floatingPointEntry(area, layout);
    const word = (byte: number): bigint => BigInt(`0x${byte.toString(16).padStart(2, "0").repeat(8)}`);
    assert.deepEqual(xsave?.opmask_reg, Array(8).fill(word(2)));
    assert.deepEqual(xsave?.zmm_upper, Array(64).fill(word(3)));
    assert.deepEqual(xsave?.hi16_zmm, Array(128).fill(word(4)));
    const again = composeXstate({ ...rest, xsave } as Parameters<typeof composeXstate>[0], layout, area.length);
    assert.deepEqual(Buffer.from(again).subarray(512), Buffer.from(area).subarray(512));
  });
}
