//! From where a request may come.

/// Why a request is not let in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Foreign {
    /// It was sent to another name of this machine than those of loopback.
    Host,
    /// A page of somebody else sent it, or has a link to here.
    Page,
}

/// What of a request says where it comes from, as its headers have it.
#[derive(Debug, Clone, Copy, Default)]
pub struct Headers<'a> {
    pub host: Option<&'a str>,
    pub origin: Option<&'a str>,
    pub sec_fetch_site: Option<&'a str>,
}

impl Headers<'_> {
    /// Lets in what the book's own pages ask, and what no page asks: `curl`, and an
    /// address that somebody types. `local` is where nobody needs a cookie: a page of
    /// any name that leads to loopback would be "own" there, so the name has to be one
    /// that no stranger can have.
    ///
    /// # Errors
    /// If it comes from elsewhere.
    pub fn are_own(self, local: bool) -> Result<(), Foreign> {
        let host = self.host.unwrap_or_default();
        if local && !is_loopback(host) {
            return Err(Foreign::Host);
        }
        let own = |origin: &str| {
            origin.split_once("://").is_some_and(|(_, name)| name == host)
        };
        let site = self.sec_fetch_site.unwrap_or("none");
        if !["same-origin", "none"].contains(&site) || !self.origin.is_none_or(own)
        {
            return Err(Foreign::Page);
        }
        Ok(())
    }
}

fn is_loopback(host: &str) -> bool {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|it| it.is_ascii_digit()) => name,
        _ => host,
    };
    ["localhost", "127.0.0.1", "[::1]"].contains(&name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(host: &'static str) -> Headers<'static> {
        Headers { host: Some(host), ..Headers::default() }
    }

    /// On a machine of your own the name has to be one of loopback.
    #[test]
    fn hosts() {
        for host in
            ["localhost", "localhost:8787", "127.0.0.1:1", "[::1]", "[::1]:80"]
        {
            assert_eq!(asked(host).are_own(true), Ok(()), "{host}");
        }
        for host in
            ["evil.example:8787", "localhost.evil.example", "", "127.0.0.1.x:1"]
        {
            assert_eq!(asked(host).are_own(true), Err(Foreign::Host), "{host}");
        }
        assert_eq!(asked("book.example").are_own(false), Ok(()));
        assert_eq!(Headers::default().are_own(true), Err(Foreign::Host));
    }

    /// A page of the same address may ask, another may not; nor may it have links here.
    #[test]
    fn pages() {
        for local in [true, false] {
            let asked = asked("localhost:1");
            for (origin, fits) in [
                ("http://localhost:1", true),
                ("http://localhost:2", false),
                ("https://evil.example", false),
                ("null", false),
                ("", false),
            ] {
                let asked = Headers { origin: Some(origin), ..asked };
                assert_eq!(asked.are_own(local).is_ok(), fits, "{origin}");
            }
            for (site, fits) in [
                ("same-origin", true),
                ("none", true),
                ("same-site", false),
                ("cross-site", false),
            ] {
                let asked = Headers { sec_fetch_site: Some(site), ..asked };
                assert_eq!(asked.are_own(local).is_ok(), fits, "{site}");
            }
        }
    }
}
