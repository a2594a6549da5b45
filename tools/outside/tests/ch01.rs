//! ch01 from outside: every kind of event, sent as a reader sends it.

use std::time::{Duration, Instant};

use anyhow::Result;
use outside::Dev;

/// All four events leave their mark in the diary.
#[test]
fn every_event_is_seen() -> Result<()> {
    let dev = Dev::start("ch01")?;
    assert_eq!(dev.get("/")?.body, "OK\n");
    assert_eq!(dev.get("/cdn-cgi/handler/scheduled?cron=0+6+*+*+*")?.status, 200);
    assert_eq!(dev.post("/jobs", "water the plants")?.status, 202);
    assert_eq!(dev.post("/later", "")?.status, 202);
    let expected = r#"{"starts":1,"scheduled":"0 6 * * *","queue":"water the plants","later":"written after the answer"}"#;
    let begin = Instant::now();
    while dev.get("/diary")?.body != expected
        && begin.elapsed() < Duration::from_secs(10)
    {
        std::thread::sleep(Duration::from_millis(50));
    }
    assert_eq!(dev.get("/diary")?.body, expected);
    dev.expect_log("start number 1")
}
