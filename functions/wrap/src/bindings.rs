#![allow(missing_docs, reason = "generated; wit/component-run documents what it exports")]

wit_bindgen::generate!({
    path: "../../wit/component-run",
    world: "runnable",
    pub_export_macro: true,
});
