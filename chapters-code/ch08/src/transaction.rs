//! `transactionSync`, which `worker` does not bind yet, in one file that you can
//! copy.

use worker::Storage;
use worker::wasm_bindgen::prelude::*;

// ANCHOR: extern
// Only what is thrown rolls back. It is caught here again, so that no exception
// crosses the border to Wasm: a development build would log each of them.
#[wasm_bindgen(wasm_bindgen = worker::wasm_bindgen, inline_js = "
    export function transaction_sync_or_undo(storage, work) {
        const undo = new Error('undo');
        try {
            storage.transactionSync(() => { if (!work()) throw undo; });
        } catch (error) {
            if (error !== undo) throw error;
        }
    }
")]
extern "C" {
    /// <https://developers.cloudflare.com/durable-objects/api/sqlite-storage-api/>
    #[wasm_bindgen(catch)]
    fn transaction_sync_or_undo(
        storage: &JsValue,
        work: &mut dyn FnMut() -> bool,
    ) -> std::result::Result<(), JsValue>;
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
    let kept = transaction_sync_or_undo(storage.as_raw(), &mut || {
        let Some(work) = work.take() else { return true };
        let done = work();
        let keep = done.is_ok();
        outcome = Some(done);
        keep
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
