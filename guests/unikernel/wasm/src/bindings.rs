//! The interfaces that the guest hosts itself.
#![allow(missing_docs, reason = "generated; the interfaces say what they are")]

use crate::host::Host;
use wasmtime::Engine;
use wasmtime::component::{Component, HasSelf, Linker};

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

/// Defines the interfaces among these that `component` imports: each is a good deal of code that runs once, which a machine by software has to
/// translate first.
pub(crate) fn link(
    engine: &Engine,
    component: &Component,
    linker: &mut Linker<Host>,
) -> wasmtime::Result<()> {
    macro_rules! interfaces {
        ($import:ident: $($name:literal => $($module:ident)::+ $(($options:expr))?,)*) => {
            match $import {
                $($name => wasi::$($module)::+::add_to_linker::<_, HasSelf<Host>>(linker, $(&$options,)? |host| host)?,)*
                _ => {}
            }
        };
    }
    for (import, _) in component.component_type().imports(engine) {
        let interface = import.split('@').next().unwrap_or(import);
        interfaces! { interface:
            "wasi:io/error" => io::error,
            "wasi:io/poll" => io::poll,
            "wasi:io/streams" => io::streams,
            "wasi:cli/environment" => cli::environment,
            "wasi:cli/exit" => cli::exit,
            "wasi:cli/stdin" => cli::stdin,
            "wasi:cli/stdout" => cli::stdout,
            "wasi:cli/stderr" => cli::stderr,
            "wasi:cli/terminal-input" => cli::terminal_input,
            "wasi:cli/terminal-output" => cli::terminal_output,
            "wasi:cli/terminal-stdin" => cli::terminal_stdin,
            "wasi:cli/terminal-stdout" => cli::terminal_stdout,
            "wasi:cli/terminal-stderr" => cli::terminal_stderr,
            "wasi:clocks/monotonic-clock" => clocks::monotonic_clock,
            "wasi:clocks/wall-clock" => clocks::wall_clock,
            "wasi:random/random" => random::random,
            "wasi:random/insecure" => random::insecure,
            "wasi:random/insecure-seed" => random::insecure_seed,
            "wasi:http/types" => http::types(LinkOptions::default().into()),
            "wasi:http/outgoing-handler" => http::outgoing_handler,
        }
    }
    Ok(())
}
