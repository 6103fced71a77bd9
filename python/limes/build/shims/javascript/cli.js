import { getArguments } from "wasi:cli/environment@0.2.10";
import { exitWithCode } from "wasi:cli/exit@0.2.10";
import * as written from "FUNCTION";

export const run = {
  async run() {
    let code;
    try {
      code = (await written.main(getArguments().slice(1))) ?? 0;
    } catch (error) {
      console.error(error?.stack ?? String(error));
      code = 1;
    }
    if (code !== 0) exitWithCode(code & 0xff);
  },
};
