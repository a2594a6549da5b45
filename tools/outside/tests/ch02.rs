//! ch02 from outside: a real `npx wrangler dev`, a real client, a real `kill -9`.

use anyhow::Result;
use outside::Dev;

/// What is only in memory does not come back after `kill -9` and a restart on the
/// same state.
/// proves: claim memory-killed
#[test]
fn a_kill_empties_the_memory() -> Result<()> {
    let mut dev = Dev::start("ch02")?;
    assert_eq!(dev.post("/counters/kitchen", "5")?.body, "5\n");
    assert_eq!(dev.get("/counters/kitchen")?.body, "5\n");
    dev.kill();
    assert!(
        dev.get("/counters/kitchen").is_err(),
        "the killed server still answers"
    );
    dev.up()?;
    assert_eq!(dev.get("/counters/kitchen")?.body, "0\n");
    Ok(())
}

/// An id that was written down leads to the same object after `kill -9`, a restart,
/// and forever.
/// proves: claim id-lasts
#[test]
fn an_id_outlasts_the_server() -> Result<()> {
    let mut dev = Dev::start("ch02")?;
    let named = dev.get("/counters/kitchen/id")?.body;
    let made = dev.post("/ids", "")?.body;
    let id = made.split('"').nth(3).unwrap_or_default().to_owned();
    assert_eq!(id.len(), 64, "{made}");
    dev.kill();
    dev.up()?;
    assert_eq!(dev.get("/counters/kitchen/id")?.body, named);
    assert_eq!(dev.post(&format!("/ids/{id}"), "3")?.body, "3\n");
    assert_eq!(dev.get(&format!("/ids/{id}"))?.body, "3\n");
    Ok(())
}

/// An idle object leaves the memory by itself, and the count goes with it.
/// proves: claim memory-idle
/// runs: waits
#[test]
fn an_idle_object_forgets() -> Result<()> {
    let dev = Dev::start("ch02")?;
    assert_eq!(dev.post("/counters/kitchen", "5")?.body, "5\n");
    std::thread::sleep(std::time::Duration::from_secs(15));
    assert_eq!(dev.get("/counters/kitchen")?.body, "0\n");
    Ok(())
}

/// Bad input over a real connection: a clear 4xx, and the count stays.
#[test]
fn bad_input_is_told_and_changes_nothing() -> Result<()> {
    let dev = Dev::start("ch02")?;
    assert_eq!(dev.post("/counters/kitchen", "5")?.body, "5\n");
    let huge = "1".repeat(3_000_000);
    let cases: [(&str, &str, &str, u16); 6] = [
        ("GET", "/nowhere", "", 404),
        ("DELETE", "/counters/kitchen", "", 405),
        ("PURGE", "/counters/kitchen", "", 405),
        ("POST", "/counters/Kitchen", "", 400),
        ("POST", "/counters/kitchen", "five", 400),
        ("POST", "/counters/kitchen", &huge, 413),
    ];
    for (method, path, body, status) in cases {
        let answer = dev.send(method, path, body.as_bytes())?;
        assert_eq!(answer.status, status, "{method} {path}: {}", answer.body);
        assert_eq!(
            answer.body.trim().lines().count(),
            1,
            "{method} {path}: {}",
            answer.body
        );
    }
    let head = dev.send("HEAD", "/counters/kitchen", b"")?;
    assert_eq!((head.status, head.body.as_str()), (200, ""));
    assert_eq!(dev.get("/counters/kitchen")?.body, "5\n");
    Ok(())
}
