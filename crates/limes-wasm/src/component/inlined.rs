//! How much a component is once each of its instances stands in its own place.
//!
//! A component may make as many instances as it likes of another inside it, which does the same with a third. A compiler goes through each
//! instance of each, so that a file of some kilobytes can keep it busy for good: it is counted before.

use super::source::{bad, invalid};
use limes_core::Result;
use wasmparser::{
    ComponentAlias, ComponentExternalKind, ComponentInstance, ComponentOuterAliasKind, ComponentTypeRef,
    Instance, Parser, Payload,
};

/// What any component may come to, in bytes, and a large one in multiples of its size.
const LEAST: u64 = 4 << 20;
const TIMES: u64 = 16;

/// What a component counts as that may be any: it comes from outside.
const ANY: u64 = u64::MAX;

/// A component or module that is being read.
#[derive(Default)]
struct Part {
    is_module: bool,
    /// Its own bytes, without what is defined inside, and those of its instances.
    bytes: u64,
    /// What an instance adds, of each component and each module that can be named in it.
    components: Vec<u64>,
    modules: Vec<u64>,
}

impl Part {
    fn add(&mut self, instance: u64) {
        self.bytes = self.bytes.saturating_add(instance);
    }
}

/// Refuses a valid component that comes to too much.
///
/// # Errors
/// [`BadComponent`](limes_core::ErrorKind::BadComponent): it does.
pub(super) fn check(component: &[u8]) -> Result<()> {
    let whole = component.len() as u64;
    let most = LEAST.max(whole.saturating_mul(TIMES));
    let mut open = vec![Part { bytes: whole, ..Part::default() }];
    for payload in Parser::new(0).parse_all(component) {
        let payload = payload.map_err(|error| invalid("component", &error))?;
        count(payload, &mut open, whole).map_err(|error| invalid("component", &error))?;
        if open.last().is_some_and(|part| part.bytes > most) {
            return Err(bad(format!(
                "the instances that the component makes inside come to more than {most} bytes of components, \
                 or it makes some of a component that it imports; compose it of fewer"
            )));
        }
    }
    Ok(())
}

fn count(payload: Payload<'_>, open: &mut Vec<Part>, whole: u64) -> wasmparser::Result<()> {
    let depth = open.len();
    let Some(part) = open.last_mut() else { return Ok(()) };
    match payload {
        Payload::ModuleSection { unchecked_range: range, .. } => {
            part.bytes -= range.len() as u64;
            open.push(Part { is_module: true, bytes: range.len() as u64, ..Part::default() });
        }
        Payload::ComponentSection { unchecked_range: range, .. } => {
            part.bytes -= range.len() as u64;
            open.push(Part { bytes: range.len() as u64, ..Part::default() });
        }
        Payload::End(_) => {
            let ended = open.pop();
            if let (Some(Part { is_module, bytes, .. }), Some(around)) = (ended, open.last_mut()) {
                if is_module { &mut around.modules } else { &mut around.components }.push(bytes);
            }
        }
        Payload::InstanceSection(section) => {
            for instance in section {
                if let Instance::Instantiate { module_index, .. } = instance? {
                    part.add(part.modules[module_index as usize]);
                }
            }
        }
        Payload::ComponentInstanceSection(section) => {
            for instance in section {
                if let ComponentInstance::Instantiate { component_index, .. } = instance? {
                    part.add(part.components[component_index as usize]);
                }
            }
        }
        Payload::ComponentImportSection(section) => {
            for import in section {
                match import?.ty {
                    ComponentTypeRef::Module(_) => part.modules.push(whole),
                    ComponentTypeRef::Component(_) => part.components.push(ANY),
                    _ => {}
                }
            }
        }
        Payload::ComponentExportSection(section) => {
            for export in section {
                let export = export?;
                match export.kind {
                    ComponentExternalKind::Module => part.modules.push(part.modules[export.index as usize]),
                    ComponentExternalKind::Component => {
                        part.components.push(part.components[export.index as usize]);
                    }
                    _ => {}
                }
            }
        }
        Payload::ComponentAliasSection(section) => {
            for alias in section {
                match alias? {
                    ComponentAlias::InstanceExport { kind: ComponentExternalKind::Module, .. } => {
                        open[depth - 1].modules.push(whole);
                    }
                    ComponentAlias::InstanceExport { kind: ComponentExternalKind::Component, .. } => {
                        open[depth - 1].components.push(ANY);
                    }
                    ComponentAlias::Outer { kind, count, index } => {
                        let outer = &open[depth - 1 - count as usize];
                        match kind {
                            ComponentOuterAliasKind::CoreModule => {
                                let module = outer.modules[index as usize];
                                open[depth - 1].modules.push(module);
                            }
                            ComponentOuterAliasKind::Component => {
                                let component = outer.components[index as usize];
                                open[depth - 1].components.push(component);
                            }
                            _ => {}
                        }
                    }
                    _ => {}
                }
            }
        }
        _ => {}
    }
    Ok(())
}
