import * as written from "FUNCTION";

export const run = {
  async run(args) {
    const answer = await written.run(args);
    if (typeof answer !== "string") throw new TypeError(`run() must return a string, it returned ${typeof answer}`);
    return answer;
  },
};
