import * as written from "FUNCTION";

const handler = written.default;

// A module that listens for "fetch" itself exports no default, and needs none.
if (handler !== undefined) {
  const answer = async (request) => {
    try {
      return await (typeof handler === "function" ? handler(request) : handler.fetch(request));
    } catch (error) {
      console.error(error?.stack ?? String(error));
      return new Response("the function failed; its log says why\n", { status: 500 });
    }
  };
  addEventListener("fetch", (event) => event.respondWith(answer(event.request)));
}
