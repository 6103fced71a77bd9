use std::fmt::Write as _;
use wasmparser::PrimitiveValType;
use wasmparser::component_types::{
    ComponentDefinedType, ComponentEntityType, ComponentFuncType, ComponentFuncTypeId, ComponentValType,
};
use wasmparser::types::TypesRef;

/// How deep a type is written out before `...` stands for the rest: types may nest a million deep.
const MAX_DEPTH: usize = 6;

/// A function's type as WIT writes it: `func(args: string) -> string`.
pub(super) fn function(types: TypesRef<'_>, id: ComponentFuncTypeId) -> String {
    let ComponentFuncType { params, result, async_, .. } = &types[id];
    let mut text = String::from(if *async_ { "async func(" } else { "func(" });
    for (index, (name, ty)) in params.iter().enumerate() {
        let comma = if index == 0 { "" } else { ", " };
        let _ = write!(text, "{comma}{name}: {}", value(types, ty, 0));
    }
    text.push(')');
    if let Some(result) = result {
        let _ = write!(text, " -> {}", value(types, result, 0));
    }
    text
}

/// What `entity` is, for an error: a function's type, or the sort of thing that was found instead of one.
pub(super) fn entity(types: TypesRef<'_>, entity: &ComponentEntityType) -> String {
    match entity {
        ComponentEntityType::Func(id) => function(types, *id),
        ComponentEntityType::Module(_) => "a core module".into(),
        ComponentEntityType::Value(_) => "a value".into(),
        ComponentEntityType::Type { .. } => "a type".into(),
        ComponentEntityType::Instance(_) => "an instance".into(),
        ComponentEntityType::Component(_) => "a component".into(),
    }
}

/// The primitive that `ty` is, which may hide behind a name.
pub(super) fn primitive(types: TypesRef<'_>, ty: &ComponentValType) -> Option<PrimitiveValType> {
    match ty {
        ComponentValType::Primitive(primitive) => Some(*primitive),
        ComponentValType::Type(id) => match &types[*id] {
            ComponentDefinedType::Primitive(primitive) => Some(*primitive),
            _ => None,
        },
    }
}

fn value(types: TypesRef<'_>, ty: &ComponentValType, depth: usize) -> String {
    use ComponentDefinedType as Type;
    let found = match ty {
        ComponentValType::Primitive(primitive) => return primitive.to_string(),
        ComponentValType::Type(id) => &types[*id],
    };
    if depth == MAX_DEPTH {
        return "...".into();
    }
    let of = |ty: &ComponentValType| value(types, ty, depth + 1);
    let or_none = |ty: &Option<ComponentValType>| ty.as_ref().map_or_else(|| "_".into(), of);
    match found {
        Type::Primitive(primitive) => primitive.to_string(),
        Type::Record(_) => "record".into(),
        Type::Variant(_) => "variant".into(),
        Type::Flags(_) => "flags".into(),
        Type::Enum(_) => "enum".into(),
        Type::List { element, .. } => format!("list<{}>", of(element)),
        Type::FixedLengthList { element, length, .. } => format!("list<{}, {length}>", of(element)),
        Type::Map { key, value, .. } => format!("map<{}, {}>", of(key), of(value)),
        Type::Tuple(tuple) => format!("tuple<{}>", tuple.types.iter().map(of).collect::<Vec<_>>().join(", ")),
        Type::Option { ty, .. } => format!("option<{}>", of(ty)),
        Type::Result { ok: None, err: None, .. } => "result".into(),
        Type::Result { ok, err: None, .. } => format!("result<{}>", or_none(ok)),
        Type::Result { ok, err, .. } => format!("result<{}, {}>", or_none(ok), or_none(err)),
        Type::Own(_) => "own<resource>".into(),
        Type::Borrow(_) => "borrow<resource>".into(),
        Type::Future { ty, .. } => format!("future<{}>", or_none(ty)),
        Type::Stream { ty, .. } => format!("stream<{}>", or_none(ty)),
    }
}
