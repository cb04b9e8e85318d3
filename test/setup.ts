import fc from "fast-check";

// Tests are deterministic: the same properties are tried on the same values every time. ZEROTH_TEST_SEED looks elsewhere.
fc.configureGlobal({ seed: Number(process.env.ZEROTH_TEST_SEED ?? 1) });
