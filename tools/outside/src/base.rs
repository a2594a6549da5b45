//! A chapter at an address: all that a test needs which does not touch the server's
//! process.

use std::io::Write as _;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result};

/// How long one request may take.
pub const REQUEST_LIMIT: Duration = Duration::from_secs(20);

/// From this length of a body on, in bytes, its server may answer before it has read
/// all of it, and close the connection.
const LARGE: usize = 64 * 1_024;

/// The address of a server, whoever has started it.
#[derive(Debug, Clone)]
pub struct Base {
    /// Without a slash at the end.
    url: String,
    host: String,
    port: u16,
}

/// An answer, whatever its status.
#[derive(Debug, Clone)]
pub struct Answer {
    pub status: u16,
    pub headers: ureq::http::HeaderMap,
    pub body: String,
}

impl Base {
    /// Reads `http://<host>:<port>`.
    ///
    /// # Errors
    /// If it is anything else.
    pub fn new(url: &str) -> Result<Self> {
        let url = url.trim_end_matches('/').to_owned();
        let parts = url.strip_prefix("http://").and_then(|at| at.rsplit_once(':'));
        let (host, port) = parts.with_context(|| {
            format!("{url:?} is no address: write http://<host>:<port>")
        })?;
        let port = port.parse().with_context(|| format!("no port in {url:?}"))?;
        Ok(Self { host: host.to_owned(), port, url })
    }

    /// The address of the server, without a slash at the end.
    pub fn url(&self) -> String {
        self.url.clone()
    }

    /// The host it listens on.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The port it listens on.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// `GET`
    ///
    /// # Errors
    /// If there is no answer in time.
    pub fn get(&self, path: &str) -> Result<Answer> {
        self.send("GET", path, b"")
    }

    /// `POST` with a body, which may be empty.
    ///
    /// # Errors
    /// If there is no answer in time.
    pub fn post(&self, path: &str, body: &str) -> Result<Answer> {
        self.send("POST", path, body.as_bytes())
    }

    /// Any method.
    ///
    /// # Errors
    /// If there is no answer in time.
    pub fn send(&self, method: &str, path: &str, body: &[u8]) -> Result<Answer> {
        send(method, &format!("{}{path}", self.url), body)
    }
}

/// Sends one request and reads the whole answer, whatever its status.
pub fn send(method: &str, url: &str, body: &[u8]) -> Result<Answer> {
    send_by(&agent(), method, url, &[], body)
}

/// Sends one request with more headers.
pub fn send_with(
    method: &str,
    url: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> Result<Answer> {
    send_by(&agent(), method, url, headers, body)
}

/// A client that keeps its connections open.
pub(crate) fn agent() -> ureq::Agent {
    ureq::Agent::config_builder()
        .timeout_global(Some(REQUEST_LIMIT))
        .http_status_as_error(false)
        .allow_non_standard_methods(true)
        .build()
        .into()
}

pub(crate) fn send_by(
    agent: &ureq::Agent,
    method: &str,
    url: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> Result<Answer> {
    if body.len() > LARGE {
        return send_large(method, url, headers, body);
    }
    let mut request = ureq::http::Request::builder().method(method).uri(url);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let request = request.body(body)?;
    let mut response =
        agent.run(request).with_context(|| format!("{method} {url}"))?;
    let body = response
        .body_mut()
        .read_to_string()
        .with_context(|| format!("{method} {url}"))?;
    Ok(Answer {
        status: response.status().as_u16(),
        headers: response.headers().clone(),
        body,
    })
}

/// Sends a large body by curl, which reads the answer also if that comes before the body
/// was sent. ureq reads only afterwards, and finds a broken connection then.
fn send_large(
    method: &str,
    url: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> Result<Answer> {
    let mut curl = Command::new("curl");
    curl.args(["--silent", "--show-error", "--include", "--request", method]);
    curl.args([
        "--max-time",
        &REQUEST_LIMIT.as_secs().to_string(),
        "--data-binary",
        "@-",
    ]);
    // Without these it asks first whether it may send, and says it is a form.
    curl.args(["--header", "Expect:", "--header", "Content-Type:"]);
    for (name, value) in headers {
        curl.arg("--header").arg(format!("{name}: {value}"));
    }
    let mut child = curl
        .arg(url)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .context("cannot start curl")?;
    let mut stdin = child.stdin.take().context("curl has no input")?;
    let output = std::thread::scope(|scope| {
        // An answer before the end is no error.
        scope.spawn(move || drop(stdin.write_all(body)));
        child.wait_with_output()
    })?;
    let text = String::from_utf8_lossy(&output.stdout);
    let (head, body) = text.split_once("\r\n\r\n").with_context(|| {
        format!("{method} {url}: curl ended with {}", output.status)
    })?;
    let mut lines = head.lines();
    let status = lines.next().and_then(|line| line.split(' ').nth(1)?.parse().ok());
    let mut headers = ureq::http::HeaderMap::new();
    for (name, value) in lines.filter_map(|line| line.split_once(": ")) {
        let name: ureq::http::HeaderName = name.parse()?;
        headers.append(name, value.parse()?);
    }
    let status = status.with_context(|| format!("no status in {head:?}"))?;
    Ok(Answer { status, headers, body: body.to_owned() })
}
