//! What an object keeps in memory, as a debugger sees it.

use anyhow::{Context, Result};
use serde_json::{Value, json};

use crate::{Dev, Socket};

/// How often the garbage is collected: what a collection sets free may free more.
const COLLECTIONS: usize = 3;

impl Dev {
    /// How much of the isolate's heap is in use after a garbage collection, in
    /// bytes: the objects of JavaScript, and what the runtime keeps for them. This
    /// is what counts against an isolate's limit of 128 MB, together with the memory
    /// of the Wasm, which is not in it.
    ///
    /// # Errors
    /// If the server is down, or its debugger does not answer.
    pub fn heap(&self) -> Result<u64> {
        // The debugger listens to a browser, and to nobody without an origin.
        let origin = [("Origin", "http://localhost"), ("User-Agent", "load")];
        let (port, path) = self.debugger();
        let mut debugger = Socket::open_at("localhost", port, path, &origin)?;
        // https://chromedevtools.github.io/devtools-protocol/v8/
        let mut ask = |id: usize, method: &str| -> Result<Value> {
            debugger.say(json!({ "id": id, "method": method }).to_string())?;
            // A collection is begun at once and made when the isolate has something to
            // do: a request, whatever is answered.
            self.get("/nothing-of-this-name")?;
            loop {
                let mut answer: Value = serde_json::from_str(&debugger.text()?)?;
                if answer["id"] == id {
                    break Ok(answer["result"].take());
                }
            }
        };
        ask(0, "HeapProfiler.enable")?;
        for id in 1..=COLLECTIONS {
            ask(id, "HeapProfiler.collectGarbage")?;
        }
        let usage = ask(COLLECTIONS + 1, "Runtime.getHeapUsage")?;
        let bytes = |key: &str| {
            let bytes = usage[key].as_f64();
            bytes.with_context(|| format!("no {key} in {usage}"))
        };
        let used = bytes("usedSize")? + bytes("embedderHeapUsedSize")?;
        Ok(used as u64)
    }
}
