//! The route table: immutable, swapped whole.

use crate::entry::Entry;
use crate::errors::{no_function, starting};
use http::uri::PathAndQuery;
use http::{Request, header};
use limes_core::{Error, ErrorKind, FunctionSpec, Result};
use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;

/// The path under which functions are found by name.
const PREFIX: &str = "/function/";
const MAX_NAME: usize = 63;

/// Which function answers which requests.
#[derive(Default)]
pub(crate) struct Table {
    pub(crate) by_name: HashMap<Arc<str>, Arc<Entry>>,
    by_host: HashMap<String, Arc<Entry>>,
    /// Whether it began with every function there was: until then none can be said to be missing.
    complete: bool,
}

impl Table {
    /// A table of all functions.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidArgument`] when two functions have one name or claim one host.
    pub(crate) fn new(entries: impl IntoIterator<Item = Arc<Entry>>) -> Result<Self> {
        let mut table = Self { complete: true, ..Self::default() };
        for entry in entries {
            for host in &entry.spec.hosts {
                if let Some(other) = table.by_host.insert(host.to_ascii_lowercase(), entry.clone())
                    && !Arc::ptr_eq(&other, &entry)
                {
                    return Err(invalid(format!(
                        "the host {host} is claimed by both {} and {}; leave it to one of them",
                        other.spec.name, entry.spec.name
                    ))
                    .with("host", host));
                }
            }
            if let Some(other) = table.by_name.insert(entry.state.name.clone(), entry) {
                return Err(invalid(format!(
                    "the function {} is there twice; give it once",
                    other.spec.name
                )));
            }
        }
        Ok(table)
    }

    /// This table with `entry` in the place of what had its name.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidArgument`] when another function has one of its hosts.
    pub(crate) fn with(&self, entry: Arc<Entry>) -> Result<Self> {
        let name = entry.state.name.clone();
        let others = self.by_name.values().filter(|other| other.state.name != name).cloned();
        Ok(Self { complete: self.complete, ..Self::new(others.chain([entry]))? })
    }

    /// This table without `name`, if it was there.
    pub(crate) fn without(&self, name: &str) -> Option<Self> {
        let mut by_name = self.by_name.clone();
        by_name.remove(name)?;
        let by_host = self.by_host.iter().filter(|(_, entry)| entry.spec.name != name);
        let by_host = by_host.map(|(host, entry)| (host.clone(), entry.clone())).collect();
        Some(Self { by_name, by_host, complete: self.complete })
    }

    /// The function of this name.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`], or [`ErrorKind::Unavailable`] while the table is not complete.
    pub(crate) fn find(&self, name: &str) -> Result<&Arc<Entry>> {
        self.by_name.get(name).ok_or_else(|| self.missing(|| no_function(name)))
    }

    /// The error for a function that is not here.
    fn missing(&self, known: impl FnOnce() -> Error) -> Error {
        if self.complete { known() } else { starting() }
    }

    /// Whose request this is, and the path the guest sees.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`], or [`ErrorKind::Unavailable`] while the table is not complete.
    pub(crate) fn route<B>(&self, request: &Request<B>) -> Result<(Arc<Entry>, PathAndQuery)> {
        let uri = request.uri();
        if !self.by_host.is_empty()
            && let Some(host) = host_of(request)
            && let Some(entry) = self.by_host.get(&*host)
        {
            let root = || PathAndQuery::from_static("/");
            return Ok((entry.clone(), uri.path_and_query().cloned().unwrap_or_else(root)));
        }
        let Some(rest) = uri.path().strip_prefix(PREFIX) else {
            return Err(self.missing(|| {
                not_found(format!(
                    "no function answers {}; functions are at {PREFIX}NAME, or at their host names",
                    uri.path()
                ))
            }));
        };
        let (name, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        Ok((self.find(name)?.clone(), guest_path(path, uri.query())?))
    }
}

fn guest_path(path: &str, query: Option<&str>) -> Result<PathAndQuery> {
    let text: Cow<'_, str> = match (path, query) {
        ("" | "/", None) => return Ok(PathAndQuery::from_static("/")),
        ("", Some(query)) => format!("/?{query}").into(),
        (path, None) => path.into(),
        (path, Some(query)) => format!("{path}?{query}").into(),
    };
    PathAndQuery::try_from(&*text).map_err(|error| {
        Error::new(ErrorKind::InvalidArgument, "route", format!("the path {text:?} is not valid"))
            .from_source(error)
    })
}

/// The host name a request is for, in lower case and without port.
fn host_of<B>(request: &Request<B>) -> Option<Cow<'_, str>> {
    let host = match request.uri().host() {
        Some(host) => host,
        None => {
            let host = request.headers().get(header::HOST)?.to_str().ok()?;
            match host.rfind(':') {
                // Not a colon inside of `[::1]`.
                Some(colon) if !host[colon..].contains(']') => &host[..colon],
                _ => host,
            }
        }
    };
    let host = host.strip_suffix('.').unwrap_or(host);
    if host.bytes().any(|byte| byte.is_ascii_uppercase()) {
        Some(host.to_ascii_lowercase().into())
    } else {
        Some(host.into())
    }
}

/// Checks what a node must know of a spec before it takes it.
///
/// # Errors
/// [`ErrorKind::InvalidArgument`] for a bad name, host or limit.
pub(crate) fn check(spec: &FunctionSpec) -> Result<()> {
    let mut name = spec.name.bytes();
    let first = name.next().is_some_and(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit());
    let rest = name
        .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'-' | b'_' | b'.'));
    if !first || !rest || spec.name.len() > MAX_NAME {
        return Err(invalid(format!(
            "{:?} is no function name; use 1 to {MAX_NAME} of a-z, 0-9, '-', '_' and '.', a letter or digit first",
            spec.name
        )));
    }
    for host in &spec.hosts {
        let inner = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
        let valid = match inner {
            Some(address) => address.parse::<std::net::Ipv6Addr>().is_ok(),
            None => {
                host.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.'))
            }
        };
        if host.is_empty() || host.ends_with('.') || !valid {
            return Err(invalid(format!(
                "{host:?} is no host name; write it as in app.example.com, without scheme, port or path"
            ))
            .with("host", host));
        }
    }
    if spec.limits.concurrency == 0 {
        return Err(invalid(format!(
            "limits.concurrency of {} is 0, so that nothing could run; it is at least 1",
            spec.name
        )));
    }
    Ok(())
}

fn invalid(message: String) -> Error {
    Error::new(ErrorKind::InvalidArgument, "route", message)
}

fn not_found(message: String) -> Error {
    Error::new(ErrorKind::NotFound, "route", message)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(uri: &str, header: Option<&str>) -> Option<String> {
        let mut request = Request::builder().uri(uri);
        if let Some(value) = header {
            request = request.header("host", value);
        }
        host_of(&request.body(()).unwrap()).map(Cow::into_owned)
    }

    #[test]
    fn a_host_is_compared_without_case_port_or_dot() {
        assert_eq!(host("/", Some("App.Example.com:8080")).as_deref(), Some("app.example.com"));
        assert_eq!(host("/", Some("app.example.com.")).as_deref(), Some("app.example.com"));
        assert_eq!(host("/", Some("[::1]:80")).as_deref(), Some("[::1]"));
        assert_eq!(host("/", Some("[::1]")).as_deref(), Some("[::1]"));
        assert_eq!(host("http://Other:1/", Some("app")).as_deref(), Some("other"));
        assert_eq!(host("/", None), None);
    }

    #[test]
    fn the_guest_sees_what_follows_the_name() {
        let path = |path, query| guest_path(path, query).unwrap().to_string();
        assert_eq!(path("", None), "/");
        assert_eq!(path("/", None), "/");
        assert_eq!(path("", Some("a=1")), "/?a=1");
        assert_eq!(path("/x/y%2F", None), "/x/y%2F");
        assert_eq!(path("//x", Some("")), "//x?");
    }

    #[test]
    fn names_and_hosts_are_checked() {
        let spec = |name: &str, host: &str| -> FunctionSpec {
            serde_json::from_value(serde_json::json!({
                "name": name, "revision": 1, "component": "", "digest": "", "hosts": [host],
            }))
            .unwrap()
        };
        for (name, host) in [("a", "a.b"), ("0-_.z", "A-1_x.Y"), (&*"a".repeat(63), "[::1]")] {
            assert!(check(&spec(name, host)).is_ok(), "{name} {host}");
        }
        for name in ["", "-a", ".a", "A", "a/b", "ä", &"a".repeat(64)] {
            assert_eq!(check(&spec(name, "h")).unwrap_err().kind(), ErrorKind::InvalidArgument, "{name}");
        }
        for host in ["", "a:80", "http://a", "a/b", "a.", "[::1", "[x]"] {
            assert_eq!(check(&spec("a", host)).unwrap_err().kind(), ErrorKind::InvalidArgument, "{host}");
        }
    }
}
