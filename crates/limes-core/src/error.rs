use std::fmt;
use std::time::Duration;

/// The result of everything in Limes that can fail.
pub type Result<T, E = Error> = std::result::Result<T, E>;

macro_rules! kinds {
    ($($(#[$doc:meta])* $variant:ident = $name:literal, $http:literal, $exit:literal, $retry:literal;)*) => {
        /// What kind of failure this is: one list for Rust, Python, HTTP and exit codes.
        ///
        /// The numbers are part of the public interface; `docs/reference/errors.md` is made from them.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum ErrorKind { $($(#[$doc])* $variant,)* }

        impl ErrorKind {
            /// Every kind, in the order of the table.
            pub const ALL: &'static [ErrorKind] = &[$(ErrorKind::$variant,)*];

            /// The name used in JSON, logs and metrics (snake case).
            pub const fn name(self) -> &'static str { match self { $(Self::$variant => $name,)* } }

            /// The HTTP status that answers a request which failed this way.
            pub const fn http_status(self) -> u16 { match self { $(Self::$variant => $http,)* } }

            /// The exit code of the command line.
            pub const fn exit_code(self) -> u8 { match self { $(Self::$variant => $exit,)* } }

            /// Whether the same call may succeed when made again, unchanged.
            pub const fn retryable(self) -> bool { match self { $(Self::$variant => $retry,)* } }
        }
    };
}

kinds! {
    /// The caller asked for something that has no meaning: a bad name, limit, grant or request.
    InvalidArgument = "invalid_argument", 400, 64, false;
    /// The bytes are no valid WebAssembly component or module, or import what no sandbox offers.
    BadComponent = "bad_component", 422, 65, false;
    /// A valid component that exports nothing Limes can call.
    UnsupportedContract = "unsupported_contract", 422, 66, false;
    /// The bearer token is missing or wrong.
    Unauthorized = "unauthorized", 401, 67, false;
    /// No such function, revision or invocation.
    NotFound = "not_found", 404, 68, false;
    /// The node cannot be reached, is starting, or is shutting down.
    Unavailable = "unavailable", 503, 69, true;
    /// A fault of Limes itself.
    Internal = "internal", 500, 70, false;
    /// Something on disk is not what was written there, and cannot be made again.
    CorruptedState = "corrupted_state", 500, 71, false;
    /// The operating system refused a file or socket operation.
    Io = "io", 500, 74, false;
    /// Every slot of the function, and its queue, is taken. Comes with `Retry-After`.
    Overloaded = "overloaded", 503, 75, true;
    /// The request body is larger than the function's `request` limit.
    RequestTooLarge = "request_too_large", 413, 76, false;
    /// The guest failed after it was denied something its grants do not hold.
    MissingGrant = "missing_grant", 403, 77, false;
    /// The guest went past one of its limits; the context names it and the amount.
    LimitExceeded = "limit_exceeded", 500, 78, false;
    /// The guest itself reported failure: a non-zero exit, an error code, or no answer at all.
    GuestFailure = "guest_failure", 500, 79, false;
    /// The wall-clock limit passed before the guest answered.
    Timeout = "timeout", 504, 124, true;
    /// The invocation was stopped: by an operator, by the caller, or because its client went away.
    Stopped = "stopped", 503, 130, true;
    /// WebAssembly trapped; the context holds the wasm backtrace.
    GuestTrap = "guest_trap", 500, 134, false;
}

impl fmt::Display for ErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The one error of Limes.
///
/// `message` says what was asked, what was found and what to do next; `operation` names the step
/// that failed (`load`, `instantiate`, `invoke`, ...); `context` holds facts for programs
/// (`limit`, `allowed`, `backtrace`, ...).
pub struct Error(Box<Inner>);

struct Inner {
    kind: ErrorKind,
    operation: &'static str,
    message: String,
    context: Vec<(&'static str, String)>,
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

impl Error {
    /// An error of `kind`, in `operation`, saying `message`.
    pub fn new(kind: ErrorKind, operation: &'static str, message: impl Into<String>) -> Self {
        Self(Box::new(Inner { kind, operation, message: message.into(), context: Vec::new(), source: None }))
    }

    /// The error for a guest that did not end within `timeout`, its wall-clock limit.
    pub fn timed_out(timeout: Duration) -> Self {
        let allowed = timeout.as_millis();
        Self::new(
            ErrorKind::Timeout,
            "run guest",
            format!("the function did not end within {allowed} ms; raise `limits.timeout` if it needs more"),
        )
        .with("limit", "timeout")
        .with("allowed", allowed)
    }

    /// The error for an input of `found` bytes, or of more, where `allowed` may come.
    pub fn request_too_large(allowed: u64, found: u64) -> Self {
        Self::new(
            ErrorKind::RequestTooLarge,
            "read body",
            format!("the body of at least {found} bytes is larger than {allowed}; send less, or raise `limits.request`"),
        )
        .with("limit", "request")
        .with("allowed", allowed)
    }

    /// The error for a limit that was passed: which one (`limit`, the manifest's name), how much it
    /// allows, and what was asked for, both in the manifest's unit (bytes, milliseconds, a count).
    pub fn limit(
        operation: &'static str,
        limit: &'static str,
        allowed: u64,
        asked: impl fmt::Display,
    ) -> Self {
        Self::new(
            ErrorKind::LimitExceeded,
            operation,
            format!("limit exceeded: {limit} is {allowed}, the function asked for {asked}; raise `limits.{limit}` if it needs more"),
        )
        .with("limit", limit)
        .with("allowed", allowed)
        .with("asked", asked)
    }

    /// Adds a fact for programs.
    #[must_use]
    pub fn with(mut self, key: &'static str, value: impl fmt::Display) -> Self {
        self.0.context.push((key, value.to_string()));
        self
    }

    /// Adds the error this one comes from.
    #[must_use]
    pub fn from_source(mut self, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        self.0.source = Some(source.into());
        self
    }

    /// Which row of the table this is.
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// The step that failed.
    pub fn operation(&self) -> &'static str {
        self.0.operation
    }

    /// What was asked, what was found, what to do.
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// Facts for programs, in the order they were added.
    pub fn context(&self) -> &[(&'static str, String)] {
        &self.0.context
    }

    /// Whether the same call may succeed when made again.
    pub fn retryable(&self) -> bool {
        self.0.kind.retryable()
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.message)?;
        let mut source = self.0.source.as_deref().map(|s| s as &dyn std::error::Error);
        while let Some(cause) = source {
            let text = cause.to_string();
            if !self.0.message.contains(&text) {
                write!(f, ": {text}")?;
            }
            source = cause.source();
        }
        Ok(())
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} in {}: {self}", self.0.kind, self.0.operation)
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.0.source.as_deref().map(|s| s as _)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn exit_codes_and_names_are_distinct() {
        let codes: HashSet<_> = ErrorKind::ALL.iter().map(|k| k.exit_code()).collect();
        let names: HashSet<_> = ErrorKind::ALL.iter().map(|k| k.name()).collect();
        assert_eq!(codes.len(), ErrorKind::ALL.len());
        assert_eq!(names.len(), ErrorKind::ALL.len());
    }

    #[test]
    fn a_source_is_shown_once() {
        let io = std::io::Error::other("disk on fire");
        let error = Error::new(ErrorKind::Io, "load", "cannot read a.wasm").from_source(io);
        assert_eq!(error.to_string(), "cannot read a.wasm: disk on fire");
    }

    #[test]
    fn a_limit_names_itself_and_the_amount() {
        let error = Error::limit("invoke", "memory", 10, 11);
        assert_eq!(error.kind(), ErrorKind::LimitExceeded);
        assert!(error.context().contains(&("limit", "memory".into())));
        assert!(error.to_string().contains("memory is 10"));
    }
}
