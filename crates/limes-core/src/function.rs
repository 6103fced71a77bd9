use crate::{Grants, Limits, MicroVm};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::path::PathBuf;

/// How a function is called: found by looking at what the component exports, never by a flag.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Contract {
    /// `component:run/run`: `run: func(args: string) -> string`.
    Run,
    /// `wasi:http/incoming-handler@0.2.x`.
    Http02,
    /// `wasi:http/handler@0.3.x`.
    Http03,
    /// `wasi:cli/run@0.2.x`.
    Cli02,
    /// `wasi:cli/run@0.3.x`.
    Cli03,
}

impl Contract {
    /// The interface that is exported, as users know it.
    pub const fn interface(self) -> &'static str {
        match self {
            Self::Run => "component:run/run",
            Self::Http02 => "wasi:http/incoming-handler@0.2",
            Self::Http03 => "wasi:http/handler@0.3",
            Self::Cli02 => "wasi:cli/run@0.2",
            Self::Cli03 => "wasi:cli/run@0.3",
        }
    }

    /// Whether it takes an HTTP request.
    pub const fn is_http(self) -> bool {
        matches!(self, Self::Http02 | Self::Http03)
    }

    /// Whether it takes arguments and stdin, and gives an exit code.
    pub const fn is_command(self) -> bool {
        matches!(self, Self::Cli02 | Self::Cli03)
    }
}

impl fmt::Display for Contract {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.interface())
    }
}

/// Which sandbox runs a function.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SandboxKind {
    /// A WebAssembly component inside the process.
    #[default]
    Wasm,
    /// The same component in a virtual machine of its own.
    MicroVm,
}

impl SandboxKind {
    /// The name in the manifest.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Wasm => "wasm",
            Self::MicroVm => "microvm",
        }
    }
}

/// How a component that was never seen is compiled.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CompileMode {
    /// By the optimising compiler, before its first call.
    #[default]
    Optimized,
    /// A large one by a fast compiler before its first call, and by the optimising one meanwhile.
    Tiered,
}

/// One deployed revision of one function: everything a node needs to serve it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FunctionSpec {
    /// The name in `/function/NAME`.
    pub name: String,
    /// Counts up from 1 with each deploy of this name.
    pub revision: u64,
    /// The component's bytes on disk.
    pub component: PathBuf,
    /// SHA-256 of those bytes, in lower-case hex.
    pub digest: String,
    /// Which sandbox runs it.
    #[serde(default)]
    pub sandbox: SandboxKind,
    /// How it is compiled.
    #[serde(default)]
    pub compile: CompileMode,
    /// Host names whose requests go to this function, whatever their path.
    #[serde(default)]
    pub hosts: Vec<String>,
    /// What it may use.
    #[serde(default)]
    pub limits: Limits,
    /// What it may reach.
    #[serde(default)]
    pub grants: Grants,
    /// How it runs in a microVM; without meaning for other sandboxes.
    #[serde(default)]
    pub microvm: MicroVm,
}
