import type { Parameter } from "../model/family.js";
import type { Method } from "./method.js";

/** Every parameter of the model, in place; a tied embedding is one parameter. */
export const fullMethod = (parameters: readonly Parameter[]): Method => ({
  kind: "full",
  placement: "in-place",
  tensors: parameters.map(({ name, shape }) => ({ name, shape, initial: { kind: "weights" } })),
});
