import { mkdir, writeFile } from "node:fs/promises";
import { join as path } from "node:path";
import fc from "fast-check";
import { InferenceSession, Tensor } from "onnxruntime-node";
import { describe, expect, it, vi } from "vitest";
import { ZerothError } from "../../src/errors.js";
import { graphBuilder } from "../../src/graph/builder.js";
import {
  type Attribute,
  type Dim,
  dtypes,
  type Initializer,
  type Model,
  type Node,
  type Port,
} from "../../src/graph/ir.js";
import { decodeModel, encodeModel } from "../../src/graph/onnx.js";
import { bytes, type Chunks, fields, float, int, join, message, packed, text } from "../../src/graph/protobuf.js";
import { temporaryFolder } from "../model/tiny.js";

const hex = (content: Uint8Array): string => Buffer.from(content).toString("hex");

/** The messages that a field can be added to, with the numbers of the fields that Zeroth reads there. */
const places = {
  model: [1, 7, 8],
  graph: [1, 2, 5, 11, 12],
  node: [1, 2, 3, 4, 5, 7],
  attribute: [1, 2, 3, 4, 8, 20],
  initializer: [1, 2, 8, 9, 13, 14],
  external: [1, 2, 8, 9, 13, 14],
  input: [1, 2],
  output: [1, 2],
  type: [1],
  tensor: [1, 2],
  shape: [1],
  size: [1, 2],
  opset: [1, 2],
  entry: [1, 2],
} as const;
type Place = keyof typeof places;
type Extra = Readonly<Partial<Record<Place, Chunks>>>;

/**
 * A model by onnx.proto3's field numbers, in the order that `encodeModel` writes, with more fields at the end of any message, or
 * at the front of those whose fields Zeroth takes apart.
 */
const file = (extra: Extra = {}, front: Extra = {}): Uint8Array => {
  const and = (place: Place, content: Chunks): Chunks => [...(front[place] ?? []), ...content, ...(extra[place] ?? [])];
  const entry = (key: string, value: string) => message(13, [...text(1, key), ...text(2, value)]);
  const size = message(1, and("size", text(2, "T")));
  const type = (dims: Chunks) =>
    message(2, and("type", message(1, and("tensor", [...int(1, 1), ...message(2, and("shape", dims))]))));
  const attribute = and("attribute", [...text(1, "axis"), ...int(3, -1), ...int(20, 2)]);
  const graph = [
    ...message(
      1,
      and("node", [...text(1, "x"), ...text(2, "y"), ...text(3, "n"), ...text(4, "Softmax"), ...message(5, attribute)]),
    ),
    ...text(2, "g"),
    ...message(
      5,
      and("initializer", [...packed(1, [1, 2]), ...int(2, 1), ...text(8, "w"), ...bytes(9, new Uint8Array(8).fill(3))]),
    ),
    ...message(
      5,
      and("external", [
        ...packed(1, [2]),
        ...int(2, 1),
        ...text(8, "v"),
        ...[...entry("location", "v.bin"), ...entry("offset", "4"), ...entry("length", "8")],
        ...int(14, 1),
        // An entry that Zeroth does not know: kept whole, behind those it knows.
        ...message(13, and("entry", [...text(1, "checksum"), ...text(2, "0f")])),
      ]),
    ),
    ...message(11, and("input", [...text(1, "x"), ...type([...size, ...message(1, int(1, 3))])])),
    ...message(12, and("output", [...text(1, "y"), ...type(size)])),
  ];
  const opset = message(8, and("opset", [...text(1, ""), ...int(2, 21)]));
  return join(and("model", [...int(1, 10), ...message(7, and("graph", graph)), ...opset]));
};

const taken: Model = {
  irVersion: 10,
  opsets: [{ domain: "", version: 21, unknown: [] }],
  graph: {
    name: "g",
    nodes: [
      {
        name: "n",
        operator: "Softmax",
        domain: "",
        inputs: ["x"],
        outputs: ["y"],
        attributes: { axis: -1 },
        unknown: [],
      },
    ],
    initializers: [
      { name: "w", dtype: 1, shape: [1, 2], data: { raw: new Uint8Array(8).fill(3) }, unknown: [] },
      {
        name: "v",
        dtype: 1,
        shape: [2],
        data: { external: { location: "v.bin", offset: 4, length: 8 } },
        unknown: [join(message(13, [...text(1, "checksum"), ...text(2, "0f")]))],
      },
    ],
    inputs: [{ name: "x", type: { dtype: 1, shape: ["T", 3] }, unknown: [] }],
    outputs: [{ name: "y", type: { dtype: 1, shape: ["T"] }, unknown: [] }],
    unknown: [],
  },
  unknown: [],
};

/** A field as it stands in a file: a tag, and a value of any wire type. Varints come padded too, which is odd but legal. */
const unknownField = (known: readonly number[]): fc.Arbitrary<Uint8Array> =>
  fc
    .tuple(
      fc
        .oneof(fc.integer({ min: 1, max: 30 }), fc.integer({ min: 1, max: 2 ** 29 - 1 }))
        .filter((number) => !known.includes(number)),
      fc.oneof(
        fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }).map((value) => ({ wire: 0, content: int(1, value).slice(1) })),
        fc.constant({ wire: 0, content: [Uint8Array.of(0x81, 0x80, 0x00)] }),
        fc.uint8Array({ minLength: 8, maxLength: 8 }).map((value) => ({ wire: 1, content: [value] })),
        fc.uint8Array({ maxLength: 200 }).map((value) => ({ wire: 2, content: bytes(1, value).slice(1) })),
        fc.uint8Array({ minLength: 4, maxLength: 4 }).map((value) => ({ wire: 5, content: [value] })),
      ),
    )
    .map(([number, { wire, content }]) => join([...int(1, BigInt(number) * 8n + BigInt(wire)).slice(1), ...content]));
/** The type of a vector whose size has neither a number nor a name. */
const unsized = (): Chunks => message(2, message(1, [...int(1, 1), ...message(2, message(1, []))]));
const unknownFields = (place: Place): fc.Arbitrary<Uint8Array[]> =>
  fc.array(unknownField(places[place]), { maxLength: 3 });

describe("a model file", () => {
  it("is what onnx.proto3's numbers say, both ways", () => {
    expect(decodeModel(file())).toEqual(taken);
    expect(hex(encodeModel(taken))).toBe(hex(file()));
  });

  it("gives back any model", () => {
    const name = fc.string({ unit: "grapheme", maxLength: 12 });
    const list = <T>(one: fc.Arbitrary<T>) => fc.array(one, { maxLength: 4 });
    const number = fc.oneof(fc.integer(), fc.maxSafeInteger());
    const size = fc.oneof(fc.nat(9), fc.nat({ max: Number.MAX_SAFE_INTEGER }));
    const attributes = fc
      .dictionary(
        name,
        fc.oneof(
          number,
          name,
          list(number),
          fc.float().map((value) => ({ float: value })),
          list(fc.float({ noNaN: true })).map((floats) => ({ floats })),
        ),
        { noNullPrototype: true, maxKeys: 5 },
      )
      // Lists of floats are among the kinds that are kept whole.
      .map((kinds) =>
        Object.fromEntries(
          Object.entries(kinds).map(([key, value]): [string, Attribute] => {
            if (typeof value !== "object" || !("floats" in value)) return [key, value];
            const floats = value.floats.flatMap((item) => float(7, item));
            return [key, { raw: join([...text(1, key), ...floats, ...int(20, 6)]) }];
          }),
        ),
      );
    const node: fc.Arbitrary<Node> = fc.record({
      name,
      operator: name,
      domain: fc.oneof(fc.constant(""), name),
      inputs: list(name),
      outputs: list(name),
      attributes,
      unknown: unknownFields("node"),
    });
    const initializer: fc.Arbitrary<Initializer> = fc.record({
      name,
      dtype: fc.constantFrom(...Object.values(dtypes)),
      shape: list(size),
      data: fc.oneof(
        fc.uint8Array({ maxLength: 40 }).map((raw) => ({ raw })),
        fc.record({ location: name, offset: size, length: size }).map((external) => ({ external })),
      ),
      unknown: unknownFields("initializer"),
    });
    const port: fc.Arbitrary<Port> = fc.record({
      name,
      type: fc.oneof(
        fc.record({ dtype: fc.integer({ min: 1, max: 16 }), shape: list(fc.oneof<fc.Arbitrary<Dim>[]>(size, name)) }),
        // A sequence of tensors.
        fc.constant({ raw: join(message(4, message(1, message(1, int(1, 1))))) }),
      ),
      unknown: unknownFields("input"),
    });
    const model: fc.Arbitrary<Model> = fc.record({
      irVersion: size,
      opsets: list(fc.record({ domain: name, version: size, unknown: unknownFields("opset") })),
      graph: fc.record({
        name,
        nodes: list(node),
        initializers: list(initializer),
        inputs: list(port),
        outputs: list(port),
        unknown: unknownFields("graph"),
      }),
      unknown: unknownFields("model"),
    });
    fc.assert(
      fc.property(model, (given) => {
        const content = encodeModel(given);
        const decoded = decodeModel(content);
        expect(decoded).toEqual(given);
        expect(hex(encodeModel(decoded))).toBe(hex(content));
      }),
      { numRuns: 300 },
    );
  });

  it("keeps fields that Zeroth does not know, in any message, byte for byte", () => {
    const names = Object.keys(places) as Place[];
    const extras = fc.tuple(...names.map(unknownFields)).map((lists) => {
      const extra: Record<string, Uint8Array[]> = {};
      for (const [i, place] of names.entries()) extra[place] = lists[i] ?? [];
      return extra as Record<Place, Uint8Array[]>;
    });
    fc.assert(
      fc.property(extras, (extra) => {
        expect(hex(encodeModel(decodeModel(file(extra))))).toBe(hex(file(extra)));
        // Those in front of known ones go behind them; attributes and types with unknown fields stay whole as they came.
        const { attribute: _a, type: _t, tensor: _u, shape: _s, size: _z, entry: _e, external: _x, ...moving } = extra;
        expect(hex(encodeModel(decodeModel(file({}, moving))))).toBe(hex(file(moving)));
        const { attribute, type, tensor, shape, size, entry } = extra;
        const whole = file({}, { attribute, type, tensor, shape, size, entry });
        expect(hex(encodeModel(decodeModel(whole)))).toBe(hex(whole));
      }),
      { numRuns: 300 },
    );
  });

  it.each(Object.keys(places) as Place[])("keeps one of every wire type in: %s", (place) => {
    const odd = [
      ["f8ac8b04", "8180808080808080ff01"],
      ["f9ac8b04", "0102030405060708"],
      ["faac8b04", "03616263"],
      ["fdac8b04", "01020304"],
    ].map((parts) => Uint8Array.from(Buffer.from(parts.join(""), "hex")));
    const content = file({ [place]: odd });
    expect(hex(content)).toContain(hex(join(odd)));
    expect(hex(encodeModel(decodeModel(content)))).toBe(hex(content));
  });

  it("reads numbers packed or one a field, and parts in any order", () => {
    const graph = [
      ...message(5, [
        ...int(14, 1),
        ...message(13, [...text(2, "8"), ...text(1, "length")]),
        ...message(13, [...text(1, "location"), ...text(2, "v.bin")]),
        ...text(8, "v"),
        ...int(1, 2),
        ...int(1, 3),
      ]),
      ...message(1, [
        ...message(5, [...int(20, 7), ...packed(8, [1, -1, 300]), ...int(8, 4), ...text(1, "perm")]),
        ...message(5, [...text(1, "zero"), ...int(20, 2)]),
        ...message(5, [...text(1, "alpha"), ...float(2, 0.5), ...int(20, 1)]),
        ...message(5, [...text(1, "mode"), ...text(4, "é"), ...int(20, 3)]),
      ]),
    ];
    const { nodes, initializers } = decodeModel(join(message(7, graph))).graph;
    expect(initializers).toMatchObject([
      { name: "v", shape: [2, 3], data: { external: { location: "v.bin", offset: undefined, length: 8 } } },
    ]);
    expect(nodes[0]?.attributes).toEqual({ perm: [1, -1, 300, 4], zero: 0, alpha: { float: 0.5 }, mode: "é" });
  });

  it("keeps an attribute whole when its number is beyond JavaScript's", () => {
    const raw = join([...text(1, "end"), ...int(3, 2n ** 63n - 1n), ...int(20, 2)]);
    const content = join(message(7, message(1, message(5, [raw]))));
    const model = decodeModel(content);
    expect(model.graph.nodes[0]?.attributes).toEqual({ end: { raw } });
    expect(hex(encodeModel(model))).toContain(hex(raw));
  });

  it("is not copied: weights are views of its bytes", () => {
    const content = file();
    const [weight] = decodeModel(content).graph.initializers;
    if (weight?.data === undefined || !("raw" in weight.data)) throw new Error("no weight in the file");
    expect(weight.data.raw.buffer).toBe(content.buffer);
  });

  const rewritten = (content: Uint8Array): string => hex(encodeModel(decodeModel(content)));
  const tensor = (...parts: Chunks) => join([...message(7, message(5, parts))]);
  const attributeOf = (...parts: Chunks) => join([...message(7, message(1, message(5, parts)))]);
  it.each<[string, Uint8Array]>([
    ["values in float_data", tensor(...packed(1, [2]), ...int(2, 1), ...text(8, "w"), ...bytes(4, new Uint8Array(8)))],
    ["values in int64_data", tensor(...packed(1, [2]), ...int(2, 7), ...text(8, "w"), ...packed(7, [5, -6]))],
    [
      "external data without a place or a length",
      tensor(
        ...packed(1, [2]),
        ...int(2, 1),
        ...text(8, "w"),
        ...message(13, [...text(1, "location"), ...text(2, "w.bin")]),
        ...int(14, 1),
      ),
    ],
    ["the 2^63 - 1 that ends a slice", attributeOf(...text(1, "ends"), ...int(8, 2n ** 63n - 1n), ...int(20, 7))],
    ["a string that is not UTF-8", attributeOf(...text(1, "s"), ...bytes(4, Uint8Array.of(0xff, 0xfe)), ...int(20, 3))],
    ["a string with a byte order mark", attributeOf(...text(1, "\ufeffs"), ...text(4, "\ufeffs"), ...int(20, 3))],
    ["a number where text is known", tensor(...int(2, 1), ...text(8, "w"), ...int(8, 3))],
    ["a size with neither number nor name", join([...message(7, message(11, [...text(1, "x"), ...unsized()]))])],
    ["an output without a type", join([...message(7, message(12, text(1, "y")))])],
  ])("keeps %s", (_, content) => {
    // `encodeModel` writes the version first and a graph's name always.
    const graph = [...fields(content)][0]?.bytes ?? new Uint8Array(0);
    expect(rewritten(content)).toContain(hex([...fields(graph)][0]?.bytes ?? new Uint8Array(0)));
  });

  it("does not write empty values beside those of another field, which the runtime would refuse", async () => {
    const values = new Uint8Array(Float32Array.of(3, 4).buffer);
    const weight = [...packed(1, [2]), ...int(2, 1), ...text(8, "w"), ...bytes(4, values)];
    const node = [...text(1, "w"), ...text(2, "y"), ...text(4, "Neg")];
    const output = [...text(1, "y"), ...message(2, message(1, [...int(1, 1), ...message(2, message(1, int(1, 2)))]))];
    const graph = [...message(1, node), ...text(2, "g"), ...message(5, weight), ...message(12, output)];
    const content = join([...int(1, 10), ...message(7, graph), ...message(8, [...text(1, ""), ...int(2, 21)])]);
    const session = await InferenceSession.create(encodeModel(decodeModel(content)), { logSeverityLevel: 4 });
    expect((await session.run({})).y?.data).toEqual(Float32Array.of(-3, -4));
    await session.release();
  });
});

describe("the runtime", () => {
  const folderOption = (folder: string): InferenceSession.SessionOptions => ({
    logSeverityLevel: 4,
    intraOpNumThreads: 1,
    extra: { session: { model_external_initializers_file_folder_path: folder } },
  });
  const run = async (model: Model, folder = "") => {
    const session = await InferenceSession.create(encodeModel(model), folderOption(folder));
    try {
      return await session.run({});
    } finally {
      await session.release();
    }
  };

  /** A file whose n-th float is n, so that a value tells where it was read. */
  const countingFile = async (file: string): Promise<void> =>
    writeFile(file, new Uint8Array(Float32Array.from({ length: 4000 }, (_, i) => i).buffer));

  it("reads weights outside the model's file where they lie", async () => {
    const folder = await temporaryFolder();
    await mkdir(path(folder, "part"));
    await countingFile(path(folder, "a.bin"));
    await countingFile(path(folder, "part", "b.bin"));
    const g = graphBuilder("g");
    const weight = (name: string, shape: readonly number[], location: string, at: number) => {
      const length = 4 * shape.reduce((a, b) => a * b, 1);
      return g.weight(name, "float32", shape, { location, offset: 4 * at, length });
    };
    const [first, second] = [weight("w1", [2, 3], "a.bin", 1025), weight("w2", [3], "a.bin", 7)];
    g.output(g.op("Mul", [first, second]), "product");
    g.output(weight("w3", [2], "part/b.bin", 3998), "last");
    g.output(weight("w4", [1], "a.bin", 0), "start");
    const { product, last, start } = await run(g.build(), folder);
    expect(product?.dims).toEqual([2, 3]);
    expect(product?.data).toEqual(Float32Array.from([1025 * 7, 1026 * 8, 1027 * 9, 1028 * 7, 1029 * 8, 1030 * 9]));
    expect(last?.data).toEqual(Float32Array.of(3998, 3999));
    expect(start?.data).toEqual(Float32Array.of(0));
  });

  it("reads them from a decoded model too", async () => {
    const folder = await temporaryFolder();
    await countingFile(path(folder, "a.bin"));
    const g = graphBuilder("g");
    g.output(g.weight("w", "float32", [2], { location: "a.bin", offset: 40, length: 8 }), "y");
    const { y } = await run(decodeModel(encodeModel(g.build())), folder);
    expect(y?.data).toEqual(Float32Array.of(10, 11));
  });

  it.each([
    ["a place past the end of the file", { location: "a.bin", offset: 15996, length: 8 }],
    ["a file that is not there", { location: "b.bin", offset: 0, length: 8 }],
  ])("refuses %s", async (_, external) => {
    const folder = await temporaryFolder();
    await countingFile(path(folder, "a.bin"));
    const g = graphBuilder("g");
    g.output(g.weight("w", "float32", [2], external), "y");
    await expect(run(g.build(), folder)).rejects.toThrow();
  });

  it("takes every kind of attribute and bfloat16 as they were meant", async () => {
    const g = graphBuilder("g");
    const x = g.constant(Float32Array.of(1, 3, -1, 5), [2, 2]);
    const ones = g.constant(Float32Array.of(1, 1));
    g.output(g.op("LayerNormalization", [x, ones], { epsilon: { float: 100 } }), "float");
    g.output(g.op("Softmax", [x], { axis: 0 }), "int");
    g.output(g.op("Transpose", [x], { perm: [1, 0] }), "ints");
    const built = g.build();
    const node = (operator: string, input: string, output: string, attributes: Node["attributes"]): Node => ({
      name: output,
      operator,
      domain: "",
      inputs: [input],
      outputs: [output],
      attributes,
      unknown: [],
    });
    const output = (name: string, shape: readonly Dim[]): Port => ({ name, type: { dtype: 1, shape }, unknown: [] });
    const results = await run({
      ...built,
      graph: {
        ...built.graph,
        nodes: [
          ...built.graph.nodes,
          node("Gelu", x.name, "string", { approximate: "tanh" }),
          node("Cast", "b", "bfloat16", { to: dtypes.float32 }),
        ],
        initializers: [
          ...built.graph.initializers,
          {
            name: "b",
            dtype: dtypes.bfloat16,
            shape: [2],
            data: { raw: Uint8Array.of(0xc0, 0x3f, 0x00, 0xc0) },
            unknown: [],
          },
        ],
        outputs: [...built.graph.outputs, output("string", [2, 2]), output("bfloat16", [2])],
      },
    });
    const gelu = (v: number) => 0.5 * v * (1 + Math.tanh(Math.sqrt(2 / Math.PI) * (v + 0.044715 * v ** 3)));
    const share = (a: number, b: number) => 1 / (1 + Math.exp(b - a));
    const expected: Readonly<Record<string, readonly number[]>> = {
      // Means 2 and 2, variances 1 and 9.
      float: [-1 / Math.sqrt(101), 1 / Math.sqrt(101), -3 / Math.sqrt(109), 3 / Math.sqrt(109)],
      int: [share(1, -1), share(3, 5), share(-1, 1), share(5, 3)],
      ints: [1, -1, 3, 5],
      string: [1, 3, -1, 5].map(gelu),
      bfloat16: [1.5, -2],
    };
    for (const [name, values] of Object.entries(expected)) {
      const data = results[name]?.data;
      if (!(data instanceof Float32Array)) throw new Error(`${name} is not float32`);
      values.forEach((value, i) => {
        expect(data[i], `${name}[${i}]`).toBeCloseTo(value, 5);
      });
    }
  });

  it("takes a model with unknown fields as it takes the model without", async () => {
    const g = graphBuilder("g");
    g.output(g.op("Neg", [g.input("x", "float32", ["T"])]), "y");
    const built = g.build();
    const unknown = [join([...text(4999, "kept"), ...int(5000, 2n ** 64n - 1n)])];
    const more: Model = {
      ...built,
      unknown,
      graph: { ...built.graph, unknown, nodes: built.graph.nodes.map((node) => ({ ...node, unknown })) },
    };
    const session = await InferenceSession.create(encodeModel(decodeModel(encodeModel(more))), folderOption(""));
    const { y } = await session.run({ x: new Tensor("float32", [1, 2, 3], [3]) });
    await session.release();
    expect(y?.data).toEqual(Float32Array.of(-1, -2, -3));
  });
});

/** The most bytes or elements that the work asks for at once; collected or not, so it does not depend on the collector. */
const largestAllocation = (work: () => void): number => {
  let most = 0;
  for (const kind of [ArrayBuffer, Uint8Array, Float32Array, Float64Array, BigInt64Array, Array]) {
    const counted = new Proxy<object>(kind, {
      construct(_, args: unknown[]) {
        const [size] = args;
        if (typeof size === "number") most = Math.max(most, size);
        return Reflect.construct(kind, args);
      },
    });
    vi.stubGlobal(kind.name, counted);
  }
  try {
    work();
  } finally {
    vi.unstubAllGlobals();
  }
  return most;
};

/** Whether the bytes were taken. Anything but that or one clear error is a defect, and so is a model that cannot be written. */
const survives = (content: Uint8Array): boolean => {
  let model: Model;
  try {
    model = decodeModel(content);
  } catch (error) {
    if (!(error instanceof ZerothError)) throw error;
    expect(error.message).toMatch(/^Not a valid ONNX file: /);
    expect(error.message.split("\n").length).toBeLessThanOrEqual(4);
    return false;
  }
  decodeModel(encodeModel(model));
  return true;
};

describe("bytes that are no model", () => {
  const good = file({ attribute: text(13, "kept whole"), node: text(6, "doc") });

  it("are refused wherever the file was cut, up to the end of its graph", () => {
    let end = 0;
    for (const field of fields(good)) {
      end += field.raw.length;
      if (field.number === 7) break;
    }
    expect(end).toBeGreaterThan(100);
    const kept = Array.from({ length: good.length }, (_, at) => at).filter((at) => survives(good.subarray(0, at)));
    expect(kept[0]).toBe(end);
    // What follows is the operator sets: a cut between fields cannot be told from an end.
    expect(kept).toEqual([end]);
    for (const at of [0, 2]) expect(() => decodeModel(good.subarray(0, at))).toThrow("it holds no graph");
    expect(() => decodeModel(good.subarray(0, end - 1))).toThrow("field 7 is longer than the file");
  });

  const RUNS = Number(process.env.ZEROTH_FUZZ_RUNS ?? 2000);
  const place = fc.nat(good.length - 1);
  const claim = fc.constantFrom(
    2n ** 7n,
    2n ** 14n,
    2n ** 28n,
    2n ** 31n,
    2n ** 32n,
    2n ** 53n,
    2n ** 63n,
    2n ** 64n - 1n,
  );
  it.each<[string, fc.Arbitrary<Uint8Array>]>([
    [
      "flipped bits",
      fc.array(fc.tuple(place, fc.integer({ min: 1, max: 255 })), { minLength: 1, maxLength: 6 }).map((flips) => {
        const content = good.slice();
        for (const [at, mask] of flips) content[at] = (content[at] ?? 0) ^ mask;
        return content;
      }),
    ],
    [
      "parts written over, dropped or doubled",
      fc
        .tuple(place, place, fc.uint8Array({ maxLength: 12 }))
        .map(([from, to, over]) => join([good.subarray(0, from), over, good.subarray(to)])),
    ],
    [
      "numbers that claim far more than there is",
      fc
        .tuple(place, fc.nat(3), claim)
        .map(([at, skip, value]) => join([good.subarray(0, at), ...int(1, value).slice(1), good.subarray(at + skip)])),
    ],
    [
      "flips in a file cut short",
      fc.tuple(place, place).map(([at, cut]) => good.slice(0, cut).fill(at % 256, at, at + 1)),
    ],
  ])("are taken or refused with one clear error: %s", (_, damaged) => {
    let refused = 0;
    const fuzz = () =>
      fc.assert(
        fc.property(damaged, (content) => {
          if (!survives(content)) refused++;
        }),
        { numRuns: RUNS },
      );
    expect(largestAllocation(fuzz)).toBeLessThan(2 ** 16);
    // Both happen, or the damage is too small or too great to say anything.
    expect(refused).toBeGreaterThan(RUNS / 10);
    expect(refused).toBeLessThan(RUNS);
  });

  it("are refused or taken when they are random", () => {
    const byte = fc.oneof(fc.nat(255), fc.constantFrom(0x0a, 0x12, 0x2a, 0x3a, 0x42, 0x5a, 0, 1, 2, 3));
    fc.assert(
      fc.property(fc.array(byte, { maxLength: 80 }), (list) => {
        survives(Uint8Array.from(list));
        // As the content of a graph and of its parts, which random bytes seldom reach.
        for (const number of [1, 5, 11]) survives(join(message(7, message(number, [Uint8Array.from(list)]))));
        survives(join(message(7, message(1, message(5, [Uint8Array.from(list)])))));
      }),
      { numRuns: RUNS },
    );
  });

  const lie = (number: number, length: bigint): Chunks => [
    Uint8Array.of(number * 8 + 2),
    ...int(1, length).slice(1),
    Uint8Array.of(8, 1, 8, 1),
  ];
  it.each<[string, (length: bigint) => Chunks]>([
    ["a graph", (length) => lie(7, length)],
    ["an operator set", (length) => lie(8, length)],
    ["a node", (length) => message(7, lie(1, length))],
    ["an attribute", (length) => message(7, message(1, lie(5, length)))],
    ["an attribute's numbers", (length) => message(7, message(1, message(5, lie(8, length))))],
    ["an attribute's string", (length) => message(7, message(1, message(5, lie(4, length))))],
    ["a tensor", (length) => message(7, lie(5, length))],
    ["a tensor's shape", (length) => message(7, message(5, lie(1, length)))],
    ["a tensor's name", (length) => message(7, message(5, lie(8, length)))],
    ["a tensor's bytes", (length) => message(7, message(5, lie(9, length)))],
    ["an entry of external data", (length) => message(7, message(5, lie(13, length)))],
    ["an input's type", (length) => message(7, message(11, lie(2, length)))],
    ["an input's shape", (length) => message(7, message(11, message(2, message(1, lie(2, length)))))],
    ["a field that is not known", (length) => message(7, lie(10, length))],
  ])("are refused before anything is allocated by the length of %s", (_, content) => {
    for (const length of [5n, 2n ** 28n, 2n ** 31n, 2n ** 32n + 2n, 2n ** 53n, 2n ** 63n, 2n ** 64n - 1n]) {
      const lying = join(content(length));
      const read = () => {
        expect(() => decodeModel(lying)).toThrow(/^Not a valid ONNX file: field \d+ is longer than the file/);
      };
      expect(largestAllocation(read)).toBeLessThan(100);
    }
  });

  it("allocate nothing by the sizes that a tensor claims", () => {
    const tensor = [...packed(1, [2 ** 40, 2 ** 12]), ...int(2, 1), ...text(8, "w"), ...bytes(9, new Uint8Array(4))];
    const content = join(message(7, message(5, tensor)));
    expect(largestAllocation(() => decodeModel(content))).toBeLessThan(100);
    const [decoded] = decodeModel(content).graph.initializers;
    expect(decoded).toMatchObject({ shape: [2 ** 40, 2 ** 12], data: { raw: new Uint8Array(4) } });
  });

  it("are taken with lists of more numbers than a call has arguments", () => {
    const list = new Uint8Array(500_000);
    const attribute = [...text(1, "axes"), ...bytes(8, list), ...int(20, 7)];
    const content = join(message(7, [...message(1, message(5, attribute)), ...message(5, bytes(1, list))]));
    const { nodes, initializers } = decodeModel(content).graph;
    expect(nodes[0]?.attributes.axes).toHaveLength(list.length);
    expect(initializers[0]?.shape).toHaveLength(list.length);
  });

  it.each([
    ["no file", { offset: "0", length: "8" }, "the tensor w is external but names no file."],
    [
      "a place before the file",
      { location: "f", offset: "-4", length: "8" },
      'the tensor w has "-4" as its offset in f.',
    ],
    ["a place in parts", { location: "f", offset: "1.5", length: "8" }, 'the tensor w has "1.5" as its offset in f.'],
    ["a place in words", { location: "f", offset: "here", length: "8" }, 'the tensor w has "here" as its offset in f.'],
    ["an empty place", { location: "f", offset: "", length: "8" }, 'the tensor w has "" as its offset in f.'],
    ["a place in another base", { location: "f", offset: "0x8" }, 'the tensor w has "0x8" as its offset in f.'],
    ["a negative length", { location: "f", offset: "0", length: "-1" }, 'the tensor w has "-1" as its length in f.'],
    ["a place beyond numbers", { location: "f", offset: "9007199254740993" }, "the tensor w has"],
    ["an endless length", { location: "f", length: "Infinity" }, 'the tensor w has "Infinity" as its length in f.'],
    ["lines for a place", { location: "f\ng", offset: "1\n2" }, 'the tensor w has "1 2" as its offset in f g.'],
  ])("are refused when a tensor outside has %s", (_, entries, words) => {
    const external = Object.entries(entries).flatMap(([key, value]) =>
      message(13, [...text(1, key), ...text(2, value)]),
    );
    const content = join(message(7, message(5, [...text(8, "w"), ...external, ...int(14, 1)])));
    expect(() => decodeModel(content)).toThrow(ZerothError);
    expect(() => decodeModel(content)).toThrow(`Not a valid ONNX file: ${words}`);
  });
});
