//! `transactionSync`, which `worker` does not bind yet, in one file that you can
//! copy.

use worker::Storage;
use worker::wasm_bindgen::prelude::*;

// ANCHOR: extern
#[wasm_bindgen(wasm_bindgen = worker::wasm_bindgen)]
extern "C" {
    /// <https://developers.cloudflare.com/durable-objects/api/sqlite-storage-api/>
    type StorageView;
    #[wasm_bindgen(method, catch, js_name = transactionSync)]
    fn transaction_sync(
        this: &StorageView,
        work: &mut dyn FnMut() -> std::result::Result<(), JsValue>,
    ) -> std::result::Result<JsValue, JsValue>;
}
// ANCHOR_END: extern

// ANCHOR: transaction_sync
/// `ctx.storage.transactionSync(work)`: either all that `work` writes is kept, or,
/// if it returns an error, nothing of it.
///
/// `work` cannot wait for anything. So nobody gets in between, and it may borrow what
/// it likes, which the future of [`Storage::transaction`] may not.
///
/// # Errors
/// The error of `work`, or that of the runtime if it cannot keep what was written.
pub fn transaction_sync<T, E: From<worker::Error>>(
    storage: &Storage,
    work: impl FnOnce() -> std::result::Result<T, E>,
) -> std::result::Result<T, E> {
    let mut work = Some(work);
    let mut outcome = None;
    let view: &StorageView = storage.as_raw().unchecked_ref();
    let kept = view.transaction_sync(&mut || {
        let Some(work) = work.take() else { return Ok(()) };
        let done = work();
        // What is thrown only tells the runtime to roll back.
        let thrown = if done.is_ok() { Ok(()) } else { Err(JsValue::NULL) };
        outcome = Some(done);
        thrown
    });
    match (outcome, kept) {
        (Some(Err(error)), _) => Err(error),
        (_, Err(error)) => Err(worker::Error::from(error).into()),
        (Some(Ok(value)), Ok(_)) => Ok(value),
        (None, Ok(_)) => {
            Err(worker::Error::from("transactionSync did nothing").into())
        }
    }
}
// ANCHOR_END: transaction_sync
