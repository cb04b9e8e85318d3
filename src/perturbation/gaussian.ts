import type { Perturbation } from "./perturbation.js";

/** z ~ N(0, I), MeZO's published choice. E‖g‖² = (d + q + 1)/q · ‖∇L‖² (algorithm reference, section 1.1). */
export const gaussian: Perturbation = { name: "gaussian", distribution: "gaussian", onSphere: false };
