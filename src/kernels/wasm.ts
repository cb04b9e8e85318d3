/* Just enough of the WebAssembly binary format for a module with one imported memory and one exported function. */

export type Code = readonly number[];

export const I32 = 0x7f;
export const F32 = 0x7d;
export const V128 = 0x7b;

/** LEB128, unsigned. */
const unsigned = (value: number): number[] =>
  value < 0x80 ? [value] : [(value & 0x7f) | 0x80, ...unsigned(Math.floor(value / 0x80))];

/** LEB128, signed 32 bits. */
const signed = (value: number): number[] =>
  value >= -64 && value < 64 ? [value & 0x7f] : [(value & 0x7f) | 0x80, ...signed(value >> 7)];

const vector = (items: readonly Code[]): number[] => [...unsigned(items.length), ...items.flat()];
const sized = (content: Code): number[] => [...unsigned(content.length), ...content];
const name = (text: string): number[] => sized([...new TextEncoder().encode(text)]);
const section = (id: number, items: readonly Code[]): number[] => [id, ...sized(vector(items))];

/** A vector instruction. */
export const simd = (opcode: number): number[] => [0xfd, ...unsigned(opcode)];

export const get = (local: number): number[] => [0x20, ...unsigned(local)];
export const set = (local: number): number[] => [0x21, ...unsigned(local)];

/** Loads a vector from the address on the stack plus `offset`; 16-byte alignment is a hint. */
export const load = (offset: number): number[] => [...simd(0x00), 4, ...unsigned(offset)];
/** Stores the vector on the stack at the address below it plus `offset`. */
export const store = (offset: number): number[] => [...simd(0x0b), 4, ...unsigned(offset)];

/** A scalar fp32 parameter in every lane. */
export const splat = (local: number): number[] => [...get(local), ...simd(0x13)];

/** A vector of one fp32 value. */
export const constantVector = (value: number): number[] => {
  const bytes = [...new Uint8Array(Float32Array.of(value).buffer)];
  return [...simd(0x0c), ...bytes, ...bytes, ...bytes, ...bytes];
};

/** local ← local + amount */
export const advance = (local: number, amount: number): number[] => [
  ...get(local),
  0x41,
  ...signed(amount),
  0x6a,
  ...set(local),
];

/** Repeats `body` for as long as the int32 `counter`, which the body decreases, is above zero; never when it starts at or below. */
export const whilePositive = (counter: number, body: Code): number[] => {
  const positive = [...get(counter), 0x41, 0, 0x4a];
  const [block, loop, empty, branchIf, end] = [0x02, 0x03, 0x40, 0x0d, 0x0b];
  return [block, empty, ...positive, 0x45, branchIf, 0, loop, empty, ...body, ...positive, branchIf, 0, end, end];
};

/**
 * @param parameters value types
 * @param locals value types of the locals, which are numbered after the parameters
 * @returns a module that imports `env.memory` and exports `run`
 */
export const moduleOf = (parameters: Code, locals: Code, body: Code): Uint8Array<ArrayBuffer> => {
  const [type, imports, functions, exports, code] = [1, 2, 3, 7, 10];
  const [functionType, aFunction, aMemory, noMaximum, end] = [0x60, 0x00, 0x02, 0x00, 0x0b];
  return Uint8Array.from([
    ...[0x00, 0x61, 0x73, 0x6d, 1, 0, 0, 0],
    ...section(type, [[functionType, ...sized(parameters), 0]]),
    ...section(imports, [[...name("env"), ...name("memory"), aMemory, noMaximum, 0]]),
    ...section(functions, [[0]]),
    ...section(exports, [[...name("run"), aFunction, 0]]),
    ...section(code, [sized([...vector(locals.map((local) => [1, local])), ...body, end])]),
  ]);
};
