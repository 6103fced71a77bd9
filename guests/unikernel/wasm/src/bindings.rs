//! The interfaces that the guest hosts itself.
#![allow(missing_docs, reason = "generated; the interfaces say what they are")]

wasmtime::component::bindgen!({
    path: "../../../wit/wasi-0.2",
    inline: "
        package limes:guest;
        world local {
            import wasi:io/error@0.2.12;
            import wasi:io/poll@0.2.12;
            import wasi:io/streams@0.2.12;
            import wasi:cli/environment@0.2.12;
            import wasi:cli/exit@0.2.12;
            import wasi:cli/stdin@0.2.12;
            import wasi:cli/stdout@0.2.12;
            import wasi:cli/stderr@0.2.12;
            import wasi:cli/terminal-input@0.2.12;
            import wasi:cli/terminal-output@0.2.12;
            import wasi:cli/terminal-stdin@0.2.12;
            import wasi:cli/terminal-stdout@0.2.12;
            import wasi:cli/terminal-stderr@0.2.12;
            import wasi:clocks/monotonic-clock@0.2.12;
            import wasi:clocks/wall-clock@0.2.12;
            import wasi:random/random@0.2.12;
            import wasi:random/insecure@0.2.12;
            import wasi:random/insecure-seed@0.2.12;
            import wasi:http/types@0.2.12;
            import wasi:http/outgoing-handler@0.2.12;
        }
    ",
    world: "limes:guest/local",
    imports: { default: trappable },
    with: {
        "wasi:io/error.error": crate::io::IoError,
        "wasi:io/poll.pollable": crate::poll::Pollable,
        "wasi:io/streams.input-stream": crate::io::InputStream,
        "wasi:io/streams.output-stream": crate::io::OutputStream,
        "wasi:http/types.fields": crate::http::Fields,
        "wasi:http/types.incoming-request": crate::http::IncomingRequest,
        "wasi:http/types.incoming-response": crate::http::IncomingResponse,
        "wasi:http/types.incoming-body": crate::http::IncomingBody,
        "wasi:http/types.future-trailers": crate::http::FutureTrailers,
        "wasi:http/types.outgoing-request": crate::http::OutgoingRequest,
        "wasi:http/types.outgoing-response": crate::http::OutgoingResponse,
        "wasi:http/types.outgoing-body": crate::http::OutgoingBody,
        "wasi:http/types.response-outparam": crate::http::ResponseOutparam,
        "wasi:http/types.request-options": crate::http::RequestOptions,
        "wasi:http/types.future-incoming-response": crate::http::FutureResponse,
    },
});
