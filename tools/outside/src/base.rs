//! A chapter at an address: all that a test needs which does not touch the server's
//! process.

use std::fmt::Write as _;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use anyhow::{Context, Result, bail};

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

/// Sends a large body on a connection of its own. A server that refuses it answers and
/// closes before it has read all: that the rest cannot be sent is no error, and the answer
/// is read all the same. ureq and curl may find a broken connection and no answer then.
fn send_large(
    method: &str,
    url: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> Result<Answer> {
    let uri: ureq::http::Uri = url.parse()?;
    let host = uri.authority().context("no host in the address")?.as_str();
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    let mut head = format!(
        "{method} {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\
         Content-Length: {}\r\n",
        body.len()
    );
    for (name, value) in headers {
        write!(head, "{name}: {value}\r\n")?;
    }
    head += "\r\n";
    let mut to = TcpStream::connect(host).with_context(|| format!("no {host}"))?;
    to.set_read_timeout(Some(REQUEST_LIMIT))?;
    to.set_write_timeout(Some(REQUEST_LIMIT))?;
    let mut from = to.try_clone()?;
    let mut said = Vec::new();
    let end = std::thread::scope(|scope| {
        scope.spawn(move || to.write_all(head.as_bytes()).and(to.write_all(body)));
        from.read_to_end(&mut said)
    });
    answer(&said).with_context(|| {
        format!("{method} {url}: {} bytes, and then {end:?}", said.len())
    })
}

/// The answer in what a server has sent until it closed.
fn answer(said: &[u8]) -> Result<Answer> {
    let mut fields = [httparse::EMPTY_HEADER; 64];
    let mut head = httparse::Response::new(&mut fields);
    let httparse::Status::Complete(length) = head.parse(said)? else {
        bail!("the head is not whole");
    };
    let mut headers = ureq::http::HeaderMap::new();
    for field in head.headers.iter() {
        let name: ureq::http::HeaderName = field.name.parse()?;
        headers.append(name, field.value.try_into()?);
    }
    let mut body = &said[length..];
    let mut whole = Vec::new();
    if headers.contains_key("transfer-encoding") {
        while let Ok(httparse::Status::Complete((begin, size))) =
            httparse::parse_chunk_size(body)
            && size > 0
        {
            let end = begin + usize::try_from(size)?;
            whole.extend(body.get(begin..end).context("a chunk is not whole")?);
            body = body.get(end + 2..).context("a chunk is not whole")?;
        }
    } else {
        whole.extend(body);
    }
    Ok(Answer {
        status: head.code.context("no status")?,
        headers,
        body: String::from_utf8(whole)?,
    })
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use anyhow::ensure;

    use super::*;

    /// An answer that comes before the body was read, from a server that closes then, is
    /// an answer.
    #[test]
    fn an_early_answer_is_read() -> Result<()> {
        let answers = [
            "Content-Length: 9\r\n\r\ntoo large",
            "Transfer-Encoding: chunked\r\n\r\n4\r\ntoo \r\n5\r\nlarge\r\n0\r\n\r\n",
        ];
        let server = TcpListener::bind("127.0.0.1:0")?;
        let url = format!("http://{}/a?b", server.local_addr()?);
        let body = vec![0; 100 * LARGE];
        for answer in answers {
            let said = std::thread::scope(|scope| -> Result<Answer> {
                scope.spawn(|| -> Result<()> {
                    let (mut stream, _) = server.accept()?;
                    // What is not read makes the kernel reset the connection.
                    let mut some = [0; 100];
                    stream.read_exact(&mut some)?;
                    ensure!(some.starts_with(b"POST /a?b HTTP/1.1\r\nHost: 127."));
                    let answer = format!("HTTP/1.1 413 Too Large\r\n{answer}");
                    Ok(stream.write_all(answer.as_bytes())?)
                });
                send("POST", &url, &body)
            })?;
            assert_eq!((said.status, said.body.as_str()), (413, "too large"));
        }
        Ok(())
    }
}
