import { mezo, minimize } from "zeroth";

// Rosenbrock's valley: least at (1, 1).
const rosenbrock = ([x, y]) => (1 - x) ** 2 + 100 * (y - x * x) ** 2;

const { x, evaluations } = await minimize(rosenbrock, [-1.2, 1], {
  optimizer: mezo({ learningRate: 1e-3, epsilon: 1e-4 }),
  steps: 10_000,
  schedule: "linear",
});
const place = Array.from(x, (value) => value.toFixed(3));
console.log(`${rosenbrock(x).toFixed(6)} at ${place}, after ${evaluations} evaluations`);
// 0.000604 at 0.975,0.951, after 20000 evaluations
