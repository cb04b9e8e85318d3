// Makes the quickstart's task: short happenings in a child's day, each labelled with how the child felt.
// Run: node tools/quickstart/make.mjs [OUT]. The rows are a function of this file alone.
//
// A happening is a verb phrase and a thing. A pair of the two that occurs in a validation row occurs in no training row,
// and things, names, colours and openings say nothing of the label: only what happened does.
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

const out = process.argv[2] ?? fileURLToPath(new URL("../../assets/quickstart", import.meta.url));
const rowCounts = { train: 600, validation: 200 };

const children = [
  ...["Lily", "Sue", "Mia", "Anna", "Amy", "Sara", "Lucy", "Jane"].map((name) => ({ name, her: "her", she: "she" })),
  ...["Tom", "Tim", "Ben", "Max", "Sam", "Jack", "Bob", "Billy"].map((name) => ({ name, her: "his", she: "he" })),
];
const openings = [
  "One day,",
  "At the park,",
  "In the morning,",
  "After lunch,",
  "On the way home,",
  "That day,",
  "At school,",
  "In the yard,",
];
const colours = ["red", "blue", "green", "yellow", "big", "little"];

// {name} {her} {she}: the child; {thing}: "red ball"; {friend}: "grandma".
const things = [
  "ball",
  "kite",
  "doll",
  "hat",
  "boat",
  "truck",
  "train",
  "drum",
  "book",
  "bike",
  "balloon",
  "toy car",
  "teddy bear",
  "bag",
];
const friends = ["mom", "dad", "grandma", "grandpa", "brother", "sister", "friend", "teacher"];
const happenings = [
  {
    slot: "thing",
    fillers: things,
    sad: [
      "{name} lost {her} {thing}.",
      "{name} broke {her} {thing}.",
      "{name}'s {thing} fell and broke.",
      "{name} could not find {her} {thing}.",
      "{name} wanted a {thing}, but {her} mom said no.",
      "{name} tried to fix {her} {thing}, but {she} couldn't.",
      "{name} looked for {her} {thing}, but it was gone.",
      "{name} wanted to play with {her} {thing}, but it was broken.",
      "{name} fell on {her} {thing} and got hurt.",
      "a bad dog took {name}'s {thing}.",
    ],
    happy: [
      "{name} found {her} {thing}.",
      "{name} got a new {thing}.",
      "{name} won a {thing} in a game.",
      "{name} opened the box and saw a {thing}.",
      "{name} had fun with {her} {thing}.",
      "{name} shared {her} {thing} with a friend.",
      "{name} played with {her} {thing} in the sun.",
      "{name}'s mom gave {name} a new {thing}.",
      "a kind man fixed {name}'s {thing}.",
      "everyone liked {name}'s {thing}.",
    ],
  },
  {
    slot: "friend",
    fillers: friends,
    sad: [
      "{name}'s {friend} was hurt.",
      "{name}'s {friend} was mean to {name}.",
      "{name}'s {friend} did not want to play.",
      "{name}'s {friend} could not come to the party.",
      "{name} could not find {her} {friend}.",
      "{name} had to say goodbye to {her} {friend}.",
    ],
    happy: [
      "{name}'s {friend} gave {name} a big hug.",
      "{name}'s {friend} made a delicious cake.",
      "{name}'s {friend} smiled and said yes.",
      "{name}'s {friend} came to the party.",
      "{name} played with {her} {friend} all day.",
      "{name} and {her} {friend} laughed and had fun.",
    ],
  },
];

/** Mulberry32: a small generator is enough to shuffle a word list. */
const generator = (seed) => () => {
  seed = (seed + 0x6d2b79f5) | 0;
  let t = Math.imul(seed ^ (seed >>> 15), 1 | seed);
  t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
  return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
};
const random = generator(20);
const pick = (list) => list[Math.floor(random() * list.length)];
const shuffled = (list) =>
  list
    .map((value) => ({ value, place: random() }))
    .sort((a, b) => a.place - b.place)
    .map(({ value }) => value);

/** Every (verb phrase, thing) pair of a label, shuffled: the first quarter is held out for validation. */
const pairsOf = (label) =>
  shuffled(
    happenings.flatMap(({ slot, fillers, ...frames }) =>
      frames[label].flatMap((frame) => fillers.map((filler) => ({ slot, frame, filler }))),
    ),
  );

const row = ({ slot, frame, filler }, label) => {
  const { name, her, she } = pick(children);
  const words = { name, her, she, [slot]: slot === "thing" ? `${pick(colours)} ${filler}` : filler };
  const text = `${pick(openings)} ${frame.replace(/\{(\w+)\}/g, (_, word) => words[word])}`;
  return { text, name, label };
};

const rowsOf = (pairs, label, count, seen) => {
  const rows = [];
  for (let i = 0; rows.length < count; i++) {
    const candidate = row(pairs[i % pairs.length], label);
    if (!seen.has(candidate.text)) rows.push(candidate);
    seen.add(candidate.text);
  }
  return rows;
};

const seen = new Set();
const sets = { train: [], validation: [] };
for (const label of ["sad", "happy"]) {
  const pairs = pairsOf(label);
  const cut = Math.floor(pairs.length / 4);
  sets.validation.push(...rowsOf(pairs.slice(0, cut), label, rowCounts.validation / 2, seen));
  sets.train.push(...rowsOf(pairs.slice(cut), label, rowCounts.train / 2, seen));
}

const texts = new Set(sets.train.map(({ text }) => text));
if (sets.validation.some(({ text }) => texts.has(text)))
  throw new Error("a validation text is among the training texts");

mkdirSync(out, { recursive: true });
for (const [name, rows] of Object.entries(sets))
  writeFileSync(
    join(out, `${name}.jsonl`),
    `${shuffled(rows)
      .map((r) => JSON.stringify(r))
      .join("\n")}\n`,
  );
