import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";

// Tests are deterministic: the same properties are tried on the same values every time. ZEROTH_TEST_SEED looks elsewhere.
fc.configureGlobal({ seed: Number(process.env.ZEROTH_TEST_SEED ?? 1) });

// What can be made again is kept apart from the user's own.
process.env.XDG_CACHE_HOME = join(tmpdir(), "zeroth-test-cache");
