use super::interface::{Interface, Wasi};
use super::signature::{entity, primitive};
use super::source::list;
use super::surface::{External, Surface};
use limes_core::{Contract, Error, ErrorKind, Result};
use wasmparser::PrimitiveValType;
use wasmparser::component_types::{
    ComponentDefinedType, ComponentEntityType, ComponentFuncType, ComponentValType,
};
use wasmparser::types::TypesRef;

/// When a component exports several, the first of these is how it is called: the one made for functions, then
/// HTTP, then commands, and of two releases the newer.
const ORDER: [Contract; 5] =
    [Contract::Run, Contract::Http03, Contract::Http02, Contract::Cli03, Contract::Cli02];

/// A contract, and the export that holds it.
#[derive(Debug)]
pub(super) struct Found {
    pub contract: Contract,
    pub export: String,
}

/// The contract that an export's name promises.
fn promised(name: &str) -> Option<Contract> {
    let interface = Interface::parse(name)?;
    match (interface.package, interface.name, interface.wasi()) {
        ("component:run", "run", _) => Some(Contract::Run),
        ("wasi:http", "incoming-handler", Some(Wasi::V02)) => Some(Contract::Http02),
        ("wasi:http", "handler", Some(Wasi::V03)) => Some(Contract::Http03),
        ("wasi:cli", "run", Some(Wasi::V02)) => Some(Contract::Cli02),
        ("wasi:cli", "run", Some(Wasi::V03)) => Some(Contract::Cli03),
        _ => None,
    }
}

/// The function a contract calls, and its type in words.
const fn function(contract: Contract) -> (&'static str, &'static str) {
    match contract {
        Contract::Run => ("run", "func(args: string) -> string"),
        Contract::Http02 => {
            ("handle", "func(request: own<incoming-request>, response-out: own<response-outparam>)")
        }
        Contract::Http03 => {
            ("handle", "async func(request: own<request>) -> result<own<response>, error-code>")
        }
        Contract::Cli02 => ("run", "func() -> result"),
        Contract::Cli03 => ("run", "async func() -> result"),
    }
}

/// Whether `found` can be called the way `contract` calls.
fn fits(types: TypesRef<'_>, contract: Contract, found: &ComponentFuncType) -> bool {
    let string = |ty: &ComponentValType| primitive(types, ty) == Some(PrimitiveValType::String);
    let own = |ty: &ComponentValType| match ty {
        ComponentValType::Type(id) => matches!(&types[*id], ComponentDefinedType::Own(_)),
        ComponentValType::Primitive(_) => false,
    };
    let result = |ty: &ComponentValType, of_values: bool| match ty {
        ComponentValType::Type(id) => matches!(&types[*id], ComponentDefinedType::Result { ok, err, .. }
            if ok.is_some() == of_values && err.is_some() == of_values),
        ComponentValType::Primitive(_) => false,
    };
    let params: Vec<&ComponentValType> = found.params.iter().map(|(_, ty)| ty).collect();
    match (contract, params.as_slice(), &found.result) {
        (Contract::Run, [args], Some(answer)) => !found.async_ && string(args) && string(answer),
        (Contract::Http02, [request, out], None) => !found.async_ && own(request) && own(out),
        (Contract::Http03, [request], Some(answer)) => own(request) && result(answer, true),
        (Contract::Cli02, [], Some(status)) => !found.async_ && result(status, false),
        (Contract::Cli03, [], Some(status)) => result(status, false),
        _ => false,
    }
}

/// Why an export that promises `contract` does not hold it.
fn fault(surface: &Surface, contract: Contract, export: &External) -> Option<String> {
    let (name, wanted) = function(contract);
    let types = surface.types();
    let found = if matches!(export.ty, ComponentEntityType::Instance(_)) {
        match surface.items(export).find(|(item, _)| *item == name) {
            Some((_, ComponentEntityType::Func(id))) if fits(types, contract, &types[*id]) => return None,
            Some((_, other)) => format!("`{name}` is {}", entity(types, other)),
            None => format!("it has no `{name}`"),
        }
    } else {
        format!("it is {}", entity(types, &export.ty))
    };
    Some(format!("`{}` must hold `{name}: {wanted}`, but {found}", export.name))
}

/// Finds the contract of a component.
pub(super) fn detect(surface: &Surface) -> Result<Found> {
    let mut faults = Vec::new();
    for contract in ORDER {
        for export in surface.exports.iter().filter(|export| promised(&export.name) == Some(contract)) {
            match fault(surface, contract, export) {
                None => return Ok(Found { contract, export: export.name.clone() }),
                Some(fault) => faults.push(fault),
            }
        }
    }
    let message = if faults.is_empty() {
        let names: Vec<_> = surface.exports.iter().map(|export| export.name.as_str()).collect();
        let [run, http03, http02, cli03, cli02] = ORDER.map(Contract::interface);
        format!(
            "component exports nothing Limes can call: found {}; it needs {run}, {http02}, {http03}, {cli02} or \
             {cli03}",
            list(&names)
        )
    } else {
        format!("component exports a contract with the wrong type: {}", faults.join("; "))
    };
    Err(Error::new(ErrorKind::UnsupportedContract, "find contract", message))
}
