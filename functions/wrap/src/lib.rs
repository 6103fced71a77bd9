//! Makes a component or a Linux program of a function's logic.
#![deny(missing_docs)]

#[cfg(target_family = "wasm")]
#[doc(hidden)]
pub mod bindings;
mod directory;
#[cfg(not(target_family = "wasm"))]
mod program;

pub use directory::Directory;
#[cfg(not(target_family = "wasm"))]
pub use program::program;

/// Exports a function's logic as `component:run/run`: [`component!`](crate::component) calls it with its arguments.
///
/// What has no answer is said on stderr, and traps.
#[macro_export]
macro_rules! component {
    ($logic:expr) => {
        #[cfg(target_family = "wasm")]
        const _: () = {
            struct Component;

            impl $crate::bindings::exports::component::run::run::Guest for Component {
                fn run(args: String) -> String {
                    let answer: Result<String, limes_functions_logic::Error> = ($logic)(&args);
                    answer.unwrap_or_else(|error| {
                        eprintln!("{error}");
                        core::arch::wasm32::unreachable()
                    })
                }
            }

    $crate::bindings::export!(Component with_types_in $crate::bindings);
        };
    };
}
