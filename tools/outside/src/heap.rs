//! What an object keeps in memory, as a debugger sees it.

use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::{Value, json};

use crate::{Dev, Socket};

const METHODS: [&str; 3] =
    ["HeapProfiler.enable", "HeapProfiler.collectGarbage", "Runtime.getHeapUsage"];
/// How often the garbage is collected before the result counts.
const COLLECTIONS: usize = 3;
const BETWEEN: Duration = Duration::from_millis(300);

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
        // A collection is not over when the next question is answered: ask again.
        let mut usage = Value::Null;
        for round in 0..COLLECTIONS {
            for (step, method) in METHODS.iter().enumerate() {
                let id = round * METHODS.len() + step;
                debugger.say(json!({ "id": id, "method": method }).to_string())?;
            }
            let last = (round + 1) * METHODS.len() - 1;
            usage = loop {
                let mut answer: Value = serde_json::from_str(&debugger.text()?)?;
                if answer["id"] == last {
                    break answer["result"].take();
                }
            };
            sleep(BETWEEN);
        }
        let bytes = |key: &str| {
            let bytes = usage[key].as_f64();
            bytes.with_context(|| format!("no {key} in {usage}"))
        };
        let used = bytes("usedSize")? + bytes("embedderHeapUsedSize")?;
        Ok(used as u64)
    }
}
