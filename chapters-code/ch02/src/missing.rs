//! What the JavaScript API has and `worker` does not bind yet, in one file that you
//! can copy.
//!
//! Each wrapper names the property or method of the JavaScript object; wasm-bindgen
//! does the rest. When a later `worker` binds one of them, delete it here.

use worker::js_sys::Reflect;
use worker::wasm_bindgen::prelude::*;
use worker::{ObjectNamespace, Result, State, Stub};

// ANCHOR: extern
#[wasm_bindgen(wasm_bindgen = worker::wasm_bindgen)]
extern "C" {
    /// <https://developers.cloudflare.com/durable-objects/api/namespace/>
    type Namespace;
    #[wasm_bindgen(method, catch)]
    fn jurisdiction(
        this: &Namespace,
        place: &str,
    ) -> std::result::Result<JsValue, JsValue>;

    /// <https://developers.cloudflare.com/durable-objects/api/stub/>
    type StubView;
    #[wasm_bindgen(method, getter)]
    fn id(this: &StubView) -> Id;
    #[wasm_bindgen(method, getter)]
    fn name(this: &StubView) -> Option<String>;

    /// <https://developers.cloudflare.com/durable-objects/api/id/>
    type Id;
    #[wasm_bindgen(method, js_name = toString)]
    fn to_hex(this: &Id) -> String;
}
// ANCHOR_END: extern

/// `namespace.jurisdiction(name)`: the part of the namespace that stays in one
/// jurisdiction.
///
/// # Errors
/// The local runtime has no jurisdictions: there it always fails and says so.
pub fn jurisdiction(
    namespace: &ObjectNamespace,
    place: &str,
) -> Result<ObjectNamespace> {
    let namespace: &JsValue = namespace.as_ref();
    let part = namespace.unchecked_ref::<Namespace>().jurisdiction(place)?;
    Ok(part.unchecked_into())
}

/// `stub.id` and `stub.name`. Takes the stub, since [`Stub::into_rpc`] does.
pub fn id_and_name(stub: Stub) -> (String, Option<String>) {
    let view: StubView = stub.into_rpc();
    (view.id().to_hex(), view.name())
}

/// `ctx.id.jurisdiction`: where this object must stay, if anywhere.
///
/// # Errors
/// Only if the runtime's own object is not what the documentation says.
pub fn jurisdiction_of(state: &State) -> Result<Option<String>> {
    let id = Reflect::get(state.as_raw(), &"id".into())?;
    Ok(Reflect::get(&id, &"jurisdiction".into())?.as_string())
}
